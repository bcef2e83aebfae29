"""The entries of a CRL, scanned once from the first to the last without ever making a list of them all.

Entries of a usual form are found by a regular expression and their extensions in a table of those that were read
before; whatever is new goes through the strict reader, and is usual from then on. That is what makes ten million
entries in Python affordable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    for extension in read_extensions(tlv, der.whole(tlv, der.SEQUENCE)):
        value = extension.value
        if extension.oid == REASON_CODE:
            reason = _reason(value)
        elif extension.oid == INVALIDITY_DATE:
            invalidity_date = der.time_seconds(value, der.whole(value, der.GENERALIZED_TIME))
        elif extension.oid == CERTIFICATE_ISSUER:
            certificate_issuer = _directory_name(value)
        else:
            _refuse_critical(extension)
    return EntryExtensions(reason, invalidity_date, certificate_issuer)


def _reason(value: bytes) -> Reason:
    number = der.integer(value, der.whole(value, der.ENUMERATED))
    if number not in _REASONS:
        raise ValueError(f"reasonCode {number}, which RFC 5280 section 5.3.1 does not know")
    return _REASONS[number]


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


_WINDOW_BYTES = 1 << 15
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
            raise ValueError("removeFromCRL in a CRL that is not a delta CRL (RFC 5280 5.3.1)")
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
        window = bytes(self._crl[pos : min(pos + _WINDOW_BYTES, self._end)])
        found = self._pattern.findall(window)
        rest = found[-1][-1]
        following = pos + len(window) - len(rest)
        if following == pos:
            return self._strictly(pos, pos + 1)
        if rest:
            found.pop()
        tails, width = self._tails, self._layout.serial_width + TIME_OCTETS
        try:
            records = [entry.rjust(width, b"\0") + tails[tail] for _, _, _, _, entry, tail, _ in found]
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
        packed_time = pack_time(der.time_seconds(crl, time))
        facts = self._tails.read(bytes(crl[time.end : entry.end]))
        if facts.certificate_issuer is not None:
            self._taken = names.same(facts.certificate_issuer, self._wanted)
        octets = der.content(crl, serial)
        key = self._layout.key_or_widen(octets)
        if entry.start - entry.begin == 2 and time.tag == der.UTC_TIME and len(octets) <= len(key):
            self._pattern.learn(entry.end - entry.start, len(octets))
        return key + packed_time + self._tails.packed(facts), entry.end
