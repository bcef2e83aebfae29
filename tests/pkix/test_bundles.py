"""Certificates are read in every form that a CA may hand them out in."""

from __future__ import annotations

import base64
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA

from vouchd.pkix.der import INTEGER, SEQUENCE, tlv
from vouchd.pkix.pem import MAX_BUNDLE_BYTES, Bundle, each_certificate, read_bundle, read_leaf, read_one

ROOT = CA.create("Root")
LEAF = ROOT.issue("leaf")
CHAIN = [LEAF.certificate, ROOT.certificate]
FORMS = {
    "PEM": LEAF.pem + ROOT.pem,
    "PEM, old header": (LEAF.pem + ROOT.pem).replace(b" CERTIFICATE-", b" X509 CERTIFICATE-"),
    "PEM with words between": b"subject: leaf\n" + LEAF.pem + b"\nissuer:\n" + ROOT.pem,
    "PEM, the same twice": LEAF.pem + ROOT.pem + LEAF.pem,
    "PKCS #7 in DER": serialize_certificates(CHAIN, Encoding.DER),
    "PKCS #7 in PEM": serialize_certificates(CHAIN, Encoding.PEM),
    "PKCS #7 as a certificate in PEM": serialize_certificates(CHAIN, Encoding.PEM).replace(b"PKCS7", b"CERTIFICATE"),
    "PKCS #7 in base64": base64.encodebytes(serialize_certificates(CHAIN, Encoding.DER)),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_read_bundle_takes_each_form_of_a_chain(data):
    """All certificates are there, each once, whatever they are wrapped in."""
    assert sorted(c.subject.rfc4514_string() for c in read_bundle(data).certificates) == ["CN=Root", "CN=leaf"]


@pytest.mark.parametrize("data", [LEAF.der, base64.b64encode(LEAF.der), base64.encodebytes(LEAF.der)])
def test_read_bundle_takes_one_certificate_in_der_or_base64(data):
    """A single certificate may come as it is, or in base64 with or without line breaks."""
    assert read_bundle(data) == Bundle((LEAF.certificate,))


def trusted(issued, form: str = "PEM") -> bytes:
    """What `openssl x509 -trustout` writes of a certificate."""
    command = ["openssl", "x509", "-trustout", "-addtrust", "clientAuth", "-setalias", "mine"]
    pem = subprocess.run(command, input=issued.pem, capture_output=True, check=True).stdout
    return pem if form == "PEM" else base64.b64decode(b"".join(pem.splitlines()[1:-1]))


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_read_bundle_of_trusted_certificates_drops_the_settings_with_a_word(form):
    """The trust settings that OpenSSL writes behind a certificate are its user's, and are said to be left out."""
    data = trusted(ROOT, form)
    assert (b"BEGIN TRUSTED CERTIFICATE" in data) is (form == "PEM")
    bundle = read_bundle(data)
    assert bundle.certificates == (ROOT.certificate,)
    assert bundle.notes == ("the trust settings beside CN=Root were left out",)
    assert read_one(data) == bundle
    assert read_leaf(data) == ROOT.certificate


def test_read_bundle_of_trusted_and_plain_certificates_reads_each():
    """A bundle may hold both; a certificate that stands there in both forms is one."""
    bundle = read_bundle(trusted(LEAF) + ROOT.pem + LEAF.pem)
    assert bundle.certificates == (LEAF.certificate, ROOT.certificate)


def test_each_certificate_reads_trusted_ones_and_any_number():
    """A list of issued certificates may hold more of them than a bundle."""
    assert list(each_certificate(trusted(LEAF) + 150 * ROOT.pem)) == [LEAF.certificate, *150 * [ROOT.certificate]]


@pytest.mark.parametrize(
    "behind", [b"\x00", tlv(INTEGER, b"\x01"), tlv(SEQUENCE) + b"\x00"], ids=["a zero", "a number", "more than one"]
)
def test_read_bundle_of_a_certificate_with_other_bytes_behind_it_raises(behind):
    """Only trust settings may stand behind a certificate: anything else was not looked at by who signed it."""
    with pytest.raises(ValueError, match="other bytes behind it"):
        read_bundle(ROOT.der + behind)


def test_read_one_of_several_names_them():
    """Where one certificate is meant a bundle is refused by the names in it."""
    with pytest.raises(ValueError, match="2 certificates where one is expected: CN=leaf; CN=Root"):
        read_one(LEAF.pem + ROOT.pem)


def test_read_bundle_of_another_pem_says_what_it_holds():
    """A request or a key in place of a certificate is called that."""
    with pytest.raises(ValueError, match="no certificates where 1 to 100 are expected; it holds CERTIFICATE REQUEST"):
        read_bundle(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")


@pytest.mark.parametrize(
    "data",
    [b"", b"rubbish", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", ROOT.crl(), LEAF.der[:-1]],
    ids=["empty", "rubbish", "other PEM", "a CRL", "cut short"],
)
def test_read_bundle_of_something_else_raises(data):
    """What holds no certificate is refused in words."""
    with pytest.raises(ValueError, match=r"certificate|base64"):
        read_bundle(data)


def test_read_bundle_of_too_much_raises():
    """The size is bounded before anything is read."""
    with pytest.raises(ValueError, match="more than"):
        read_bundle(bytes(MAX_BUNDLE_BYTES + 1))


@given(st.integers(0, len(FORMS["PKCS #7 in DER"]) - 1), st.integers(1, 255))
def test_read_bundle_of_damaged_pkcs7_raises_nothing_else(place, flip):
    """Damage anywhere ends in ValueError, or in certificates that can still be read."""
    data = bytearray(FORMS["PKCS #7 in DER"])
    data[place] ^= flip
    try:
        bundle = read_bundle(bytes(data))
    except ValueError:
        return
    assert bundle.certificates


def test_read_bundle_with_a_certificate_of_no_version_there_is_raises_nothing_else():
    """A certificate of version 4 inside a chain is unreadable like any other damage."""
    data = FORMS["PKCS #7 in DER"]
    version = b"\xa0\x03\x02\x01\x02"
    assert version in data
    with pytest.raises(ValueError, match="neither"):
        read_bundle(data.replace(version, b"\xa0\x03\x02\x01\x03"))
