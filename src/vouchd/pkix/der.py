"""Strict DER (X.690) at the level of tag, length and value: what is echoed, matched or streamed stays raw bytes.

Reading raises ValueError with the reason; the modules that know the structure turn it into their own error.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, ENUMERATED = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A
UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31


class TLV(NamedTuple):
    """One element: its tag, and where it starts, where its content starts, and where it ends."""

    tag: int
    begin: int
    start: int
    end: int


_new = tuple.__new__  # as TLV's own does, without a call in between: all reading is this


def read_tlv(data: Buffer, pos: int, limit: int) -> TLV:
    """The element at `pos`, which must end at or before `limit`. Raises: ValueError."""
    if pos + 2 > limit:
        raise ValueError("truncated element")
    tag, length = data[pos], data[pos + 1]
    start = pos + 2
    if tag & 0x1F == 0x1F:
        raise ValueError("tag number above 30")
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or start + count > limit:
            raise ValueError("length that is indefinite, too large or truncated")
        length = int.from_bytes(data[start : start + count], "big")
        start += count
        if length < 0x80 or length < 1 << 8 * (count - 1):
            raise ValueError("length that is not minimal")
    if start + length > limit:
        raise ValueError("element that is longer than what holds it")
    return _new(TLV, (tag, pos, start, start + length))


def expect(data: Buffer, pos: int, limit: int, tag: int) -> TLV:
    """The element at `pos`, which must have `tag`. Raises: ValueError."""
    tlv = read_tlv(data, pos, limit)
    if tlv.tag != tag:
        raise ValueError(f"tag {tlv.tag:#04x} where {tag:#04x} belongs")
    return tlv


def whole(data: Buffer, tag: int) -> TLV:
    """The one element that `data` consists of; bytes after it are an error. Raises: ValueError."""
    tlv = expect(data, 0, len(data), tag)
    if tlv.end != len(data):
        raise ValueError("bytes after the end of the structure")
    return tlv


def children(data: Buffer, parent: TLV) -> Iterator[TLV]:
    """The elements inside a constructed one, in order. Raises: ValueError."""
    pos = parent.start
    while pos < parent.end:
        child = read_tlv(data, pos, parent.end)
        yield child
        pos = child.end


def content(data: Buffer, tlv: TLV) -> bytes:
    """The content octets of an element."""
    return bytes(data[tlv.start : tlv.end])


def element(data: Buffer, tlv: TLV) -> bytes:
    """The element with its tag and length."""
    return bytes(data[tlv.begin : tlv.end])


def integer_octets(data: Buffer, tlv: TLV) -> bytes:
    """Content octets of an INTEGER or ENUMERATED, minimal as DER asks. Raises: ValueError."""
    octets = content(data, tlv)
    if tlv.tag not in {INTEGER, ENUMERATED} or not octets:
        raise ValueError("no INTEGER")
    if len(octets) > 1 and octets[0] in {0x00, 0xFF} and (octets[0] ^ octets[1]) < 0x80:
        raise ValueError("INTEGER that is not minimal")
    return octets


def integer(data: Buffer, tlv: TLV) -> int:
    """The value of an INTEGER or ENUMERATED. Raises: ValueError."""
    return int.from_bytes(integer_octets(data, tlv), "big", signed=True)


def boolean(data: Buffer, tlv: TLV) -> bool:
    """The value of a BOOLEAN. Raises: ValueError."""
    octets = content(data, tlv)
    if octets not in {b"\x00", b"\xff"}:
        raise ValueError("BOOLEAN that is neither 00 nor FF")
    return octets == b"\xff"


# The longest OBJECT IDENTIFIER that is read: those in use have up to 30 octets. What is read of one, for an error text
# too, then costs little whatever a stranger sends.
MAX_OID_OCTETS = 128

_OID_OCTETS = re.compile(rb"(?:(?:[\x81-\xff][\x80-\xff]*+)?[\x00-\x7f])++")


def oid(data: Buffer, tlv: TLV) -> bytes:
    """The content octets of an OBJECT IDENTIFIER, whole and minimal. Raises: ValueError."""
    if tlv.tag != OID:
        raise ValueError("no OBJECT IDENTIFIER")
    if tlv.end - tlv.start > MAX_OID_OCTETS:
        raise ValueError(f"OBJECT IDENTIFIER of {tlv.end - tlv.start} octets, where {MAX_OID_OCTETS} are allowed")
    octets = content(data, tlv)
    if not octets or octets[-1] >= 0x80:
        raise ValueError("OBJECT IDENTIFIER that is empty or truncated")
    if not _OID_OCTETS.fullmatch(octets):
        raise ValueError("OBJECT IDENTIFIER that is not minimal")
    return octets


_LAST_HOUR, _LAST_MINUTE, _LAST_SECOND = 23, 59, 61  # POSIX allows for leap seconds
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()


def time_seconds(data: Buffer, tlv: TLV) -> int:
    """POSIX seconds of a UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 restricts them. Raises: ValueError."""
    text = content(data, tlv)
    if tlv.tag == UTC_TIME and len(text) == len("YYMMDDHHMMSSZ"):
        text = (b"20" if text[:2] < b"50" else b"19") + text
    elif tlv.tag != GENERALIZED_TIME:
        raise ValueError("no UTCTime or GeneralizedTime")
    if len(text) != len("YYYYMMDDHHMMSSZ") or not text[:14].isdigit() or text[14:] != b"Z":
        raise ValueError("time that is not in whole seconds of UTC")
    return _posix_seconds(text)


@lru_cache(maxsize=1 << 10)  # an answer has one time several times
def _posix_seconds(text: bytes) -> int:
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
    hour, minute, second = int(text[8:10]), int(text[10:12]), int(text[12:14])
    if hour > _LAST_HOUR or minute > _LAST_MINUTE or second > _LAST_SECOND:
        raise ValueError("a time of day that there is not")
    try:
        days = dt.date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError as error:
        raise ValueError("the time of a day that there is not") from error
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def header(tag: int, size: int) -> bytes:
    """Tag and length octets of an element with `size` octets of content."""
    if size < 0x80:
        return bytes((tag, size))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def tlv(tag: int, *parts: Buffer) -> bytes:
    """The element with `tag` around the concatenated parts."""
    body = b"".join(parts)
    return header(tag, len(body)) + body


@lru_cache(maxsize=4096)  # the times of a CRL stand in each of its answers
def generalized_time(seconds: int) -> bytes:
    """GeneralizedTime of POSIX seconds, in whole seconds of UTC."""
    return tlv(GENERALIZED_TIME, time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds)).encode())


def integer_tlv(value: int) -> bytes:
    """INTEGER of `value`."""
    bits = (value if value >= 0 else ~value).bit_length()  # two's complement: -128 has room in one octet
    return tlv(INTEGER, value.to_bytes(bits // 8 + 1, "big", signed=True))


@lru_cache(maxsize=1 << 8)
def oid_octets(dotted_form: str) -> bytes:
    """Content octets of an OBJECT IDENTIFIER in dotted form."""
    first, second, *rest = (int(arc) for arc in dotted_form.split("."))
    octets = bytearray()
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        octets += bytes(reversed(groups))
    return bytes(octets)


def oid_tlv(dotted_form: str) -> bytes:
    """OBJECT IDENTIFIER of a dotted form."""
    return tlv(OID, oid_octets(dotted_form))


@lru_cache(maxsize=1 << 8)  # of at most MAX_OID_OCTETS
def dotted(octets: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content octets, as `oid` reads them. Raises: ValueError."""
    oid(octets, TLV(OID, 0, 0, len(octets)))
    arcs = [0]
    for octet in octets[:-1]:
        arcs[-1] = arcs[-1] << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(0)
    arcs[-1] = arcs[-1] << 7 | octets[-1]
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


Buffer = bytes | bytearray | memoryview
