"""Lists of issued serials and the document that is kept of them."""

from __future__ import annotations

import pytest
from tests.pki import CA

from vouchd.core import issued


@pytest.mark.parametrize(
    "text, radix, serials",
    [
        (b"10\n255\n", 10, [b"\x0a", b"\x00\xff"]),
        (b"10\nff\n", 16, [b"\x10", b"\x00\xff"]),
        (b"0x10\n1f:2a\n 0 # a remark\n\n# all remark\n", 10, [b"\x10", b"\x1f\x2a", b"\x00"]),
        (b"0XABCDEF\r\n", 10, [b"\x00\xab\xcd\xef"]),
        (b"", 10, []),
    ],
)
def test_issued_serials_text_any_spelling(text, radix, serials):
    """Decimal, marked hexadecimal and a radix are read into DER INTEGER content octets."""
    assert list(issued.issued_serials(text, radix)) == serials


@pytest.mark.parametrize("line", [b"ff", b"-1", b"0x", b"1:2", b"1 2", b"\xff", b"9" * 200, b"0x" + b"f" * 130])
def test_issued_serials_bad_line_refused_with_its_number(line):
    """What is not clearly one serial is refused by line number: bare `ff` may be a typing error."""
    with pytest.raises(ValueError, match="line 2"):
        list(issued.issued_serials(b"1\n" + line + b"\n"))


def test_issued_serials_certificates_give_their_serials():
    """PEM certificates may be given instead of a list."""
    ca = CA.create()
    certificates = [ca.issue(serial=serial) for serial in (5, 0x80)]
    assert list(issued.issued_serials(b"".join(each.pem for each in certificates))) == [b"\x05", b"\x00\x80"]


def test_document_same_set_same_bytes():
    """Order and repetition do not matter: one set of serials is one document."""
    assert issued.document([b"\x02", b"\x01", b"\x02"]) == issued.document([b"\x01", b"\x02"]) == b"01\n02\n"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_document_serials_any_chunks_round_trip(size):
    """A document that comes in pieces gives its serials wherever it was cut."""
    serials = [b"\x00\xff", b"\x01", b"\x7f\x00"]
    document = issued.document(serials)
    chunks = [document[start : start + size] for start in range(0, len(document), size)]
    assert list(issued.document_serials(chunks)) == sorted(serials)


def test_document_serials_cut_short_refused():
    """A document without its last line end is damaged."""
    with pytest.raises(ValueError, match="cut short"):
        list(issued.document_serials([b"01\n02"]))


def test_issued_serials_numbers_are_decimal_unless_said_otherwise():
    """Most lists are; a serial may have 64 octets, and not one more."""
    longest = 2 ** (8 * issued.MAX_SERIAL_OCTETS - 1) - 1
    assert list(issued.issued_serials(b"16")) == [b"\x10"]
    assert list(issued.issued_serials(b"%d" % longest)) == [longest.to_bytes(issued.MAX_SERIAL_OCTETS)]
    for line in (b"%d" % (longest + 1), b"0x%x" % (longest + 1)):
        with pytest.raises(ValueError, match="more than 64 octets"):
            list(issued.issued_serials(line))
