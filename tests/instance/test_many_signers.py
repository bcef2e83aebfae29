"""What a start looks at grows with the CAs and signers, not with their product: signatures verified, keys decrypted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests import pki

from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.instance.certificates.signers import key_identifiers
from vouchd.pkix import certs
from vouchd.pkix.purposes import Issuers, chain_of
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.signer_choice import candidates
from vouchd.signing import keys


@pytest.fixture
def verified(monkeypatch) -> list[bytes]:
    """The certificates whose signatures are verified in this test."""
    seen: list[bytes] = []
    verify = certs.verify

    def noting(public_key: object, algorithm: bytes, signature: bytes, signed: bytes) -> None:
        seen.append(signed)
        verify(public_key, algorithm, signature, signed)

    monkeypatch.setattr(certs, "verify", noting)
    return seen


def many(count: int, prefix: str) -> list[pki.CA]:
    return [pki.CA.create(f"{prefix} {number}") for number in range(count)]


def test_chain_of_many_roots_verifies_those_of_the_issuers_name(verified):
    """However many CAs are registered, a chain verifies its own links."""
    roots = many(12, "Root")
    anchors = Issuers([root.certificate for root in roots])
    leaf = roots[7].issue("leaf").certificate
    verified.clear()
    assert chain_of(leaf, [], anchors, pki.NOW) == (roots[7].certificate,)
    assert verified == [leaf.tbs_certificate_bytes]


def test_candidates_of_many_signers_verify_those_of_the_ca(verified):
    """However many signers there are, a CA's are found without a look at the others; each is judged once."""
    cas = many(12, "Signed")
    signers = SignerCertificates({f"s{number}": ca.issue_signer().der for number, ca in enumerate(cas)})
    verified.clear()
    for number, ca in enumerate(cas):
        authority = Authority(certs.authority_id(ca.certificate), ca.der, "CA", AuthorityPolicy(signer=f"s{number}"))
        for _ in range(3):
            assert list(candidates(authority, certs.key_id(ca.der), signers, "s0")) == [f"s{number}"]
    assert len(verified) == len(cas)


def test_candidates_of_another_spelling_are_found():
    """A signer issued under another spelling of the CA's name is found as names are compared."""
    ca, spelt = pki.CA.create("Spelt"), pki.CA.create("SPELT ")
    signers = SignerCertificates({"s": spelt.issue_signer().der, "other": pki.CA.create("X").issue_signer().der})
    authority = Authority("id", ca.der, "CA", AuthorityPolicy(signer="s"))
    assert list(candidates(authority, certs.key_id(ca.der), signers, "s")) == ["s"]


def test_key_identifiers_are_those_that_cas_write_into_certificates():
    """A key that the audit log names is found among certificates by their subjectKeyIdentifier (RFC 5280 4.2.1.2)."""
    keys = {kind: pki.CA.create(kind).issue_signer() for kind in ("one", "other")}
    expected = {
        name: x509.SubjectKeyIdentifier.from_public_key(one.certificate.public_key()) for name, one in keys.items()
    }
    named = key_identifiers({name: one.der for name, one in keys.items()})
    assert named == {name: one.digest.hex() for name, one in expected.items()}


def test_key_file_is_decrypted_once(tmp_path, monkeypatch):
    """Whoever reads a key file again, as many parts of a start do, gets the key that was decrypted; a new file counts."""
    path, seen = tmp_path / "signer.key", []
    load: Callable[..., object] = keys.load_pem_private_key
    monkeypatch.setattr(keys, "load_pem_private_key", lambda *args: seen.append(args) or load(*args))
    for key in (pki.new_key(), pki.new_key()):
        encryption = BestAvailableEncryption(b"secret")
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        path.chmod(0o600)
        read = [keys.read_key(path, "secret") for _ in range(3)]
        assert {one.public_key().public_numbers() for one in read} == {key.public_key().public_numbers()}
    assert len(seen) == 2
