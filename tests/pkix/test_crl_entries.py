"""CRL entries of RFC 5280 sections 5.1.2.6 and 5.3: streamed, by a quick way and a strict one that agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pkix import crls
from tests.pkix.crls import INDIRECT, certificate_issuer, crl, entry, extension, invalidity, reason

from vouchd.errors import CRLRejected
from vouchd.pkix import crl_entries
from vouchd.pkix.crl import Span, read_header
from vouchd.pkix.crl_entries import _ODD, _ODD_IN_COMPLETE, _Scanner, entries, oddities, packed_entries
from vouchd.pkix.crl_pattern import EntryPattern
from vouchd.pkix.der import tlv
from vouchd.pkix.packed import WIDEST, LayoutTooNarrow, RecordLayout
from vouchd.pkix.reasons import Reason, RevocationEntry

WHEN = 1748781296  # crls.TIME


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short lists are read the quick way, too, as long ones are."""
    monkeypatch.setattr(crl_entries, "SHORT_BYTES", 0)


def read(der: bytes, issuer: bytes | None = None) -> list[RevocationEntry]:
    return list(entries(der, read_header(der), issuer))


def test_entries_come_in_the_order_of_the_list():
    """Serial, time, reason and invalidity date of each entry, in the order of the CRL."""
    der = crl(
        entry(b"\x05"),
        entry(b"\x04", reason(1)),
        entry(b"\x00\xff", reason(6), invalidity(b"20250101000000Z")),
    )
    assert read(der) == [
        RevocationEntry(b"\x05", WHEN),
        RevocationEntry(b"\x04", WHEN, Reason.KEY_COMPROMISE),
        RevocationEntry(b"\x00\xff", WHEN, Reason.CERTIFICATE_HOLD, 1735689600),
    ]


def test_padded_serial_is_the_same_number():
    """INTEGER octets that only repeat the sign do not make another serial."""
    assert [e.serial for e in read(crl(entry(b"\x00\x00\x05"), entry(b"\xff\xff\x80")))] == [b"\x05", b"\x80"]


def test_generalized_time_is_read():
    """RFC 5280 5.1.2.6: dates from 2050 on are GeneralizedTime."""
    assert read(crl(entry(time=tlv(0x18, b"20500101000000Z"))))[0].revocation_time == 2524608000


def test_utc_time_of_the_last_century_is_read():
    """RFC 5280 4.1.2.5.1: years from 50 on are of the twentieth century."""
    assert read(crl(entry(time=tlv(0x17, b"700101000001Z"))))[0].revocation_time == 1


def test_unknown_extension_that_is_not_critical_is_passed_over():
    """RFC 5280 5.3: only a critical entry extension must be understood."""
    assert read(crl(entry(b"\x05", extension(b"\x17", b"\x06\x01\x2a"), reason(3))))[0].reason is Reason(3)


def test_unknown_critical_extension_refuses_the_crl_wherever_it_stands():
    """RFC 5280 5.3: a CRL with a critical entry extension that is not understood must not be used."""
    good = [entry(bytes((1, i))) for i in range(200)]
    der = crl(*good, entry(b"\x05", extension(b"\x63", b"", critical=True)))
    with pytest.raises(CRLRejected, match="critical extension"):
        read(der)


@pytest.mark.parametrize(
    "odd",
    [
        entry(b""),
        entry(b"\x01" * 65),
        entry(time=tlv(0x17, b"250631000000Z")),
        entry(time=tlv(0x17, b"250601240000Z")),
        entry(time=tlv(0x17, b"250601126000Z")),
        entry(time=tlv(0x17, b"2506011234560")),
        entry(time=tlv(0x18, b"20250601123456.5Z")),
        entry(time=tlv(0x04, b"250601123456Z")),
        entry(b"\x05", reason(1), reason(1)),
        entry(b"\x05", extension(b"\x15", b"\x02\x01\x01")),
        entry(b"\x05", certificate_issuer(crls.OTHER)),
        tlv(0x30, b"\x02\x01\x05"),
        tlv(0x30, b"\x02\x01\x05", crls.TIME, b"\x05\x00"),
        tlv(0x31, b"\x02\x01\x05", crls.TIME),
        entry()[:-1],
        b"\x30\x81" + entry()[1:],
        b"\x00",
    ],
)
def test_unsound_entry_is_refused_first_and_after_usual_ones(odd):
    """A malformed entry refuses the CRL, also when the quick way has learned its form before."""
    usual = [entry(b"\x04"), entry(b"\x06", reason(1)), entry(b"\x07" * 3)] * 3
    for before in ([], usual):
        with pytest.raises(CRLRejected) as refusal:
            read(crl(*before, odd))
        assert refusal.value.hint
        with pytest.raises(CRLRejected):
            read(crl(*before, odd, *usual))


