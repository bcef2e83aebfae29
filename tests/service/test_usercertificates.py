"""Certificates of users whose names are odd."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.pkix.certs import UNREADABLE
from vouchd.service.usercertificates import MAX_SUBJECT_CHARACTERS, describe, subject_text

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def certificate(attribute: x509.NameAttribute, damage: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    """A self-signed certificate (DER) of that subject, with some of its octets replaced."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([attribute])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 5, NOW, NOW + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER).replace(*damage)


@pytest.mark.parametrize(
    ("attribute", "damage"),
    [
        (x509.NameAttribute(x509.ObjectIdentifier("1.2.3.4.5"), "x"), (b"", b"")),
        (x509.NameAttribute(x509.ObjectIdentifier("1.2.3.4.5"), "x" * 4000), (b"", b"")),
        (x509.NameAttribute(x509.ObjectIdentifier("2.5.4.3"), "abc"), (b"\x0c\x03abc", b"\x0c\x03\xff\xfe\xfd")),
        (x509.NameAttribute(x509.ObjectIdentifier("2.5.4.3"), "abc"), (b"\x0c\x03abc", b"\x04\x03abc")),
    ],
    ids=["odd OID", "long", "no UTF-8", "octets"],
)
def test_subject_of_any_form_is_text_that_a_record_can_hold(attribute, damage):
    """Whoever comes with whatever name leaves a record: its text, or that it cannot be read."""
    data = certificate(attribute, damage)
    try:
        loaded = x509.load_der_x509_certificate(data)
    except ValueError:
        pytest.fail("no certificate: the test would say nothing")
    text = subject_text(loaded)
    assert text
    assert len(text) <= max(MAX_SUBJECT_CHARACTERS, len(UNREADABLE))
    assert describe(data).subject == text
