"""`vouchd directory adopt`: what a Certificate System OCSP wrote is taken over, verified as if it were pushed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509
from tests.directory.site import Node, prepare
from tests.ds389 import PASSWORD, directories
from tests.pki import CA

from vouchd.core.facts import Transport
from vouchd.directory.connection import Change
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import read_passwords, write_passwords
from vouchd.wiring.instance import check_instance

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def node():
    """A directory server that is set up, so that it knows the Certificate System's classes."""
    with directories("ds1.vouchd.test", tls=False) as (directory,):
        yield prepare(directory, Transport.PLAIN, None, clone=False)


@pytest.fixture
def manager(tmp_path) -> Path:
    """The Directory Manager's password in a file."""
    path = tmp_path / "manager.password"
    path.write_text(PASSWORD)
    path.chmod(0o600)
    return path


def write(node: Node, name: str, certificate: bytes | None, crl: bytes | None) -> str:
    """An issuing point as the Certificate System writes it, its Java object included; its DN."""
    dn = f"cn={name},{node.server.suffix}"
    admin = node.admin()
    entry: dict[str, list[bytes | str]] = {
        "objectClass": ["top", "crlIssuingPointRecord"],
        "cn": [name],
        "crlNumber": ["7"],
        "crlCache": [b"\xac\xed\x00\x05java"],
    }
    if certificate is not None:
        entry["cACertificate;binary"] = [certificate]
    if crl is not None:
        entry["certificateRevocationList;binary"] = [crl]
    admin.add(dn, entry)
    admin.close()
    return dn


def clear(node: Node, *names: str) -> None:
    """Remove such entries again."""
    admin = node.admin()
    for dn in names:
        admin.delete(dn)
    admin.close()


def keep_facts_in(site, node: Node) -> None:
    """Have the instance keep its facts in that server."""
    server, config = node.server, site.instance / "CS.cfg"
    lines = {
        "vouchd.store": "directory",
        "internaldb.ldapconn.host": server.host,
        "internaldb.ldapconn.port": server.port,
        "internaldb.basedn": server.suffix,
    }
    config.write_text(config.read_text() + "".join(f"{name}={value}\n" for name, value in lines.items()))
    password = site.instance / "password.conf"
    known = read_passwords(password) | {"internaldb": node.made.password}
    password.unlink()
    write_passwords(password, known)


def crl_of(site, serial: int) -> bytes:
    """A fresh CRL of the site's CA, as DER."""
    return Path(site.crl("now.crl", {serial: x509.ReasonFlags.key_compromise})).read_bytes()


def test_other_directory_is_read_and_its_crls_verified(run, instance, node, manager):
    """From a directory elsewhere the embedded instance takes CA and CRL; a second time finds nothing new."""
    dn = write(node, "CN-Site CA", instance.ca.der, crl_of(instance, 0x51))
    url = f"{node.directory.url}/{node.server.suffix}"
    try:
        code, out, err = run("directory", "adopt", "--url", url, "--password-file", manager, "--json")
        assert code == 0, err
        assert [(row["entry"], row["crls"], row["taken"]) for row in json.loads(out)] == [(dn, 1, 1)]
        (listed,) = json.loads(run("crl", "list", "--json")[1])
        assert listed["ca"] == "CN=Site CA"
        code, out, _ = run("directory", "adopt", "--url", url, "--password-file", manager, "--json")
        assert (code, json.loads(out)[0]["taken"]) == (0, 0)
    finally:
        clear(node, dn)


def test_own_suffix_of_another_program_is_taken_over(run, instance, node):
    """An instance put on the directory of a Certificate System OCSP takes over what that one wrote."""
    dn = write(node, "CN-Site CA", instance.ca.der, crl_of(instance, 0x52))
    keep_facts_in(instance, node)
    try:
        code, out, err = run("directory", "adopt", "--json")
        assert code == 0, err
        assert json.loads(out)[0]["taken"] == 1
        assert [row["ca"] for row in json.loads(run("crl", "list", "--json")[1])] == ["CN=Site CA"]
        assert run("ca", "remove", "CN=Site CA")[0] == 0
    finally:
        clear(node, dn)


