"""DER at the level of tag, length and value (X.690), and the times of RFC 5280 section 4.1.2.5."""

from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vouchd.pkix import der


@given(st.binary(max_size=70_000))
def test_tlv_of_any_content_reads_back(content: bytes):
    """What tlv writes, whole reads, whatever the length."""
    data = der.tlv(der.OCTET_STRING, content)
    assert der.content(data, der.whole(data, der.OCTET_STRING)) == content


@given(st.integers(-(2**170), 2**170))
@example(-128)
@example(-(2**63))
@example(128)
def test_integer_reads_back(value: int):
    """INTEGERs of either sign are minimal and read back."""
    data = der.integer_tlv(value)
    assert der.integer(data, der.whole(data, der.INTEGER)) == value


@given(st.integers(-(2**31), 2**37))
def test_generalized_time_reads_back(seconds: int):
    """Times of any year of four digits read back to the second."""
    data = der.generalized_time(seconds)
    assert der.time_seconds(data, der.whole(data, der.GENERALIZED_TIME)) == seconds


@pytest.mark.parametrize(("text", "seconds"), [(b"491231235959Z", 2524607999), (b"500101000000Z", -631152000)])
def test_utc_time_turns_the_century_at_fifty(text: bytes, seconds: int):
    """UTCTime years 50 to 99 are of the twentieth century."""
    data = der.tlv(der.UTC_TIME, text)
    assert der.time_seconds(data, der.whole(data, der.UTC_TIME)) == seconds


@pytest.mark.parametrize(
    "text", [b"20260101000000.5Z", b"20260101000000", b"202601010000Z", b"20261301000000Z", b"2026 101000000Z"]
)
def test_time_of_other_form_is_refused(text: bytes):
    """Fractions, local times, missing seconds and impossible dates are no DER times of a certificate."""
    data = der.tlv(der.GENERALIZED_TIME, text)
    with pytest.raises(ValueError, match=r"time|unconverted|match"):
        der.time_seconds(data, der.whole(data, der.GENERALIZED_TIME))


_DIGITS = st.tuples(*(st.integers(0, most) for most in (9999, 14, 33, 25, 61, 63)))


@given(_DIGITS)
@example((2024, 2, 29, 23, 59, 61))
@example((2023, 2, 29, 0, 0, 0))
def test_time_of_any_digits_is_that_of_the_calendar(parts: tuple[int, ...]):
    """Which days and times of day there are is what the standard library says."""
    text = "{:04}{:02}{:02}{:02}{:02}{:02}Z".format(*parts)
    data = der.tlv(der.GENERALIZED_TIME, text.encode())
    try:
        moment = calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))
    except ValueError:
        with pytest.raises(ValueError, match="time"):
            der.time_seconds(data, der.whole(data, der.GENERALIZED_TIME))
    else:
        assert der.time_seconds(data, der.whole(data, der.GENERALIZED_TIME)) == moment


def test_oid_reads_as_the_standard_encodes_it():
    """Arcs above 127 and a first arc of two take several octets."""
    assert der.oid_octets("1.2.840.113549") == bytes.fromhex("2a864886f70d")
    assert der.oid_octets("2.999.3") == bytes.fromhex("883703")


@pytest.mark.parametrize(
    "octets",
    [b"", b"\x80", b"\x2a\x86", b"\x80\x01", b"\x2a\x80\x01", b"\x2a" * 129, b"\x2a" + b"\xff" * 64_000 + b"\x01"],
    ids=["empty", "no arc", "cut", "padded first", "padded arc", "129 octets", "64 KB"],
)
def test_oid_of_other_form_is_refused_where_it_is_read_and_where_it_is_shown(octets: bytes):
    """An OBJECT IDENTIFIER is whole, minimal and of at most 128 octets; more is never looked at."""
    data = der.tlv(der.OID, octets)
    with pytest.raises(ValueError, match="OBJECT IDENTIFIER"):
        der.oid(data, der.whole(data, der.OID))
    with pytest.raises(ValueError, match="OBJECT IDENTIFIER"):
        der.dotted(octets)


@given(st.lists(st.integers(0, 2**70), max_size=8), st.sampled_from([(0, 0), (0, 39), (1, 3), (2, 999)]))
def test_oid_dotted_form_reads_back(arcs: list[int], first: tuple[int, int]):
    """The dotted form of what `oid_octets` makes is what it was made from."""
    text = ".".join(map(str, (*first, *arcs)))
    assert der.dotted(der.oid_octets(text)) == text


def test_oid_shown_is_short():
    """The longest that is read takes a few lines of a log, whatever its arcs."""
    assert len(der.dotted(b"\x2a" * 128)) < 512
    assert len(der.dotted(b"\xff" * 127 + b"\x7f")) < 512
