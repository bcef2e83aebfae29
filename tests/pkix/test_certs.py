"""Certificates as a responder sees them: issuer hashes (RFC 6960 4.1.1) and delegated signers (4.2.2.2)."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from tests.pki import CA, DAY, NOW, shared_key

from vouchd.errors import ConfigError, SigningError
from vouchd.pkix import certs, der
from vouchd.pkix.signatures import DIGESTS
from vouchd.service.authorities import read_authorities

ONE = CA.create("CA one")
NAMESAKE = CA.create("CA one", key=shared_key("EC", 9))


@pytest.mark.parametrize("digest", ["SHA-1", "SHA-256", "SHA-384", "SHA-512"])
def test_issuer_hashes_are_those_another_implementation_makes(digest: str):
    """Name hash over the subject's DER, key hash over the key bits alone."""
    leaf = ONE.issue().certificate
    other = ocsp.OCSPRequestBuilder().add_certificate(leaf, ONE.certificate, DIGESTS[digest]).build()
    assert certs.issuer_hashes(ONE.certificate, digest) == (other.issuer_name_hash, other.issuer_key_hash)


def test_public_key_bits_are_taken_as_the_certificate_has_them():
    """A compressed EC point stays compressed: encoding the key again would give another issuerKeyHash."""
    compressed = ONE.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    outer = [der.element(ONE.der, part) for part in der.children(ONE.der, der.whole(ONE.der, der.SEQUENCE))]
    fields = [der.element(outer[0], part) for part in der.children(outer[0], der.whole(outer[0], der.SEQUENCE))]
    algorithm = der.read_tlv(fields[6], 2, len(fields[6]))
    spki = der.tlv(der.SEQUENCE, der.element(fields[6], algorithm), der.tlv(der.BIT_STRING, b"\x00", compressed))
    whole = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, *fields[:6], spki, *fields[7:]), *outer[1:])
    certificate = x509.load_der_x509_certificate(whole)
    assert certs.public_key_bits(certificate) == compressed
    assert certs.key_hash(certificate) == hashlib.sha1(compressed).digest()  # noqa: S324  RFC 6960 4.2.1 says so


def test_name_that_cannot_be_read_has_a_text_all_the_same():
    """A name that fails when it is looked at, as one with a BIT STRING for its common name, is told as such."""
    name = b"\x06\x03U\x04\x03\x0c\x06CA one"
    assert name in ONE.der
    odd = certs.load_certificate(ONE.der.replace(name, name.replace(b"\x0c\x06", b"\x03\x06")))
    assert (certs.name_text(odd), certs.issuer_name_text(odd)) == (certs.UNREADABLE, certs.UNREADABLE)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_authorities(odd.public_bytes(Encoding.DER))


def test_authority_id_tells_cas_of_one_name_apart():
    """Two CAs of one name and different keys are two authorities."""
    assert certs.subject_der(ONE.certificate) == certs.subject_der(NAMESAKE.certificate)
    assert certs.authority_id(ONE.certificate) != certs.authority_id(NAMESAKE.certificate)


def test_delegated_signer_is_fit_and_warned_about_without_nocheck():
    """A signer with id-kp-OCSPSigning issued by the CA may answer; without nocheck clients ask for its status."""
    fit = certs.check_signer(ONE.issue_signer().certificate, ONE.certificate, NOW)
    bare = certs.check_signer(ONE.issue_signer(nocheck=False).certificate, ONE.certificate, NOW)
    assert (fit.own_key, fit.warnings) == (False, ())
    assert ["nocheck" in warning for warning in bare.warnings] == [True]


def test_own_key_of_the_ca_is_fit():
    """The CA may sign its answers itself, without an extendedKeyUsage."""
    assert certs.check_signer(ONE.certificate, ONE.certificate, NOW).own_key


@pytest.mark.parametrize(
    ("signer", "why"),
    [
        pytest.param(ONE.issue, "not for OCSP signing", id="no id-kp-OCSPSigning"),
        pytest.param(NAMESAKE.issue_signer, "was not issued by", id="CA of the same name"),
        pytest.param(lambda: CA.create("CA two").issue_signer(), "was not issued by", id="another CA"),
        pytest.param(lambda: ONE.issue_signer(not_after=NOW - 1), "not valid now", id="expired"),
        pytest.param(lambda: ONE.issue_signer(not_before=NOW + DAY), "not valid now", id="not yet valid"),
    ],
)
def test_unfit_signer_is_refused_with_the_reason(signer, why: str):
    """RFC 6960 4.2.2.2: whoever is neither the CA nor its delegated signer is refused."""
    with pytest.raises(SigningError, match=why) as refusal:
        certs.check_signer(signer().certificate, ONE.certificate, NOW)
    assert refusal.value.hint


def test_serial_octets_are_those_of_the_certificate():
    """The serial is kept as the content of its INTEGER, also with a leading zero octet."""
    leaf = ONE.issue(serial=0x80)
    assert certs.serial_octets(leaf.certificate) == b"\x00\x80" == leaf.serial


@pytest.mark.parametrize("kind", ["EC", "RSA", "Ed25519", "ML-DSA-44"])
@pytest.mark.parametrize("version", ["v3", "v1"])
def test_fields_are_those_that_the_library_reads(kind: str, version: str):
    """Names, serial, algorithm and key of a certificate are its own, with and without a version."""
    made = CA.create("A CA of a long name" * 3, kind=kind).der
    if version == "v1":
        outer = [der.element(made, part) for part in der.children(made, der.whole(made, der.SEQUENCE))]
        fields = [der.element(outer[0], part) for part in der.children(outer[0], der.whole(outer[0], der.SEQUENCE))]
        made = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, *fields[1:7]), *outer[1:])
    certificate = certs.load_certificate(made)
    assert certificate.version.name == version
    assert certs.subject_der(certificate) == certificate.subject.public_bytes()
    assert certs.issuer_der(certificate) == certificate.issuer.public_bytes()
    assert int.from_bytes(certs.serial_octets(certificate), "big") == certificate.serial_number
    assert certs.public_key(certificate) == certificate.public_key()
    key_info = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_info.endswith(b"\x00" + certs.public_key_bits(certificate))
    assert certs.is_issued_by(certificate, certificate) is (version == "v3")


def test_signing_end_is_worked_out_once_for_the_same_certificates(monkeypatch):
    """A start asks of the same signer and CA again and again; another history of the CA is another question."""
    signer, worked = ONE.issue_signer(), []
    judged = certs._judged
    monkeypatch.setattr(certs, "_judged", lambda one, authority: worked.append(authority) or judged(one, authority))
    for certificates in ((ONE.der,), (ONE.der,), (ONE.der, NAMESAKE.der)):
        assert certs.signing_end_of(signer.der, certificates) == certs.not_after(signer.certificate)
    assert worked == [ONE.der, ONE.der, NAMESAKE.der]
