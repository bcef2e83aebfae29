"""Clones whose keys came in files that OpenSSL or NSS wrote, named as the Certificate System names them."""

from __future__ import annotations

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.whole.clones import PASSWORD, CloneSet, clone_set

from vouchd.instance.certificates.places import system_certificates
from vouchd.settings.reading import read_settings
from vouchd.signing.pkcs12 import KeyBag, read_key_file

pytestmark = [pytest.mark.process, pytest.mark.interop]

# What `vouchd certs list` calls a key, and the Certificate System's nickname of it.
NICKNAMES = {
    "ocspSigningCert": "ocspSigningCert cert-pki-ocsp",
    "subsystem": "subsystemCert cert-pki-ocsp",
    "audit_signing": "auditSigningCert cert-pki-ocsp",
}
WORDS = "keys.password"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A running master that revokes `bad`, and each of its keys in a file that OpenSSL wrote."""
    with clone_set(tmp_path_factory.mktemp("set")) as made:
        made.make_prepared()
        for bag in read_key_file(made.folder / "keys.p12", PASSWORD).bags:
            export_with_openssl(made, bag)
        yield made


def run(site: CloneSet, *command: str) -> None:
    subprocess.run(command, cwd=site.folder, check=True, capture_output=True)


def export_with_openssl(site: CloneSet, bag: KeyBag) -> None:
    """OpenSSL puts one key with its chain into a file."""
    key = bag.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = (one.public_bytes(Encoding.PEM) for one in (bag.certificate, *bag.others))
    (site.folder / "clear.pem").write_bytes(key + b"".join(chain))
    source = ["-in", "clear.pem", "-name", NICKNAMES[bag.friendly_name]]
    out = ["-passout", f"file:{WORDS}", "-out", f"{bag.friendly_name}.openssl"]
    run(site, "openssl", "pkcs12", "-export", *source, *out)


def through_nss(site: CloneSet) -> None:
    """Take the files into a database of NSS, and out again: pk12util writes one key with its chain into a file too."""
    database = ("-d", "sql:database")
    (site.folder / "database").mkdir()
    run(site, "certutil", *database, "-N", "--empty-password")
    for name, nickname in NICKNAMES.items():
        run(site, "pk12util", *database, "-i", f"{name}.openssl", "-w", WORDS)
        run(site, "pk12util", *database, "-o", f"{name}.nss", "-n", nickname, "-w", WORDS)


def join(site: CloneSet, kind: str) -> str:
    """The files one after the other, as `cat` makes one of them."""
    path = site.folder / f"{kind}.p12"
    path.write_bytes(b"".join((site.folder / f"{name}.{kind}").read_bytes() for name in NICKNAMES))
    path.chmod(0o600)
    return path.name


def shared_certificates(site: CloneSet, name: str) -> dict[str, x509.Certificate | None]:
    """The certificates of the keys that a set shares, as a member has them in use."""
    certificates = system_certificates(read_settings(site.layout(name)))
    return {one.name: one.certificate for one in certificates if one.name in NICKNAMES}


@pytest.mark.parametrize("kind", ["openssl", "nss"])
def test_clone_with_the_keys_of_a_foreign_file_answers_as_the_master_does(site, kind):
    """All keys are found by the Certificate System's nicknames and restored; the answers are the same."""
    if kind == "nss":
        through_nss(site)
        site.run("domain", "token", "--instance", "m", "--out", "token")
    path = join(site, kind)
    key_file = read_key_file(site.folder / path, PASSWORD)
    assert {bag.friendly_name for bag in key_file.bags} == set(NICKNAMES.values())
    site.run(*site.create(kind, "--pkcs12", path))
    for certificate in ("good", "bad"):
        assert site.said(kind, certificate) == site.said("m", certificate)
    assert shared_certificates(site, kind) == shared_certificates(site, "m")
    assert None not in shared_certificates(site, kind).values()
