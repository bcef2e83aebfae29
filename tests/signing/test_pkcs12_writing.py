"""The PKCS #12 files we write are read by ourselves, by OpenSSL and by the library of Firefox and Chromium."""

from __future__ import annotations

import subprocess

import pytest
from tests.pki import CA, new_key

from vouchd.errors import SigningError
from vouchd.signing.pkcs12 import KeyBag, read_key_file, write_pkcs12

PASSWORD = "correct horse"


@pytest.fixture
def written(tmp_path):
    """A PKCS #12 file and its password file, with the bag that is in it."""
    ca = CA.create("Root")
    issued = ca.issue("agent")
    bag = KeyBag(issued.key, issued.certificate, (ca.certificate,), "the agent")
    write_pkcs12(tmp_path / "agent.p12", bag, PASSWORD)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return tmp_path, bag


def test_write_pkcs12_is_read_back_whole(written):
    """Key, certificate, CA and name come back; the file is the owner's alone."""
    folder, bag = written
    read_bag = read_key_file(folder / "agent.p12", PASSWORD).only()
    assert read_bag.key.private_numbers() == bag.key.private_numbers()
    assert (read_bag.certificate, read_bag.others, read_bag.friendly_name) == (
        bag.certificate,
        bag.others,
        bag.friendly_name,
    )
    assert (folder / "agent.p12").stat().st_mode & 0o777 == 0o600


def test_write_pkcs12_with_a_wrong_password_stays_shut(written):
    """Nothing is read without the password."""
    with pytest.raises(SigningError, match="wrong password"):
        read_key_file(written[0] / "agent.p12", "another").only()


@pytest.mark.interop
def test_write_pkcs12_is_read_by_openssl(written):
    """OpenSSL 3 reads it without its legacy provider."""
    command = ["openssl", "pkcs12", "-in", "agent.p12", "-passin", "file:password", "-nodes"]
    done = subprocess.run(command, cwd=written[0], capture_output=True, text=True, check=True)
    assert done.stdout.count("BEGIN CERTIFICATE") == 2
    assert "BEGIN PRIVATE KEY" in done.stdout


@pytest.mark.interop
def test_write_pkcs12_is_imported_by_nss(written):
    """The certificate database of Firefox and Chromium takes key and certificate in."""
    folder, _ = written
    (folder / "nss").mkdir()
    database = f"sql:{folder / 'nss'}"
    for command in (
        ["certutil", "-d", database, "-N", "--empty-password"],
        ["pk12util", "-d", database, "-i", "agent.p12", "-w", "password"],
    ):
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
    keys = subprocess.run(["certutil", "-d", database, "-K"], capture_output=True, text=True, check=True).stdout
    assert "the agent" in keys


def test_write_pkcs12_replaces_a_former_file(written):
    """A renewed certificate takes the place of the former one."""
    folder, bag = written
    issued = CA.create("Root").issue("renewed")
    write_pkcs12(folder / "agent.p12", KeyBag(issued.key, issued.certificate, (), "x"), "other")
    assert read_key_file(folder / "agent.p12", "other").only().certificate == issued.certificate != bag.certificate


def test_write_pkcs12_holds_a_post_quantum_key(tmp_path):
    """Any key that signs here can be backed up."""
    issued = CA.create("Root").issue("x", key=new_key("ML-DSA-44"))
    write_pkcs12(tmp_path / "x.p12", KeyBag(issued.key, issued.certificate, (), "x"), PASSWORD)
    assert read_key_file(tmp_path / "x.p12", PASSWORD).only().key.public_key() == issued.key.public_key()
