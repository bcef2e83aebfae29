"""Certificates and CRLs in DER, PEM and bare base64."""

from __future__ import annotations

import base64

import pytest

from vouchd.files import Spool
from vouchd.pkix import pem

DER = b"\x30\x82\x01\x00" + bytes(256)
OTHER = b"\x30\x03\x02\x01\x05"


def block(label: str, der: bytes, newline: str = "\n") -> bytes:
    body = base64.encodebytes(der).decode().replace("\n", newline)
    return f"-----BEGIN {label}-----{newline}{body}-----END {label}-----{newline}".encode()


@pytest.mark.parametrize("label", pem.CRL_LABELS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_single_pem_with_either_header_is_der(label, newline):
    """RFC 7468's header and the Certificate System's are both read, with either line end."""
    assert pem.single(block(label, DER, newline), pem.CRL_LABELS) == DER


def test_single_der_comes_back_uncopied():
    """DER of hundreds of megabytes is passed on as the same buffer."""
    view = memoryview(DER)
    assert pem.single(view, pem.CRL_LABELS) is view


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_single_base64_without_header_is_der(kind):
    """Bare base64 is decoded, from any buffer."""
    assert pem.single(kind(base64.encodebytes(DER)), pem.CRL_LABELS) == DER


def test_single_text_around_and_other_blocks_are_passed_over():
    """What openssl prints before a block, and blocks of another kind, do not matter."""
    data = b"Certificate Revocation List (CRL):\n" + block("CERTIFICATE", OTHER) + block("X509 CRL", DER)
    assert pem.single(data, pem.CRL_LABELS) == DER


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"%%%%",
        base64.b64encode(b"no DER"),
        block("CERTIFICATE", DER),
        block("X509 CRL", DER) + block("X509 CRL", OTHER),
        block("X509 CRL", DER)[:-20],
        b"-----BEGIN X509 CRL-----\n!!!!\n-----END X509 CRL-----\n",
        b"-----BEGIN " * 50,
    ],
)
def test_single_anything_else_refused(data):
    """Nothing, several, cut short or damaged: ValueError, never a guess."""
    with pytest.raises(ValueError):
        pem.single(data, pem.CRL_LABELS)


@pytest.mark.parametrize(
    "text",
    [
        block("CERTIFICATE", DER),
        block("CERTIFICATE", DER, "\r\n"),
        block("CERTIFICATE", DER).rstrip(),
        block("CERTIFICATE", b""),
        block("X509 CRL", DER),
        block("CERTIFICATE", DER).replace(b"AAAA", b"AA=A", 1),
        block("CERTIFICATE", DER).replace(b"AAAA", b"AA-A", 1),
        block("CERTIFICATE", DER).replace(b"AAAA", b"A A\tAA", 1),
        *(
            b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n"
            for body in (
                b"QUJD",
                b"QUI=",
                b"QUI==",
                b"QUJD=",
                b"QQ==",
                b"Q===",
                b"QQ=",
                b"QUJDQ",
                b"QUJDQQ",
                b"QQ==\n",
                b"=",
            )
        ),
        b"-----BEGIN CERTIFICATE-----QUJD\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nQUJD-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END X509 CRL-----\n",
    ],
)
def test_block_by_itself_is_read_as_strictly_as_among_others(text):
    """One that is all of a text has a way of its own, which takes and refuses what that of several does."""

    def read(text: bytes) -> list[bytes] | str:
        try:
            return list(pem.blocks(text, ("CERTIFICATE",)))
        except ValueError as error:
            return str(error)

    assert read(text) == read(b"a line before it\n" + text)


def test_blocks_several_in_order():
    """A bundle gives its blocks one after the other."""
    data = block("CERTIFICATE", DER) + block("X509 CRL", DER) + block("CERTIFICATE", OTHER)
    assert list(pem.blocks(data, pem.CERTIFICATE_LABELS)) == [DER, OTHER]


def test_blocks_that_are_large_are_decoded_each_into_a_storage_of_its_own():
    """A bundle of CRLs of some megabytes is read piece by piece, and is what it is as a whole."""
    large = b"\x30" + bytes(range(256)) * 5000
    data = block("X509 CRL", large) + block("CERTIFICATE", OTHER) + block("X509 CRL", DER, "\r\n")
    assert list(pem.stored_blocks(memoryview(data), pem.CRL_LABELS, Spool)) == [large, DER]
    assert pem.single(base64.encodebytes(large), pem.CRL_LABELS, Spool) == large
    assert pem.labels(data) == {"X509 CRL", "CERTIFICATE"}
