"""Index files as they are made: from a CRL, from a base and the changes over it, from entries, from serials."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from struct import Struct

from vouchd.errors import StoreUnavailable
from vouchd.index.halves import Undecided, middle, sorted_halves
from vouchd.index.precedence import record_sorter
from vouchd.index.sections import Kind, Shape, write_sections
from vouchd.index.sorting import Sorter
from vouchd.pkix.crl import CRLHeader
from vouchd.pkix.crl_entries import packed_entries
from vouchd.pkix.der import Buffer
from vouchd.pkix.packed import TIME_OCTETS, WIDEST, WIDTHS, LayoutTooNarrow, RecordLayout, minimal
from vouchd.pkix.reasons import Reason, RevocationEntry

_BATCH = 1 << 14


def write_crl_index(path: Path, crl: Buffer, header: CRLHeader, certificate_issuer: bytes | None = None) -> int:
    """Write the index of a complete CRL, or the changes of a delta CRL; returns how many serials it lists.

    Of an indirect CRL the entries for certificates of `certificate_issuer` (DER of its Name; None: the CRL's issuer)
    are taken. The CRL is scanned again when a wider layout than assumed turns out to be needed, which is mostly known
    after the first entry.

    Raises: CRLRejected at an entry that is malformed; StoreUnavailable.
    """
    layout = RecordLayout()
    kind = Kind.CHANGES if header.is_delta else Kind.REVOCATIONS
    place = middle(crl, header)
    while True:
        try:
            with record_sorter(layout, path.parent) as sorter:
                if place is not None:
                    with sorted_halves(sorter, crl, header, layout, place) as blobs:
                        return write_sections(path, _shape(layout, kind), blobs)
                for records in packed_entries(crl, header, layout, certificate_issuer):
                    sorter.add(records)
                return write_sections(path, _shape(layout, kind), sorter.blobs())
        except LayoutTooNarrow as narrow:
            layout = narrow.needed
        except Undecided:
            place = None
        except OSError as error:
            if place is None:
                raise _unavailable(path, error) from error
            place = None  # two take more room and more descriptors than one
        except StoreUnavailable:  # likewise, of the index file
            if place is None:
                raise
            place = None


def write_overlaid(path: Path, layout: RecordLayout, base: Iterator[bytes], changes: Iterator[bytes]) -> int:
    """Write the index of a base with changes laid over it, both sorted records of that layout; returns its count.

    Raises: StoreUnavailable.
    """
    return write_sections(path, _shape(layout), overlaid(base, changes, layout))


def write_index(path: Path, entries: Iterable[RevocationEntry]) -> int:
    """Write the index of `entries`, in any order; returns how many serials there are.

    Raises: StoreUnavailable; ValueError for a serial of no or more than 64 octets.
    """
    width, dated = 1, False

    def records() -> Iterator[bytes]:
        nonlocal width, dated
        for entry in entries:
            width = max(width, len(minimal(entry.serial)))
            dated = dated or entry.invalidity_date is not None
            yield WIDEST.pack(entry)

    with record_sorter(WIDEST, path.parent) as sorter:
        _feed(sorter, records(), path)
        layout = RecordLayout(_rung(width), dated)
        cut = slice(WIDEST.serial_width - layout.serial_width, WIDEST.serial_width - layout.serial_width + layout.size)
        return write_sections(path, _shape(layout), _cut(sorter.blobs(), WIDEST.size, cut))


def write_serials(path: Path, serials: Iterable[bytes]) -> int:
    """Write the set of `serials` (DER INTEGER content octets), in any order; returns how many there are.

    Raises: StoreUnavailable; ValueError for a serial of no or more than 64 octets.
    """
    size, width = WIDEST.serial_width, 1

    def keys() -> Iterator[bytes]:
        nonlocal width
        for serial in serials:
            width = max(width, len(minimal(serial)))
            yield WIDEST.key_or_widen(serial)

    with Sorter(size, size, lambda group: group[0], path.parent) as sorter:
        _feed(sorter, keys(), path)
        width = _rung(width)
        blobs = _cut(sorter.blobs(), size, slice(size - width, size))
        return write_sections(path, Shape(Kind.SERIALS, width, width), blobs)


def overlaid(base: Iterator[bytes], delta: Iterator[bytes], layout: RecordLayout) -> Iterator[bytes]:
    """The records of the base with those of the delta put in, in their place or as removals (RFC 5280 5.2.4)."""
    size, width = layout.size, layout.serial_width
    changes = chain.from_iterable(chain.from_iterable(map(Struct(f"{size}s").iter_unpack, delta)))
    change = next(changes, None)
    for blob in base:
        last = blob[-size:][:width]
        parts: list[bytes] = []
        done = 0
        while change is not None and change[:width] <= last:
            at = size * _place(blob, change[:width], size)
            parts += (blob[done:at], _kept(change, layout))
            done = at + size if blob[at : at + width] == change[:width] else at
            change = next(changes, None)
        yield b"".join((*parts, blob[done:])) if parts else blob
    while change is not None:
        yield _kept(change, layout)
        change = next(changes, None)


def _place(blob: bytes, key: bytes, size: int) -> int:
    return bisect_left(range(len(blob) // size), key, key=lambda i: blob[i * size : i * size + len(key)])


def _kept(record: bytes, layout: RecordLayout) -> bytes:
    return b"" if record[layout.serial_width + TIME_OCTETS] == Reason.REMOVE_FROM_CRL else record


def _feed(sorter: Sorter, records: Iterator[bytes], path: Path) -> None:
    try:
        while batch := list(islice(records, _BATCH)):
            sorter.add(batch)
    except OSError as error:
        raise _unavailable(path, error) from error


def _cut(blobs: Iterator[bytes], size: int, part: slice) -> Iterator[bytes]:
    """The same part of each record."""
    for blob in blobs:
        yield b"".join([record[part] for record in chain.from_iterable(Struct(f"{size}s").iter_unpack(blob))])


def _rung(octets: int) -> int:
    return next(width for width in WIDTHS if width >= octets)


def _shape(layout: RecordLayout, kind: Kind = Kind.REVOCATIONS) -> Shape:
    return Shape(kind, layout.serial_width, layout.size, layout.invalidity)


def _unavailable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"{path}: {error.strerror or error}", hint="free space or mend permissions")
