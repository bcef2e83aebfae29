"""Index files as they are read: immutable, memory-mapped, shared by all workers.

A search looks in a few hundred KiB of fence keys and then in a block of the map; that block of fence keys is all that a
worker keeps in its own memory. The layout is in docs/design/index-format.md.
"""

from __future__ import annotations

import mmap
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from struct import Struct

from vouchd.errors import IndexFileError
from vouchd.index.sections import FENCE_EVERY, HEADER_BYTES, HINT, FileHeader, Kind
from vouchd.index.writing import write_crl_index, write_index, write_serials
from vouchd.pkix.packed import RecordLayout, minimal
from vouchd.pkix.reasons import RevocationEntry

__all__ = [
    "RevocationIndexFile",
    "SerialSetFile",
    "difference",
    "is_intact",
    "missing",
    "write_crl_index",
    "write_index",
    "write_serials",
]

_BLOCK_RECORDS = 1 << 16


class KeyedFile:
    """A mapped index file of either kind; opening looks at its header, size and fence keys only.

    Raises: IndexFileError when it is missing, cut short, damaged there, or of another format or kind.
    """

    kind: Kind

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            with self._path.open("rb") as file:
                self._header = FileHeader.decoded(file.read(HEADER_BYTES), self._path)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise IndexFileError(f"{path}: {error.strerror}", hint=HINT) from error
        if len(self._map) != self._header.file_bytes:
            raise IndexFileError(f"{path}: {len(self._map)} bytes where {self._header.file_bytes} belong", hint=HINT)
        shape = self._header.shape
        if shape.kind is not self.kind:
            raise IndexFileError(f"{path}: an index of {shape.kind.name.lower()}", hint=HINT)
        self._width, self._size = shape.key_width, shape.record_size
        self._layout = RecordLayout(shape.key_width, shape.invalidity)
        self._fences = self._read_fences()

    def __len__(self) -> int:
        return self._header.count

    def verify(self) -> None:
        """Read the whole file against its checksum. Raises: IndexFileError."""
        crc, begin = 0, HEADER_BYTES
        while begin < len(self._map):
            crc = zlib.crc32(self._map[begin : begin + (1 << 20)], crc)
            begin += 1 << 20
        if crc != self._header.crc:
            raise IndexFileError(f"{self._path}: the records do not match their checksum", hint=HINT)

    def keys(self, first: int, last: int, width: int) -> list[bytes]:
        """The keys of records `first` to `last` (not included), widened to `width` octets."""
        blob = self._map[HEADER_BYTES + first * self._size : HEADER_BYTES + last * self._size]
        keys = [blob[at : at + self._width] for at in range(0, len(blob), self._size)]
        if width == self._width:
            return keys
        return [key.rjust(width, b"\xff" if key[:1] >= b"\x80" else b"\x00") for key in keys]

    @property
    def key_width(self) -> int:
        """Octets of a key."""
        return self._width

    def _read_fences(self) -> list[bytes]:
        width, begin = self._width, HEADER_BYTES + len(self) * self._size
        return list(chain.from_iterable(Struct(f"{width}s").iter_unpack(self._map[begin:])))

    def _find(self, serial: bytes) -> bytes | None:
        """The record whose key is that of `serial`."""
        key = self._layout.key(serial)
        if key is None or not serial:
            return None
        data, size, width = self._map, self._size, self._width
        block = bisect_right(self._fences, key) - 1
        low, high = block * FENCE_EVERY, min((block + 1) * FENCE_EVERY, self._header.count)
        while block >= 0 and low < high:
            middle = (low + high) // 2
            at = HEADER_BYTES + middle * size
            found = data[at : at + width]
            if found == key:
                return data[at : at + size]
            if found < key:
                low = middle + 1
            else:
                high = middle
        return None


class RevocationIndexFile(KeyedFile):
    """The entries of one epoch (port RevocationIndex)."""

    kind = Kind.REVOCATIONS

    def find(self, serial: bytes) -> RevocationEntry | None:
        """The entry of `serial` (DER INTEGER content octets), None when it is not revoked."""
        record = self._find(serial)
        return None if record is None else self._layout.unpack(record)

    def at(self, position: int) -> RevocationEntry:
        """The entry at that position, from 0, in the order of the file."""
        begin = HEADER_BYTES + position * self._size
        return self._layout.unpack(self._map[begin : begin + self._size])

    def __iter__(self) -> Iterator[RevocationEntry]:
        return map(self.at, range(len(self)))


class SerialSetFile(KeyedFile):
    """The serials that a CA has issued (port SerialSet)."""

    kind = Kind.SERIALS

    def __contains__(self, serial: bytes) -> bool:
        return self._find(serial) is not None

    def at(self, position: int) -> bytes:
        """The serial at that position, from 0, in the order of the file."""
        return minimal(self.keys(position, position + 1, self.key_width)[0])


def is_intact(path: Path) -> bool:
    """Whether there is an index file of either kind and all of it matches its checksum."""
    try:
        with path.open("rb") as file:
            kind = FileHeader.decoded(file.read(HEADER_BYTES), path).shape.kind
        (RevocationIndexFile if kind is Kind.REVOCATIONS else SerialSetFile)(path).verify()
    except (OSError, IndexFileError):
        return False
    return True


def difference(old: KeyedFile, new: KeyedFile) -> tuple[int, int, int]:
    """How many serials of `old` are not in `new`, how many of `new` not in `old`, and how many `old` has."""
    width = max(old.key_width, new.key_width)
    common = place = 0
    for first in range(0, len(old), _BLOCK_RECORDS):
        last = min(first + _BLOCK_RECORDS, len(old))
        held = set(old.keys(first, last, width))
        end = len(new) if last == len(old) else _place(new, old.keys(last, last + 1, width)[0], width)
        while place < end:
            stop = min(place + _BLOCK_RECORDS, end)
            common += len(held.intersection(new.keys(place, stop, width)))
            place = stop
    return len(old) - common, len(new) - common, len(old)


def missing(old: KeyedFile, new: KeyedFile, limit: int) -> tuple[bytes, ...]:
    """At most `limit` serials (DER INTEGER content octets) of `old` that are not in `new`, in the order of the file."""
    width = max(old.key_width, new.key_width)
    found: list[bytes] = []
    place = 0
    for first in range(0, len(old), _BLOCK_RECORDS):
        last = min(first + _BLOCK_RECORDS, len(old))
        held = set(old.keys(first, last, width))
        end = len(new) if last == len(old) else _place(new, old.keys(last, last + 1, width)[0], width)
        while place < end:
            stop = min(place + _BLOCK_RECORDS, end)
            held.difference_update(new.keys(place, stop, width))
            place = stop
        found += sorted(held)[: limit - len(found)]
        if len(found) >= limit:
            break
    return tuple(_serial(key) for key in found)


def _serial(key: bytes) -> bytes:
    """The shortest octets of the number that a key is."""
    number = int.from_bytes(key, "big", signed=True)
    return number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True)


def _place(file: KeyedFile, key: bytes, width: int) -> int:
    """The number of the first record of `file` whose key is not below `key`."""
    return bisect_left(range(len(file)), key, key=lambda i: file.keys(i, i + 1, width)[0])
