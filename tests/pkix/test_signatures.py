"""Signature algorithms: identifiers as the RFCs have them, and verification that tells wrong from right."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.pki import CA, shared_key, signing_hash

from vouchd.pkix import der
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for, digest_identifier, digest_name, verify
from vouchd.signing.software import SoftwareSigner

KINDS = {"RSA": "RSA", "EC": "EC"}


def made(name: str, data: bytes):
    """Public key and signature over `data` with the named algorithm."""
    kind = KINDS.get(ALGORITHMS[name].key_type, ALGORITHMS[name].key_type)
    ca = CA.create(kind=kind)
    signer = SoftwareSigner("x", ca.key, ca.der)
    return ca.key.public_key(), signer.sign(data, name)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_signature_of_each_algorithm_verifies_and_breaks_with_the_data(name: str):
    """What a signer makes under an AlgorithmIdentifier, verify takes, and takes for no other data."""
    public, signature = made(name, b"data")
    verify(public, ALGORITHMS[name].identifier_der, signature, b"data")
    verify(public, ALGORITHMS[name].identifier_der, signature, memoryview(b"data"))
    with pytest.raises(ValueError, match="wrong"):
        verify(public, ALGORITHMS[name].identifier_der, signature, b"Data")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithm_is_deterministic_where_its_signatures_are(name: str):
    """Members are asked for the same bytes exactly where one key makes the same signature twice."""
    kind = ALGORITHMS[name].key_type
    ca = CA.create(kind=kind)
    signer = SoftwareSigner("x", ca.key, ca.der)
    assert (signer.sign(b"data", name) == signer.sign(b"data", name)) is ALGORITHMS[name].deterministic


@pytest.mark.parametrize("kind", ["RSA", "EC", "Ed25519", "Ed448", "ML-DSA-44"])
def test_identifier_is_that_of_certificates_made_elsewhere(kind: str):
    """The first algorithm of a key has the AlgorithmIdentifier that another implementation writes for it."""
    certificate = CA.create(kind=kind).certificate
    name = algorithms_for(shared_key(kind).public_key())[0]
    data = certificate.tbs_certificate_bytes
    fields = list(der.children(data, der.whole(data, der.SEQUENCE)))
    assert der.element(data, fields[2]) == ALGORITHMS[name].identifier_der


def test_pss_with_another_salt_length_verifies_by_its_parameters():
    """RSASSA-PSS-params decide the salt length; maximal salts of other implementations are taken."""
    key = shared_key("RSA")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 20)
    signed = request.sign(key, signing_hash(key), rsa_padding=pss)
    mask = der.tlv(der.SEQUENCE, der.oid_tlv("1.2.840.113549.1.1.8"), digest_identifier("SHA-256"))
    parameters = der.tlv(der.SEQUENCE, der.tlv(0xA0, digest_identifier("SHA-256")), der.tlv(0xA1, mask))
    identifier = der.tlv(der.SEQUENCE, der.oid_tlv("1.2.840.113549.1.1.10"), parameters)
    verify(key.public_key(), identifier, signed.signature, signed.tbs_certrequest_bytes)


@pytest.mark.parametrize(
    ("identifier", "why"),
    [
        pytest.param(ALGORITHMS["SHA256withEC"].identifier_der, "another type", id="of another key type"),
        pytest.param(der.tlv(der.SEQUENCE, der.oid_tlv("1.2.840.113549.1.1.4")), "1.1.4 is not supported", id="MD5"),
        pytest.param(der.tlv(der.SEQUENCE), "no AlgorithmIdentifier", id="empty"),
        pytest.param(b"\x30", "truncated", id="truncated"),
    ],
)
def test_identifier_that_cannot_be_is_refused_with_the_reason(identifier: bytes, why: str):
    """An algorithm that is not supported or not the key's never verifies."""
    with pytest.raises(ValueError, match=why):
        verify(shared_key("RSA").public_key(), identifier, b"x" * 256, b"data")


def test_digest_with_parameters_is_no_digest():
    """NULL or nothing are the only parameters of a digest."""
    assert digest_name(digest_identifier("SHA-384", null=False)) == "SHA-384"
    with pytest.raises(ValueError, match="parameters"):
        digest_name(der.tlv(der.SEQUENCE, der.oid_tlv("1.3.14.3.2.26"), der.integer_tlv(1)))


def test_curve_decides_the_digest_that_is_usual():
    """P-384 signs with SHA-384 unless told otherwise."""
    assert algorithms_for(shared_key("P-384").public_key())[0] == "SHA384withEC"
