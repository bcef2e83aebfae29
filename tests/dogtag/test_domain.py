"""The security domain that the real Dogtag's CA hosts: read, joined as its subsystems do, left."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.dogtag.beside import Beside
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab

pytestmark = pytest.mark.dogtag

CA_URL = f"https://{plan.HOST}:{plan.CA.https_port}"


@pytest.fixture
def words(lab: Lab, beside: Beside) -> Iterator[list[object]]:
    """The CA, and who may change its domain; the CA's settings are as before afterwards."""
    settings = lab.enclosure.root / f"etc/pki/{plan.CA.tomcat}/ca/CS.cfg"
    before = settings.read_text(encoding="utf-8")
    password = beside.folder / "domain.password"
    password.write_text(plan.PASSWORD)
    password.chmod(0o600)
    yield [
        "--at",
        CA_URL,
        "--trust",
        lab.ca_file,
        "--user",
        "caadmin",
        "--password-file",
        password,
        "--host",
        plan.HOST,
    ]
    settings.write_text(before, encoding="utf-8")


def hosts(beside: Beside, lab: Lab) -> set[str]:
    """Who is in the domain."""
    rows = beside.json("domain", "others", "--at", CA_URL, "--trust", lab.ca_file)
    assert {row["domain"] for row in rows} == {plan.SECURITY_DOMAIN}
    return {row["host"] for row in rows if row["kind"] == "OCSP"}


def test_instance_enters_the_domain_and_leaves_it(lab, beside, words):
    """The CA lists it among its OCSP managers as long as it is in, and is left as it was."""
    before = hosts(beside, lab)
    own = f"{plan.HOST}:{plan.BESIDE_HTTPS_PORT}"
    beside.run("domain", "register", *words)
    try:
        assert hosts(beside, lab) == before | {own}
    finally:
        beside.run("domain", "unregister", *words)
        assert "OCSPPublisher-" in beside.notes  # which no call takes away
    assert hosts(beside, lab) == before


def test_wrong_password_changes_nothing_and_is_told(lab, beside, words):
    """The CA lets nobody in whom it does not know."""
    before = hosts(beside, lab)
    wrong = beside.folder / "wrong.password"
    wrong.write_text("not-this")
    wrong.chmod(0o600)
    changed = list(words)
    changed[changed.index("--password-file") + 1] = wrong
    beside.run("domain", "register", *changed, code=77)
    assert hosts(beside, lab) == before


def test_name_that_the_ca_cannot_resolve_is_told(lab, beside, words):
    """The installation token is bound to an address, and the CA says no more than an error."""
    changed = list(words)
    changed[changed.index("--host") + 1] = "nowhere.vouchd.test"
    beside.run("domain", "register", *changed, code=69)


def test_publisher_is_set_up_by_the_same_command(lab, beside, words):
    """The CA has publisher and rule for this instance, its certificate may bring CRLs, and a source fetches the rest."""
    keys = ["--password-file", beside.folder / "password", "--no-restart"]
    beside.run("pkcs12", "import", beside.folder / "ocsp.p12", "subsystem=subsystem", *keys)
    beside.run("domain", "register", *words, "--publish")
    try:
        settings = (lab.enclosure.root / f"etc/pki/{plan.CA.tomcat}/ca/CS.cfg").read_text(encoding="utf-8")
        place = f"{plan.HOST}-{plan.BESIDE_HTTPS_PORT}".replace(".", "-")
        assert f"ca.publish.publisher.instance.OCSPPublisher-{place}.port={plan.BESIDE_HTTPS_PORT}" in settings
        own = (beside.instance / "CS.cfg").read_text(encoding="utf-8")
        assert re.search(r"vouchd\.source\.certificate-system-ca\.url=.*/ca/ee/ca/getCRL", own)
        beside.run("restart")
        sources = beside.json("status")["sources"]
        assert [one["name"] for one in sources] == ["certificate-system-ca"]
    finally:
        beside.run("domain", "unregister", *words)
