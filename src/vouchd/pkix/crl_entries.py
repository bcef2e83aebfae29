"""The entries of a CRL, scanned once from the first to the last without ever making a list of them all.

How ten million entries are affordable in Python, and why the quick way reads what the strict one would:

- The scan goes window by window (32 KiB of the CRL). In each a regular expression (`crl_pattern`) finds as many entries
  in a row as it knows the form of; the engine's loop is in C. What it cannot match ends the run, and the entry there is
  read by the strict reader, `_read`, element by element. Then the next window begins where that entry ends.
- The pattern is taught: each entry that the strict reader took, and that is of an ordinary shape (short lengths, a
  UTCTime), adds its pair of lengths to the pattern. So the first entry of each form costs a strict reading and the
  compilation of a pattern, all later ones a match. Forms are few: a CA's serials have one or two lengths, its
  extensions four; there is a limit on what is learned, beyond which entries are read strictly, which is slow and right.
- The pattern is exact, so a match is DER: its lengths are literal bytes of forms that were read before, each length
  covers just what follows (an entry cannot be torn apart or joined by a byte that looks like a header, as every match
  begins where the one before ended), its time is a time that exists, its serial is not negative.
- What stands after the time, the list of extensions, is the same few byte strings again and again. `_Tails` is a table
  from such a string to the two octets (and invalidity date) that stand for it in a record; a string that is not in it
  is read strictly, once. Invalidity dates, which differ in each entry, are cut out of the string before it is looked
  up.
- An entry that names a certificate issuer changes what those after it mean: its window is read strictly, in order.
- A record is made by slicing and padding bytes; serials are put into a fixed width by the sign they have. When one does
  not fit `LayoutTooNarrow` says which width does, and the scan begins again with that.

What is odd and harmless is read as OpenSSL, GnuTLS, NSS and Go read it, so that it costs no other revocation: an empty
list of extensions is none; a reasonCode that RFC 5280 does not know, or that only a delta may have, is a revocation
without a reason; an invalidityDate that is none is left out; a revocationDate may lack its seconds or be of another
zone than UTC, as a UTCTime may outside of RFC 5280. `oddities` says whether there are such entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from vouchd.errors import CRLRejected
from vouchd.pkix import crl_pattern, der, names
from vouchd.pkix.crl import CRLHeader
from vouchd.pkix.crl_pattern import EntryPattern
from vouchd.pkix.der import Buffer
from vouchd.pkix.extensions import Extension, read_extensions
from vouchd.pkix.packed import TIME_OCTETS, WIDEST, RecordLayout, pack_time
from vouchd.pkix.reasons import Reason, RevocationEntry

# CRL entry extensions of RFC 5280 section 5.3.

REASON_CODE, INVALIDITY_DATE, CERTIFICATE_ISSUER = (
    der.oid_octets("2.5.29.21"),
    der.oid_octets("2.5.29.24"),
    der.oid_octets("2.5.29.29"),
)
EMPTY_LIST = b"\x30\x00"
_DIRECTORY_NAME = 0xA4
_REASONS: Final = {int(reason): reason for reason in Reason if reason is not Reason.ABSENT}


@dataclass(frozen=True, slots=True)
class EntryExtensions:
    """What the extensions of one entry say; `certificate_issuer` is the DER of a Name."""

    reason: Reason = Reason.ABSENT
    invalidity_date: int | None = None
    certificate_issuer: bytes | None = None


def read_entry_extensions(tlv: bytes) -> EntryExtensions:
    """What crlEntryExtensions with tag and length say.

    Raises: ValueError when they are malformed; CRLRejected for an unknown critical one (RFC 5280 section 5.3).
    """
    reason, invalidity_date, certificate_issuer = Reason.ABSENT, None, None
    if tlv == EMPTY_LIST:
        return EntryExtensions()
    for extension in read_extensions(tlv, der.whole(tlv, der.SEQUENCE)):
        value = extension.value
        if extension.oid == REASON_CODE:
            reason = _reason(value)
        elif extension.oid == INVALIDITY_DATE:
            invalidity_date = _invalidity_date(extension)
        elif extension.oid == CERTIFICATE_ISSUER:
            certificate_issuer = _directory_name(value)
        else:
            _refuse_critical(extension)
    return EntryExtensions(reason, invalidity_date, certificate_issuer)


def _reason(value: bytes) -> Reason:
    return _REASONS.get(der.integer(value, der.whole(value, der.ENUMERATED)), Reason.ABSENT)


def _invalidity_date(extension: Extension) -> int | None:
    """The date; None where it is none, unless the CA says that it must be understood."""
    try:
        return der.time_seconds(extension.value, der.whole(extension.value, der.GENERALIZED_TIME))
    except ValueError:
        if extension.critical:
            raise
        return None


def _directory_name(value: bytes) -> bytes:
    """The Name in GeneralNames, where RFC 5280 section 5.3.3 wants one; other forms beside it are ignored."""
    names = der.whole(value, der.SEQUENCE)
    for name in der.children(value, names):
        if name.tag == _DIRECTORY_NAME:
            inner = der.expect(value, name.start, name.end, der.SEQUENCE)
            if inner.end != name.end:
                raise ValueError("bytes after the directoryName of certificateIssuer")
            return der.element(value, inner)
    raise ValueError("certificateIssuer without a directoryName")


def _refuse_critical(extension: Extension) -> None:
    if extension.critical:
        raise CRLRejected(
            f"an entry of the CRL has a critical extension that is not supported: {der.dotted(extension.oid)}",
            hint="RFC 5280 section 5.3 forbids to use such a CRL; ask the CA to make it non-critical",
        )


# What is odd in the bytes of entries, and what is made of it.
_ODD: Final = {
    "an empty list of entry extensions, taken as none": re.compile(rb"\x17\x0d[0-9]{12}Z\x30\x00"),
    "a reasonCode that RFC 5280 does not know, taken as none": re.compile(
        rb"\x55\x1d\x15(?:\x01\x01[\x00\xff])?\x04\x03\x0a\x01[\x07\x0b-\xff]"
    ),
    "a revocationDate without seconds or of another zone, read all the same": re.compile(
        rb"\x17(?:\x0b[0-9]{10}Z|[\x0f\x11][0-9]{10,12}[+-][0-9]{4})"
    ),
    "an invalidityDate that is no GeneralizedTime, left out": re.compile(rb"\x55\x1d\x18\x04.[^\x18]", re.DOTALL),
}
_OTHER_TIME: Final = re.compile(rb"([0-9]{10})([0-9]{2})?(?:Z|([+-])([01][0-9]|2[0-3])([0-5][0-9]))")
_ODD_IN_COMPLETE: Final = {
    "removeFromCRL in a complete CRL, taken as revoked": re.compile(
        rb"\x55\x1d\x15(?:\x01\x01[\x00\xff])?\x04\x03\x0a\x01\x08"
    )
}
# One of these is in any list with something odd: three looks at a list of millions in place of five.
_PERHAPS_ODD: Final = (
    re.compile(rb"Z\x30\x00(?<=[0-9]{6}Z\x30\x00)"),
    re.compile(rb"\x17[\x0b\x0f\x11][0-9]{10}"),
    re.compile(
        rb"\x55\x1d(?:\x15(?:\x04|\x01\x01[\x00\xff]\x04)\x03\x0a\x01[\x07\x08\x0b-\xff]|\x18\x04.[^\x18])", re.DOTALL
    ),
)


def oddities(crl: Buffer, header: CRLHeader) -> tuple[str, ...]:
    """What is odd in the entries of a CRL that can be read, in words; empty when nothing is."""
    kinds = _ODD if header.is_delta else _ODD | _ODD_IN_COMPLETE
    listed = memoryview(crl)[header.entries.start : header.entries.end]
    if not any(pattern.search(listed) for pattern in _PERHAPS_ODD):
        return ()
    return tuple(words for words, pattern in kinds.items() if pattern.search(listed))


def _revocation_time(crl: Buffer, tlv: der.TLV) -> int:
    """POSIX seconds of the revocationDate. Raises: ValueError."""
    match = _OTHER_TIME.fullmatch(der.content(crl, tlv)) if tlv.tag == der.UTC_TIME else None
    if match is None or (match[2] and not match[3]):
        return der.time_seconds(crl, tlv)
    usual = der.tlv(der.UTC_TIME, match[1], match[2] or b"00", b"Z")
    ahead = (int(match[4]) * 60 + int(match[5])) * 60 if match[3] else 0
    return der.time_seconds(usual, der.whole(usual, der.UTC_TIME)) - (ahead if match[3] == b"+" else -ahead)


_WINDOW_BYTES = 1 << 15
# A list as short as that of a delta is read before a form of its entries would be learned.
SHORT_BYTES = 1 << 13
_TABLE_LIMIT = 1 << 16
_STAND_IN = b"000229235959Z"


def entries(crl: Buffer, header: CRLHeader, certificate_issuer: bytes | None = None) -> Iterator[RevocationEntry]:
    """The entries of `crl`, in its order; for `certificate_issuer` see `packed_entries`.

    Raises: CRLRejected, at the entry that is malformed; what came before has been yielded by then.
    """
    for records in packed_entries(crl, header, WIDEST, certificate_issuer):
        yield from map(WIDEST.unpack, records)


def packed_entries(
    crl: Buffer, header: CRLHeader, layout: RecordLayout, certificate_issuer: bytes | None = None
) -> Iterator[list[bytes]]:
    """Records in `layout` of the entries of `crl`, in its order, in lists of about a thousand.

    Of an indirect CRL only the entries that revoke certificates of `certificate_issuer` (a Name's DER; None: the CRL's
    own issuer) are told, RFC 5280 section 5.3.3. An unknown critical extension refuses the CRL at whatever entry it is.

    Raises: CRLRejected; LayoutTooNarrow, after which one starts again with the layout that it names.
    """
    return _Scanner(crl, header, layout, certificate_issuer or header.issuer_name_der).chunks()


class _NamesIssuer(Exception):
    """Extensions that name a certificate issuer change what the entries after them mean."""


class _Tails(dict[bytes, bytes]):
    """Lists of extensions with tag and length, to what stands for them in a record."""

    def __init__(self, header: CRLHeader, layout: RecordLayout) -> None:
        super().__init__()
        self._header, self._layout = header, layout

    def __missing__(self, tail: bytes) -> bytes:
        dated = crl_pattern.INVALIDITY_DATE.search(tail)
        if dated and dated[1] != _STAND_IN and not crl_pattern.INVALIDITY_DATE.search(tail, dated.end()):
            # Each entry has its own date: the list is read once with another date in its place.
            text, begin, end = dated[1], dated.start(1), dated.end(1)
            packed = self[tail[: begin - 2] + b"20" + _STAND_IN + tail[end:]]
            if packed[-TIME_OCTETS:] == b"\x17\x0d" + _STAND_IN:
                return packed[:-TIME_OCTETS] + b"\x17\x0d" + text
        facts = self.read(tail)
        if facts.certificate_issuer is not None:
            raise _NamesIssuer
        if len(self) >= _TABLE_LIMIT:
            self.clear()
        self[tail] = packed = self.packed(facts)
        return packed

    def read(self, tail: bytes) -> EntryExtensions:
        """What they say. Raises: ValueError, CRLRejected."""
        if not tail:
            return EntryExtensions()
        if self._header.version == 1:
            raise ValueError("entry extensions in a version 1 CRL (RFC 5280 5.1.2.6)")
        facts = read_entry_extensions(tail)
        if facts.certificate_issuer is not None and not self._header.scope.indirect:
            raise ValueError("certificateIssuer in a CRL that is not indirect (RFC 5280 5.3.3)")
        if facts.reason is Reason.REMOVE_FROM_CRL and not self._header.is_delta:
            return replace(facts, reason=Reason.ABSENT)  # RFC 5280 5.3.1: listed in a complete CRL, so revoked
        return facts

    def packed(self, facts: EntryExtensions) -> bytes:
        """What stands for them in a record. Raises: LayoutTooNarrow."""
        return self._layout.tail(facts.reason, facts.invalidity_date)


class _Scanner:
    """One pass over the entries of one CRL, with what was learned so far."""

    def __init__(self, crl: Buffer, header: CRLHeader, layout: RecordLayout, wanted: bytes) -> None:
        self._crl, self._end, self._layout, self._wanted = memoryview(crl), header.entries.end, layout, wanted
        self._start = header.entries.start
        self._taken = not header.scope.indirect or names.same(wanted, header.issuer_name_der)
        self._is_short = self._end - self._start <= SHORT_BYTES
        self._pattern = EntryPattern()
        self._tails = _Tails(header, layout)

    def chunks(self) -> Iterator[list[bytes]]:
        pos = self._start
        while pos < self._end:
            records, pos = self._window(pos)
            yield records

    def _window(self, pos: int) -> tuple[list[bytes], int]:
        """Records of the entries from `pos` on up to one of an unknown form, and where that begins.

        Such an entry itself when it is the first.
        """
        if self._is_short:
            return self._strictly(pos, self._end)
        window = bytes(self._crl[pos : min(pos + _WINDOW_BYTES, self._end)])
        matches = self._pattern.findall(window)
        rest = matches[-1][-1]
        following = pos + len(window) - len(rest)
        if following == pos:
            return self._strictly(pos, pos + 1)
        if rest:
            matches.pop()
        tails, width = self._tails, self._layout.serial_width + TIME_OCTETS
        try:
            records = [entry.rjust(width, b"\0") + tails[tail] for _, _, _, _, entry, tail, _ in matches]
        except (_NamesIssuer, ValueError):
            return self._strictly(pos, following)
        return records if self._taken else [], following

    def _strictly(self, pos: int, limit: int) -> tuple[list[bytes], int]:
        """Records of the entries that begin before `limit`, and where the next one begins."""
        records: list[bytes] = []
        while pos < limit:
            try:
                record, following = self._read(pos)
            except ValueError as error:
                raise CRLRejected(
                    f"the entry at octet {pos} is malformed: {error}", hint="the CRL is damaged"
                ) from error
            if self._taken:
                records.append(record)
            pos = following
        return records, pos

    def _read(self, pos: int) -> tuple[bytes, int]:
        """The record of the entry at `pos`, and where the next one begins. Raises: ValueError."""
        crl = self._crl
        entry = der.expect(crl, pos, self._end, der.SEQUENCE)
        serial = der.expect(crl, entry.start, entry.end, der.INTEGER)
        time = der.read_tlv(crl, serial.end, entry.end)
        packed_time = pack_time(_revocation_time(crl, time))
        facts = self._tails.read(bytes(crl[time.end : entry.end]))
        if facts.certificate_issuer is not None:
            self._taken = names.same(facts.certificate_issuer, self._wanted)
        octets = der.content(crl, serial)
        key = self._layout.key_or_widen(octets)
        is_usual = time.tag == der.UTC_TIME and time.end - time.begin == TIME_OCTETS
        if not self._is_short and entry.start - entry.begin == 2 and is_usual and len(octets) <= len(key):
            self._pattern.learn(entry.end - entry.start, len(octets))
        return key + packed_time + self._tails.packed(facts), entry.end
