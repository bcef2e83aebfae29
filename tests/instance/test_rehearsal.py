"""A key and its certificate are tried out as their users will use them."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.pki import CA, DAY, HOUR, Issued, new_key

from vouchd.errors import SigningError
from vouchd.instance.certificates.rehearsal import rehearse, try_handshake, try_signature
from vouchd.pkix.purposes import Issuers, Purpose
from vouchd.settings.tcp_ports import KeyFiles
from vouchd.signing.keys import write_key
from vouchd.signing.software import SoftwareSigner

PASSWORD = "secret"
ROOT = CA.create("Root")


def server(usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH, **kw) -> Issued:
    now = int(time.time())
    names = x509.SubjectAlternativeName([x509.DNSName("ocsp.example")])
    extensions = ((x509.ExtendedKeyUsage([usage]), False), (names, False))
    return ROOT.issue("server", extensions=extensions, not_before=now - HOUR, not_after=now + DAY, **kw)


def files_of(folder, issued: Issued) -> KeyFiles:
    files = KeyFiles(folder / "k.key", folder / "c.pem")
    write_key(files.key_file, issued.key, PASSWORD)
    files.certificate_file.write_bytes(issued.pem)
    return files


@pytest.mark.parametrize("kind", ["RSA", "EC", "P-384", "P-521", "Ed25519", "Ed448", "ML-DSA-44"])
def test_try_signature_signs_with_every_algorithm_of_a_key(kind):
    """Every kind of key that may sign here passes with all its algorithms."""
    issued = server(key=new_key(kind))
    try_signature(SoftwareSigner("x", issued.key, issued.der))


def test_try_signature_that_does_not_verify_raises():
    """A token that signs with another key than it says is found out."""

    class Forger(SoftwareSigner):
        def sign(self, tbs: bytes, algorithm: str) -> bytes:
            return super().sign(tbs + b"!", algorithm)

    issued = server()
    with pytest.raises(SigningError, match="does not verify"):
        try_signature(Forger("x", issued.key, issued.der))


def test_try_signature_of_a_key_in_memory_may_be_one():
    """The digest makes no difference to a key in memory: what is installed is tried with all, what starts with one."""
    signed = []

    class Noting(SoftwareSigner):
        def sign(self, tbs: bytes, algorithm: str) -> bytes:
            signed.append(algorithm)
            return super().sign(tbs, algorithm)

    issued = server()
    signer = Noting("x", issued.key, issued.der)
    try_signature(signer, every=False)
    assert signed == [signer.algorithms[0]]
    try_signature(signer)
    assert signed[1:] == list(signer.algorithms)


def test_rehearse_with_another_key_raises():
    """Key and certificate have to belong together."""
    issued = server()
    with pytest.raises(SigningError, match="does not belong"):
        rehearse(Purpose.TLS_SERVER, new_key(), issued.certificate, [ROOT.certificate], Issuers([]), int(time.time()))


@pytest.mark.parametrize("kind", ["RSA", "EC", "Ed25519"])
def test_try_handshake_of_a_fit_server_succeeds(tmp_path, kind):
    """A TLS client that trusts the CA finishes its handshake."""
    try_handshake(files_of(tmp_path, server(key=new_key(kind))), PASSWORD, [ROOT.certificate])


def test_try_handshake_under_another_root_raises(tmp_path):
    """What a client cannot trace to its root is refused with the client's words."""
    with pytest.raises(SigningError, match="a TLS client would refuse it: unable to get local issuer"):
        try_handshake(files_of(tmp_path, server()), PASSWORD, [CA.create("Other").certificate])


def test_try_handshake_of_a_certificate_for_clients_raises(tmp_path):
    """OpenSSL's own view of the usage counts too."""
    with pytest.raises(SigningError, match="would refuse it"):
        try_handshake(files_of(tmp_path, server(ExtendedKeyUsageOID.CLIENT_AUTH)), PASSWORD, [ROOT.certificate])
