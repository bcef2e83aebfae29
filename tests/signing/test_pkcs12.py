"""PKCS #12 files of others: modern and legacy encryption, wrong passwords, missing parts."""

from __future__ import annotations

import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from tests.pki import CA

from vouchd.errors import SigningError
from vouchd.signing.pkcs12 import read_key_file

PASSWORD = "a secret"


def write(path, data):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_read_modern_file_gives_key_certificate_and_others(tmp_path):
    """Key, certificate, CA certificate and friendly name come out of one file."""
    ca = CA.create()
    issued = ca.issue_signer()
    data = pkcs12.serialize_key_and_certificates(
        b"ocspSigningCert", issued.key, issued.certificate, [ca.certificate], BestAvailableEncryption(PASSWORD.encode())
    )
    bag = read_key_file(write(tmp_path / "a.p12", data), PASSWORD).only()
    assert bag.key.public_key() == issued.key.public_key()
    assert (bag.certificate, bag.others, bag.friendly_name) == (
        issued.certificate,
        (ca.certificate,),
        "ocspSigningCert",
    )


@pytest.mark.interop
def test_read_legacy_file_of_openssl_is_understood(tmp_path):
    """RC2 and 3DES files of old tools are read."""
    issued = CA.create().issue_signer()
    (tmp_path / "k").write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "c").write_bytes(issued.pem)
    command = ["openssl", "pkcs12", "-export", "-legacy", "-inkey", "k", "-in", "c", "-passout", f"pass:{PASSWORD}"]
    subprocess.run([*command, "-out", "a.p12"], cwd=tmp_path, check=True, capture_output=True)
    bag = read_key_file(tmp_path / "a.p12", PASSWORD).only()
    assert bag.certificate == issued.certificate


def test_read_wrong_password_is_told_without_the_password(tmp_path):
    """A wrong password is told, never shown."""
    issued = CA.create().issue_signer()
    encryption = BestAvailableEncryption(PASSWORD.encode())
    data = pkcs12.serialize_key_and_certificates(None, issued.key, issued.certificate, None, encryption)
    with pytest.raises(SigningError, match="wrong password") as caught:
        read_key_file(write(tmp_path / "a.p12", data), "guess-0815").only()
    assert "guess-0815" not in str(caught.value)


def test_read_file_without_key_is_refused(tmp_path):
    """A file of certificates alone makes no signer."""
    encryption = BestAvailableEncryption(PASSWORD.encode())
    data = pkcs12.serialize_key_and_certificates(None, None, CA.create().certificate, None, encryption)
    with pytest.raises(SigningError, match="no key"):
        read_key_file(write(tmp_path / "a.p12", data), PASSWORD).only()


def test_read_world_readable_file_is_refused(tmp_path):
    """A PKCS #12 file holds a key: others may not read it."""
    path = write(tmp_path / "a.p12", b"x")
    path.chmod(0o644)
    with pytest.raises(SigningError, match="mode 0644") as caught:
        read_key_file(path, PASSWORD).only()
    assert caught.value.hint == f"chmod 600 {path}"
