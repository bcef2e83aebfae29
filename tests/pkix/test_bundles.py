"""Certificates are read in every form that a CA may hand them out in."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA

from vouchd.pkix.pem import MAX_BUNDLE_BYTES, read_bundle

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
    assert sorted(c.subject.rfc4514_string() for c in read_bundle(data)) == ["CN=Root", "CN=leaf"]


@pytest.mark.parametrize("data", [LEAF.der, base64.b64encode(LEAF.der), base64.encodebytes(LEAF.der)])
def test_read_bundle_takes_one_certificate_in_der_or_base64(data):
    """A single certificate may come as it is, or in base64 with or without line breaks."""
    assert read_bundle(data) == (LEAF.certificate,)


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
        found = read_bundle(bytes(data))
    except ValueError:
        return
    assert found


def test_read_bundle_with_a_certificate_of_no_version_there_is_raises_nothing_else():
    """A certificate of version 4 inside a chain is unreadable like any other damage."""
    data = FORMS["PKCS #7 in DER"]
    version = b"\xa0\x03\x02\x01\x02"
    assert version in data
    with pytest.raises(ValueError, match="neither"):
        read_bundle(data.replace(version, b"\xa0\x03\x02\x01\x03"))
