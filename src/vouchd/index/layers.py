"""The index of an epoch in two layers: a base, and the few changes of a delta CRL over it.

A delta CRL says what has changed since its base, all of it each time. So the base's file stays as it is from one delta
to the next, and a delta costs a file as small as itself. How the two are one:

- A look-up asks the changes first. What they list counts, an entry of reason removeFromCRL means not listed (RFC 5280
  section 5.2.4), and what they do not mention is as the base has it. So one search becomes two, of 3 µs each.
- Nothing is believed without its checksum here either: both files prove each block that is read.
- Whatever needs both at once (how many entries there are, what differs between two epochs) looks up the changes in the
  base and no more; the base itself is read through only where two different bases are compared.
- `fold` writes both as one file, with the bytes that it has on every member. It is read in place of the two where it
  is there, so that a delta that stays costs no second search. It is done in the background, by `service.indexing`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from struct import Struct
from typing import TypeVar

from vouchd.core.facts import IndexNames
from vouchd.index.format import MANY_RECORDS, ChangesFile, KeyedFile, RevocationIndexFile
from vouchd.index.writing import write_overlaid
from vouchd.pkix.packed import RecordLayout, minimal
from vouchd.pkix.reasons import Reason, RevocationEntry

File = TypeVar("File", bound=KeyedFile)


class LayeredIndex:
    """The entries of one epoch in two files (port RevocationIndex); equal to another one over the same open files."""

    def __init__(self, base: RevocationIndexFile, changes: ChangesFile) -> None:
        self.base, self.changes = base, changes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LayeredIndex) and (self.base, self.changes) == (other.base, other.changes)

    def __hash__(self) -> int:
        return hash((self.base, self.changes))

    def find(self, serial: bytes) -> RevocationEntry | None:
        """See RevocationIndex."""
        change = self.changes.find(serial)
        if change is None:
            return self.base.find(serial)
        return None if change.reason is Reason.REMOVE_FROM_CRL else change

    def __len__(self) -> int:
        return len(self.base) - len(self._covered) + len(self._added)

    @property
    def size_bytes(self) -> int:
        """Octets of both files."""
        return self.base.size_bytes + self.changes.size_bytes

    def at(self, position: int) -> RevocationEntry:
        """See RevocationIndex: what stays of the base comes first."""
        covered = self._covered
        left = len(self.base) - len(covered)
        if position >= left:
            return self.changes.at(self._added[position - left])
        # As many of the covered ones are passed over as have no more than `position` others before them.
        passed = bisect_right(range(len(covered)), position, key=lambda i: covered[i] - i)
        return self.base.at(position + passed)

    def __iter__(self) -> Iterator[RevocationEntry]:
        return map(self.at, range(len(self)))

    @cached_property
    def _covered(self) -> list[int]:
        """The positions in the base that the changes speak of, in order."""
        return sorted(_places(self.base, (entry.serial for entry in self.changes)).values())

    @cached_property
    def _added(self) -> list[int]:
        """The positions in the changes that are no removals, in order."""
        return [place for place, entry in enumerate(self.changes) if entry.reason is not Reason.REMOVE_FROM_CRL]


Index = RevocationIndexFile | LayeredIndex


def open_index(
    folder: Path, names: IndexNames, open_file: Callable[[type[RevocationIndexFile], str], RevocationIndexFile]
) -> Index:
    """The index of these names: the one file where it is there, else base and changes. Raises: IndexFileError."""
    if not names.changes or (folder / names.whole).exists():
        return open_file(RevocationIndexFile, names.whole)
    return open_layers(names, open_file)


def open_layers(names: IndexNames, open_file: Callable[[type[RevocationIndexFile], str], RevocationIndexFile]) -> Index:
    """The same without looking for one file. Raises: IndexFileError."""
    base = open_file(RevocationIndexFile, names.base)
    if not names.changes:
        return base
    changes = open_file(ChangesFile, names.changes)
    if not isinstance(changes, ChangesFile):  # pragma: no cover  what was asked for is opened
        raise TypeError("not changes")
    return LayeredIndex(base, changes)


def fold(path: Path, index: LayeredIndex) -> int:
    """Write both layers as one file; returns its entry count. Raises: IndexFileError, StoreUnavailable."""
    base, changes = index.base, index.changes
    layout = RecordLayout(
        max(base.key_width, changes.key_width), invalidity=base.layout.invalidity or changes.layout.invalidity
    )
    return write_overlaid(path, layout, records_of(base, layout), records_of(changes, layout))


def records_of(file: RevocationIndexFile, layout: RecordLayout) -> Iterator[bytes]:
    """All records of a file in their order, as that layout has them, in pieces of whole records."""
    if file.layout == layout:
        return file.blobs()
    split, unpack = Struct(f"{file.layout.size}s").iter_unpack, file.layout.unpack
    return (b"".join([layout.pack(unpack(record)) for (record,) in split(blob)]) for blob in file.blobs())


# What differs between two.


def difference(old: Index, new: Index) -> tuple[int, int, int]:
    """How many serials of `old` are not in `new`, how many of `new` not in `old`, and how many `old` has."""
    width = max(_base(old).key_width, _base(new).key_width)
    before, after = _changes(old), _changes(new)
    touched = sorted(before.keys() | after.keys(), key=_order)
    in_old, in_new = _places(_base(old), touched), _places(_base(new), touched)
    common = len(_base(old)) if _same(old, new) else _common(_base(old), _base(new), width)
    common -= len(in_old.keys() & in_new.keys())  # these are judged one by one
    common += sum(before.get(one, one in in_old) and after.get(one, one in in_new) for one in touched)
    return len(old) - common, len(new) - common, len(old)


def missing(old: Index, new: Index, limit: int) -> tuple[bytes, ...]:
    """At most `limit` serials (DER INTEGER content octets) of `old` that are not in `new`, lowest first."""
    before, after = _changes(old), _changes(new)
    touched = sorted(before.keys() | after.keys(), key=_order)
    in_old, in_new = _places(_base(old), touched), _places(_base(new), touched)
    gone = [one for one in touched if before.get(one, one in in_old) and not after.get(one, one in in_new)]
    if not _same(old, new):
        of_bases = _missing(_base(old), _base(new), limit + len(touched))
        gone = sorted([*gone, *(one for one in of_bases if one not in before and one not in after)], key=_order)
    return tuple(gone[:limit])


def _base(index: Index) -> RevocationIndexFile:
    return index.base if isinstance(index, LayeredIndex) else index


def _same(old: Index, new: Index) -> bool:
    return _base(old).identity == _base(new).identity


def _changes(index: Index) -> dict[bytes, bool]:
    """By serial whether it is revoked, of those that the changes speak of."""
    if not isinstance(index, LayeredIndex):
        return {}
    return {entry.serial: entry.reason is not Reason.REMOVE_FROM_CRL for entry in index.changes}


def _order(serial: bytes) -> bytes:
    """Sort key that has serials in the order of index files, whatever the width of their keys."""
    return serial.rjust(64, b"\xff" if serial[:1] >= b"\x80" else b"\x00")


def _places(file: KeyedFile, serials: Iterator[bytes] | list[bytes]) -> dict[bytes, int]:
    """Which of these minimal serials, in their order, the file has, and at which positions."""
    keys = {key: serial for serial in serials if (key := file.layout.key(serial)) is not None}
    return {keys[key]: place for key, place in file.places(keys).items()}


def _common(old: KeyedFile, new: KeyedFile, width: int) -> int:
    """How many serials are in both."""
    common = place = 0
    for first in range(0, len(old), MANY_RECORDS):
        last = min(first + MANY_RECORDS, len(old))
        before = set(old.keys(first, last, width))
        end = len(new) if last == len(old) else _place(new, old.keys(last, last + 1, width)[0], width)
        while place < end:
            stop = min(place + MANY_RECORDS, end)
            common += len(before.intersection(new.keys(place, stop, width)))
            place = stop
    return common


def _missing(old: KeyedFile, new: KeyedFile, limit: int) -> list[bytes]:
    width = max(old.key_width, new.key_width)
    lacking: list[bytes] = []
    place = 0
    for first in range(0, len(old), MANY_RECORDS):
        last = min(first + MANY_RECORDS, len(old))
        before = set(old.keys(first, last, width))
        end = len(new) if last == len(old) else _place(new, old.keys(last, last + 1, width)[0], width)
        while place < end:
            stop = min(place + MANY_RECORDS, end)
            before.difference_update(new.keys(place, stop, width))
            place = stop
        lacking += sorted(before)[: limit - len(lacking)]
        if len(lacking) >= limit:
            break
    return [minimal(key) for key in lacking]


def _place(file: KeyedFile, key: bytes, width: int) -> int:
    """The number of the first record of `file` whose key is not below `key`."""
    return bisect_left(range(len(file)), key, key=lambda i: file.keys(i, i + 1, width)[0])