ODD_ENTRIES = {
    "reasonCode": [entry(b"\x05", reason(7)), entry(b"\x05", reason(11)), entry(b"\x05", reason(127))],
    "empty list": [tlv(0x30, b"\x02\x01\x05", crls.TIME, b"\x30\x00")],
    "invalidityDate": [
        entry(b"\x05", extension(b"\x18", tlv(0x17, b"250601123456Z"))),
        entry(b"\x05", extension(b"\x18", tlv(0x16, b"2025"))),
    ],
    "revocationDate": [
        entry(b"\x05", time=tlv(0x17, text))
        for text in (b"2506011234Z", b"250601143456+0200", b"2506011004-0230", b"250601123456-0000")
    ],
    "removeFromCRL": [entry(b"\x05", reason(8))],
}


@pytest.mark.parametrize(("word", "odd"), [(word, odd) for word, some in ODD_ENTRIES.items() for odd in some])
def test_odd_entry_is_a_revocation_like_any_other_and_is_told(word, odd):
    """What OpenSSL, GnuTLS, NSS and Go read costs no other revocation, first and after usual entries."""
    usual = [entry(b"\x04"), entry(b"\x06", reason(1)), entry(b"\x07" * 3)] * 3
    for before in ([], usual):
        der = crl(*before, odd, *usual)
        listed = read(der)
        assert len(listed) == len(before) + 1 + len(usual)
        assert listed[len(before)].serial == b"\x05"
        assert (listed[len(before)].reason, listed[len(before)].invalidity_date) == (Reason.ABSENT, None)
        (words,) = oddities(der, read_header(der))
        assert word in words
    assert oddities(crl(*usual), read_header(crl(*usual))) == ()


@pytest.mark.parametrize(
    ("text", "second"),
    [
        (b"2506011234Z", 1748781240),
        (b"250601143456+0200", 1748781296),
        (b"2506011004-0230", 1748781240),
        (b"4912312330-0100", 2524609800),
    ],
)
def test_revocation_date_without_seconds_or_of_another_zone_is_its_moment(text, second):
    """A UTCTime as X.680 has it, which RFC 5280 restricts: one such entry costs no other revocation."""
    assert read(crl(entry(time=tlv(0x17, text))))[0].revocation_time == second


@pytest.mark.parametrize(
    "text", [b"2506011234", b"2506011234Z0", b"250601123456+2400", b"2506311234Z", b"250601123456+02"]
)
def test_revocation_date_that_is_no_moment_refuses_the_crl(text):
    """What nobody could read is not guessed."""
    with pytest.raises(CRLRejected):
        read(crl(entry(time=tlv(0x17, text))))


def test_odd_invalidity_date_that_must_be_understood_refuses_the_crl():
    """RFC 5280 5.3: what is critical and cannot be read is not passed over."""
    with pytest.raises(CRLRejected):
        read(crl(entry(b"\x05", extension(b"\x18", tlv(0x17, b"250601123456Z"), critical=True))))


def test_removal_is_for_delta_crls():
    """RFC 5280 5.3.1: removeFromCRL appears in delta CRLs only."""
    der = crl(entry(b"\x05", reason(8)), extensions=(crls.crl_number(2), crls.delta_indicator(1)))
    assert read(der)[0].reason is Reason.REMOVE_FROM_CRL


def test_version_1_crl_has_no_entry_extensions():
    """RFC 5280 5.1.2.6: entry extensions need version 2."""
    assert len(read(crl(entry(), version=b""))) == 1
    with pytest.raises(CRLRejected, match="version 1"):
        read(crl(entry(b"\x05", reason(1)), version=b""))


def test_certificate_issuer_holds_until_the_next_one():
    """RFC 5280 5.3.3: an entry without certificateIssuer belongs to the issuer of the one before it."""
    listed = [
        entry(b"\x01"),
        entry(b"\x02", certificate_issuer(crls.OTHER)),
        entry(b"\x03"),
        entry(b"\x04", reason(1)),
        entry(b"\x05", certificate_issuer(crls.ISSUER)),
        entry(b"\x06"),
        entry(b"\x07", reason(1), certificate_issuer(crls.OTHER)),
    ]
    der = crl(*listed, extensions=(INDIRECT,))
    assert [e.serial for e in read(der)] == [b"\x01", b"\x05", b"\x06"]
    assert [e.serial for e in read(der, crls.OTHER)] == [b"\x02", b"\x03", b"\x04", b"\x07"]
    assert read(der, crls.OTHER[:-1] + b"Z") == []


def test_layout_that_is_too_narrow_names_the_one_needed():
    """A serial or an invalidity date without room tells which layout has it."""
    der = crl(entry(b"\x01" * 20), entry(b"\x02", invalidity(b"20250101000000Z")))
    with pytest.raises(LayoutTooNarrow) as narrow:
        list(packed_entries(der, read_header(der), RecordLayout()))
    assert narrow.value.needed == RecordLayout(21)
    with pytest.raises(LayoutTooNarrow) as narrow:
        list(packed_entries(der, read_header(der), RecordLayout(21)))
    assert narrow.value.needed == RecordLayout(21, invalidity=True)


