"""Every mistake in making a clone is told before anything is done: nothing is left behind, and the token stays good."""

from __future__ import annotations

import pytest
from tests.pki import CA
from tests.whole.clones import PASSWORD, CloneSet, clone_set

from vouchd.signing.keys import generate_key
from vouchd.signing.pkcs12 import KeyBag, write_key_file

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A running master, ready to be cloned; nobody succeeds before the last test."""
    with clone_set(tmp_path_factory.mktemp("set")) as made:
        made.make_prepared()
        made.write("wrong.password", "another")
        made.write("wrong.token", "A" * 43)
        _damage(made)
        yield made


def _damage(site: CloneSet) -> None:
    """Key files that will not do."""
    whole = (site.folder / "keys.p12").read_bytes()
    for name, data, mode in (("open.p12", whole, 0o644), ("cut.p12", whole[:100], 0o600)):
        (site.folder / name).write_bytes(data)
        (site.folder / name).chmod(mode)
    site.run(
        *("pkcs12", "export", "ocspSigningCert", "--instance", "m", "--out", "one.p12"),
        *("--password-file", "keys.password"),
    )
    ca = CA.create("Another CA")
    bags = []
    for name in ("ocspSigningCert", "subsystem", "audit_signing"):
        issued = ca.issue_signer(name, key=generate_key("SHA256withEC"))
        bags.append(KeyBag(issued.key, issued.certificate, (), name))
    write_key_file(site.folder / "other.p12", bags, PASSWORD)


MISTAKES = {
    "nobody may read the key file": (("--pkcs12", "none.p12"), "none.p12"),
    "others may read the key file": (("--pkcs12", "open.p12"), "chmod 600"),
    "half a key file": (("--pkcs12", "cut.p12"), "not a PKCS #12 file"),
    "wrong password": (("--password-file", "wrong.password"), "wrong password"),
    "a key is missing": (("--pkcs12", "one.p12"), "is missing"),
    "keys of another set": (("--pkcs12", "other.p12"), "does not belong"),
    "wrong token": (("--token-file", "wrong.token"), "token is not valid"),
    "wrong fingerprint": (("--fingerprint", "0" * 64), "another one than was said"),
    "no fingerprint": (("--fingerprint", "abc"), "64 hex digits"),
    "no agent port": (("--master", "https://127.0.0.1:1"), "cannot ask"),
    "not https": (("--master", "http://127.0.0.1:8443"), "not the URL of an agent port"),
    "a folder that is there": (("--instance", "m"), "m: exists already"),
    "the address of the master": (("--agent-port", "{master}"), "in this domain"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told_and_nothing_is_left_behind(site, mistake):
    """The error names the mistake; no folder, no draft, no member, and the master serves."""
    words, said = MISTAKES[mistake]
    words = [word.format(master=site.ports["m"][1]) for word in words]
    before = set(site.folder.iterdir())
    told = site.refused(*site.create("c", *words))
    assert said in " ".join(told.split())
    assert set(site.folder.iterdir()) == before
    assert site.members("m") == {site.id_of("m"): False}
    assert site.says("m", "bad") == "revoked"


def test_master_with_the_refresh_of_a_clone_is_refused(site):
    """refreshInSec=21600 on the master is told with the command that mends it."""
    config = site.layout("m").cs_cfg
    right = config.read_text()
    config.write_text(right.replace("refreshInSec=600", "refreshInSec=21600"))
    site.run("restart", "--instance", "m")
    told = site.refused(*site.create("c"))
    config.write_text(right)
    site.run("restart", "--instance", "m")
    assert "refreshInSec of the master is 21600" in told
    assert not site.layout("c").root.exists()


def test_token_is_still_good_after_all_mistakes(site):
    """The right words make the clone with the same token."""
    site.run(*site.create("c"))
    assert site.said("c", "bad") == site.said("m", "bad")
