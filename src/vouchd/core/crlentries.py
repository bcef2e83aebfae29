"""The entries of a CRL, scanned once from the first to the last without ever making a list of them all.

Nearly all entries of a CRL look alike: a short SEQUENCE of a serial, a UTCTime and one of a few extension lists. Each
piece is looked up by its raw bytes in tables of pieces that were read strictly once; whatever is not in the tables goes
through the strict reader, which puts it there. That is what makes ten million entries in Python affordable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from vouchd.core import der
from vouchd.core.entryextensions import EntryExtensions, read_entry_extensions
from vouchd.core.facts import Reason, RevocationEntry
from vouchd.core.packed import WIDEST, RecordLayout, pack_day
from vouchd.core.ports import Buffer
from vouchd.errors import CRLRejected

if TYPE_CHECKING:
    from vouchd.core.crl import CRLHeader

K = TypeVar("K")
V = TypeVar("V")

_WINDOW_BYTES = 1 << 20
_SHORT_ENTRY_BYTES = 2 + 0x7F
_TABLE_LIMIT = 1 << 16
_UTC_DAY_OCTETS = 8  # tag, length, YYMMDD


def entries(crl: Buffer, header: CRLHeader, certificate_issuer: bytes | None = None) -> Iterator[RevocationEntry]:
    """The entries of `crl`, in its order; for `certificate_issuer` see `packed_entries`.

    Raises: CRLRejected, at the entry that is malformed; what came before has been yielded by then.
    """
    for records in packed_entries(crl, header, WIDEST, certificate_issuer):
        yield from map(WIDEST.unpack, records)


def packed_entries(
    crl: Buffer, header: CRLHeader, layout: RecordLayout, certificate_issuer: bytes | None = None
) -> Iterator[list[bytes]]:
    """Records in `layout` of the entries of `crl`, in its order, in lists of some ten thousand.

    Of an indirect CRL only the entries that revoke certificates of `certificate_issuer` (a Name's DER; None: the CRL's
    own issuer) are told, RFC 5280 section 5.3.3. An unknown critical extension refuses the CRL at whatever entry it is.

    Raises: CRLRejected; LayoutTooNarrow, after which one starts again with the layout that it names.
    """
    return _Scanner(crl, header, layout, certificate_issuer or header.issuer_name_der).chunks()


def _discard(_record: bytes) -> None:
    """Takes the records of entries that revoke certificates of somebody else."""


class _Scanner:
    """One pass over the entries of one CRL, with the tables of what was met so far."""

    def __init__(self, crl: Buffer, header: CRLHeader, layout: RecordLayout, wanted: bytes) -> None:
        self._crl, self._header, self._layout, self._wanted = memoryview(crl), header, layout, wanted
        self._taken = wanted == header.issuer_name_der or not header.scope.indirect
        self._shapes: dict[
            bytes, tuple[int, int, bytes]
        ] = {}  # first 5 octets -> lengths of entry and of serial, padding
        self._days: dict[bytes, bytes] = {}  # tag, length and date of a time -> packed
        self._seconds: dict[bytes, bytes] = {}  # rest of a time -> packed
        self._tails: dict[bytes, bytes] = {b"": layout.tail(RevocationEntry(b"", 0))}  # extension list -> packed

    def chunks(self) -> Iterator[list[bytes]]:
        pos, end = self._header.entries
        while pos < end:
            limit = min(pos + _WINDOW_BYTES, end)
            safe = limit - pos if limit == end else limit - pos - _SHORT_ENTRY_BYTES
            records, pos = self._window(bytes(self._crl[pos:limit]), pos, safe)
            yield records
        if pos != end:
            raise CRLRejected("the last entry is longer than revokedCertificates", hint="the CRL is damaged")

    def _window(self, window: bytes, base: int, safe: int) -> tuple[list[bytes], int]:
        """The records of the entries that begin in the first `safe` octets, and where the next entry begins."""
        shapes, days, seconds, tails = self._shapes, self._days, self._seconds, self._tails
        records: list[bytes] = []
        emit: Callable[[bytes], None] = records.append if self._taken else _discard
        pos = 0
        while pos < safe:
            try:
                while pos < safe:
                    length, time, pad = shapes[window[pos : pos + 5]]
                    time += pos
                    following = pos + length
                    emit(
                        pad
                        + window[pos + 4 : time]
                        + days[window[time : time + 8]]
                        + seconds[window[time + 8 : time + 15]]
                        + tails[window[time + 15 : following]]
                    )
                    pos = following
            except KeyError:
                record, absolute = self._read(base + pos)
                pos = absolute - base
                emit = records.append if self._taken else _discard
                emit(record)
        return records, base + pos

    def _read(self, pos: int) -> tuple[bytes, int]:
        """The record of the entry at `pos`, read strictly, and where the next entry begins."""
        try:
            return self._read_strictly(pos)
        except ValueError as error:
            raise CRLRejected(f"the entry at octet {pos} is malformed: {error}", hint="the CRL is damaged") from error

    def _read_strictly(self, pos: int) -> tuple[bytes, int]:
        crl = self._crl
        entry = der.expect(crl, pos, self._header.entries.end, der.SEQUENCE)
        serial = der.expect(crl, entry.start, entry.end, der.INTEGER)
        time = der.read_tlv(crl, serial.end, entry.end)
        tail = bytes(crl[time.end : entry.end])
        packed_tail = self._tail(tail)
        packed_time = self._time(der.element(crl, time))
        octets = der.content(crl, serial)
        key = self._layout.key_or_widen(octets)
        self._remember_shape(entry, serial, time, key[: max(0, len(key) - len(octets))])
        return key + packed_time + packed_tail, entry.end

    def _remember_shape(self, entry: der.TLV, serial: der.TLV, time: der.TLV, pad: bytes) -> None:
        """Note the lengths of an entry that has a short form throughout and a UTCTime."""
        short = entry.start == entry.begin + 2 and serial.start == serial.begin + 2
        fits = time.tag == der.UTC_TIME and serial.end - serial.start <= self._layout.serial_width
        if short and fits and serial.end > serial.start:
            first = bytes(self._crl[entry.begin : entry.begin + 5])
            _bounded(self._shapes)[first] = (entry.end - entry.begin, serial.end - entry.begin, pad)

    def _time(self, time: bytes) -> bytes:
        """Six octets of a UTCTime or GeneralizedTime with tag and length. Raises: ValueError."""
        split = _UTC_DAY_OCTETS if time[0] == der.UTC_TIME else _UTC_DAY_OCTETS + 2
        day, second = time[:split], time[split:]
        if day not in self._days:
            midnight = day + b"000000Z"
            seconds = der.time_seconds(midnight, der.TLV(time[0], 0, 2, len(midnight)))
            _bounded(self._days)[day] = pack_day(seconds // 86400)
        if second not in self._seconds:
            self._seconds[second] = _second_of_day(second).to_bytes(3, "big")
        return self._days[day] + self._seconds[second]

    def _tail(self, tail: bytes) -> bytes:
        """Reason, flags and invalidity date of a list of extensions with tag and length, empty when there is none.

        A list that names a certificate issuer is not remembered: it changes what the entries after it mean.
        """
        known = self._tails.get(tail)
        if known is not None:
            return known
        if self._header.version == 1:
            raise ValueError("entry extensions in a version 1 CRL (RFC 5280 5.1.2.6)")
        facts = read_entry_extensions(tail) if tail else EntryExtensions()
        self._check(facts)
        packed = self._layout.tail(RevocationEntry(b"", 0, facts.reason, facts.invalidity_date))
        if facts.certificate_issuer is None:
            _bounded(self._tails)[tail] = packed
        else:
            self._taken = facts.certificate_issuer == self._wanted
        return packed

    def _check(self, facts: EntryExtensions) -> None:
        if facts.certificate_issuer is not None and not self._header.scope.indirect:
            raise ValueError("certificateIssuer in a CRL that is not indirect (RFC 5280 5.3.3)")
        if facts.reason is Reason.REMOVE_FROM_CRL and not self._header.is_delta:
            raise ValueError("removeFromCRL in a CRL that is not a delta CRL (RFC 5280 5.3.1)")


def _second_of_day(text: bytes) -> int:
    """The second of the day of HHMMSSZ. Raises: ValueError."""
    if len(text) != len("HHMMSSZ") or not text[:6].isdigit() or text[6:] != b"Z":
        raise ValueError("time that is not in whole seconds of UTC")
    hour, minute, second = int(text[:2]), int(text[2:4]), int(text[4:6])
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"time of day {text[:6].decode()} that does not exist")
    return hour * 3600 + minute * 60 + second


def _bounded(table: dict[K, V]) -> dict[K, V]:
    """The table, emptied when a CRL of nothing but oddities has filled it."""
    if len(table) >= _TABLE_LIMIT:
        table.clear()
    return table