def test_million_of_bytes_of_entries_are_told_in_pieces():
    """No list ever holds more than a small part of the entries."""
    der = crl(*(entry(i.to_bytes(4, "big"), reason(1)) for i in range(20000)))
    pieces = list(packed_entries(der, read_header(der), RecordLayout()))
    assert sum(map(len, pieces)) == 20000
    assert max(map(len, pieces)) < 2000


SERIALS = st.binary(min_size=1, max_size=22)
TIMES = st.integers(-2_000_000_000, 6_000_000_000)
DATES = [b"20250101000000Z", b"19991231235959Z", b"20000229235959Z", b"19400101000000Z", b"20500101000000Z"]
LOOKALIKE = extension(b"\x71", invalidity(b"20010101000000Z"))  # not an invalidity date but bytes like one
EXTENSIONS = st.tuples(
    st.sampled_from([b"", LOOKALIKE]),
    st.sampled_from([b"", *map(invalidity, DATES)]),
    st.sampled_from([b"", reason(1), reason(6)]),
    st.sampled_from([b"", extension(b"\x17", b"\x06\x01\x2a"), extension(b"\x70", b"x" * 200)]),
).map(lambda parts: [part for part in parts if part])


@st.composite
def listed(draw):
    """One entry with any serial, time and extensions."""
    date = draw(st.dates()).strftime("%m%d").encode()
    year = draw(st.integers(1900, 2100))
    clock = b"%02d%02d%02dZ" % (draw(st.integers(0, 23)), draw(st.integers(0, 59)), draw(st.integers(0, 59)))
    utc = 1950 <= year < 2050 and draw(st.booleans())
    date = b"0228" if date == b"0229" else date
    time = tlv(0x17, b"%02d" % (year % 100) + date + clock) if utc else tlv(0x18, b"%04d" % year + date + clock)
    return entry(draw(SERIALS), *draw(EXTENSIONS), time=time)


def strictly(der: bytes) -> list[bytes] | None:
    """The records by the strict reader alone, None when it refuses the CRL."""
    try:
        header = read_header(der)
        scanner = _Scanner(der, header, WIDEST, header.issuer_name_der)
        return scanner._strictly(header.entries.start, header.entries.end)[0]
    except CRLRejected:
        return None


def quickly(der: bytes) -> list[bytes] | None:
    """The records as everybody gets them, None when the CRL is refused."""
    try:
        return [record for part in packed_entries(der, read_header(der), WIDEST) for record in part]
    except CRLRejected:
        return None


@given(st.lists(listed(), max_size=12))
def test_quick_way_agrees_with_the_strict_one(listing):
    """Any mixture of forms gives the records that the strict reader makes of it, none of them refused."""
    der = crl(*listing, *listing)
    assert quickly(der) == strictly(der)
    assert strictly(der) is not None


def test_short_list_is_read_without_learning_a_form(monkeypatch):
    """The list of a delta has the records that it would have in a long one, and costs no expression of its own."""
    der = crl(*(entry(bytes((1, number)), reason(1)) for number in range(20)))
    records = quickly(der)
    monkeypatch.setattr(crl_entries, "SHORT_BYTES", 1 << 13)
    monkeypatch.setattr(EntryPattern, "learn", None)
    assert quickly(der) == records == strictly(der)
    assert len(records) == 20


@given(st.data())
def test_quick_way_refuses_what_the_strict_one_refuses(data):
    """After any change of one octet both ways tell the same or both refuse."""
    listing = [entry(b"\x05"), entry(b"\x00\xff", reason(1)), entry(b"\x07" * 16, reason(1)), entry(b"\x08")]
    der = bytearray(crl(*listing * 3))
    place = der.index(entry(b"\x05")) + data.draw(st.integers(0, sum(map(len, listing)) * 3 - 1))
    der[place] = data.draw(st.integers(0, 255))
    assert quickly(bytes(der)) == strictly(bytes(der))


PIECES_OF_ENTRIES = (
    *(some for odd in ODD_ENTRIES.values() for some in odd),
    entry(b"\x06", reason(1)),
    extension(b"\x15", b"\x0a\x01\x08", critical=True)[2:],
    crls.TIME,
    b"\x55\x1d\x15",
    b"\x04\x03\x0a\x01",
    b"\x01\x01\xff",
    b"Z",
    b"\x30\x00",
    b"250601",
    b"\x17",
    b"\x0f",
    b"\x07",
)


@given(st.lists(st.sampled_from(PIECES_OF_ENTRIES), max_size=8).map(b"".join), st.booleans())
def test_oddities_are_those_that_each_pattern_finds_by_itself(listed, is_delta):
    """The look that spares the others misses none of what they find, whatever stands around it."""
    header = replace(read_header(crl()), entries=Span(0, len(listed)), base_crl_number=1 if is_delta else None)
    kinds = _ODD if is_delta else _ODD | _ODD_IN_COMPLETE
    assert oddities(listed, header) == tuple(words for words, pattern in kinds.items() if pattern.search(listed))