def test_entry_that_cannot_be_believed_is_told_and_the_others_taken(run, instance, node, manager):
    """A CRL of another key and an entry without a certificate are refused by name; the good entry is taken."""
    other = CA.create("Site CA", key=None, kind="P-384")
    names = [
        write(node, "a-forged", instance.ca.der, other.crl({})),
        write(node, "b-nameless", None, crl_of(instance, 1)),
        write(node, "c-good", instance.ca.der, crl_of(instance, 0x53)),
    ]
    url = f"{node.directory.url}/{node.server.suffix}"
    try:
        code, out, err = run("directory", "adopt", "--url", url, "--password-file", manager, "--json")
        assert code == 65
        assert [row["entry"] for row in json.loads(out)] == [names[2]]
        assert names[0] in err
        assert names[1] in err
    finally:
        clear(node, *names)


def test_second_ca_behind_one_signer_is_taken_over_only_as_a_trusted_responder(run, instance, node, manager):
    """A CA that has not issued the signer is refused with the word that lets it in, and the instance starts either way."""
    second = CA.create("Second CA", key=None, kind="P-384")
    names = [
        write(node, "CN-Site CA", instance.ca.der, crl_of(instance, 0x54)),
        write(node, "CN-Second CA", second.der, second.crl({0x55: None})),
    ]
    adopt = ("directory", "adopt", "--password-file", manager, "--url", f"{node.directory.url}/{node.server.suffix}")
    layout = Layout(instance.instance)
    try:
        code, out, err = run(*adopt, "--json")
        assert (code, [row["entry"] for row in json.loads(out)]) == (78, names[:1])
        assert "--trusted-responder 'CN=Second CA'" in err
        check_instance(layout, warn=lambda _: None, whole=True)
        code, out, err = run(*adopt, "--trusted-responder", "CN=Second CA", "--json")
        assert (code, [row["ca"] for row in json.loads(out)]) == (0, ["CN=Second CA", "CN=Site CA"])
        assert "warning: CN=Second CA" in err
        check_instance(layout, warn=lambda _: None, whole=True)
        code, _, err = run(*adopt, "--trusted-responder", "CN=Secnd CA")
        assert (code, "CN=Secnd CA" in err) == (66, True)
    finally:
        clear(node, *names)


def test_value_that_is_no_certificate_costs_the_good_one_beside_it_nothing(run, instance, node, manager):
    """An entry with an empty value and a good certificate is taken over by the good one."""
    dn = write(node, "CN-Site CA", instance.ca.der, crl_of(instance, 0x56))
    admin = node.admin()
    admin.modify(dn, [Change("add", "cACertificate;binary", (b"\0",))])
    admin.close()
    url = f"{node.directory.url}/{node.server.suffix}"
    try:
        code, out, err = run("directory", "adopt", "--url", url, "--password-file", manager, "--json")
        assert (code, [row["taken"] for row in json.loads(out)]) == (0, [1]), err
    finally:
        clear(node, dn)


def test_wrong_password_of_the_other_directory_is_told(run, instance, node, manager):
    """A refused bind is an error of the directory, without the password."""
    manager.write_text("not-this")
    url = f"{node.directory.url}/{node.server.suffix}"
    code, out, err = run("directory", "adopt", "--url", url, "--password-file", manager)
    assert (code, out) == (75, "")
    assert "refused" in err
    assert "not-this" not in err


def test_embedded_instance_needs_a_directory_to_read(run, instance):
    """Without --url an instance of the embedded store has nothing to adopt from."""
    code, _, err = run("directory", "adopt")
    assert (code, "embedded store" in err) == (78, True)
