"""Index files as they are read: immutable, shared by all workers, and not believed without their checksums.

A search looks in a few hundred KiB of fence keys, then in a block of records, which is copied and compared with its
checksum before anything in it counts: a flipped bit is an error, never another answer. Fence keys and checksums were
read and proved at opening and are all that a worker keeps in its own memory. See docs/design/index-format.md.
"""

from __future__ import annotations

import mmap
import sys
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path
from struct import Struct, iter_unpack

from vouchd.errors import IndexFileError
from vouchd.index.octets import HINT, CopiedOctets, FileIdentity, Octets, PositionedOctets, identity_of
from vouchd.index.sections import (
    BLOCK_RECORDS,
    CHECKSUM_OCTETS,
    FENCE_EVERY,
    HEADER_BYTES,
    FileHeader,
    Kind,
    checksum,
)
from vouchd.pkix.packed import RecordLayout, minimal
from vouchd.pkix.reasons import RevocationEntry

MANY_RECORDS = 1 << 16
_HEAD_BYTES = 1 << 12  # of a file no larger all is read at once when it is opened
# So many keys between two fences are found by reading all that is there, fewer one by one.
_READ_WHOLE = FENCE_EVERY // BLOCK_RECORDS


def ignore(name: str) -> None:
    """Nobody is told of damage."""


@lru_cache(maxsize=1 << 6)
def _layout(key_width: int, invalidity: bool) -> RecordLayout:  # noqa: FBT001  as a header has it
    return RecordLayout(key_width, invalidity)


class KeyedFile:
    """An index file of either kind; opening looks at its header, size, fence keys and checksums.

    `damaged` is called with the file's name when octets turn out not to be those that were written, before
    IndexFileError is raised for them.

    Raises: IndexFileError when it is missing, cut short, damaged there, or of another format, kind or name.
    """

    kind: Kind | None  # None: any
    # There are as many of them as issuing points: what they have in common they share.
    __slots__ = (
        "_checksums",
        "_count",
        "_fences",
        "_folder",
        "_layout",
        "_octets",
        "_records_crc",
        "_report_damage",
        "_size",
        "_width",
        "name",
    )

    def __init__(
        self,
        path: Path | str,
        *,
        octets: Callable[[str], Octets] = PositionedOctets,
        damaged: Callable[[str], None] = ignore,
    ) -> None:
        path = str(path)
        folder, _, self.name = path.rpartition("/")
        self._folder = sys.intern(folder)
        self._report_damage = damaged
        self._octets = octets(path)
        size = self._octets.identity.size
        head = self._read(0, min(size, _HEAD_BYTES))
        header = FileHeader.decoded(head[:HEADER_BYTES], path)
        if size != header.file_bytes:
            raise IndexFileError(f"{path}: {size} bytes where {header.file_bytes} belong", hint=HINT)
        shape = header.shape
        if self.kind is not None and shape.kind is not self.kind:
            raise IndexFileError(f"{path}: an index of {shape.kind.name.lower()}", hint=HINT)
        self._count, self._records_crc = header.record_count, header.records_crc
        self._width, self._size = shape.key_width, shape.record_size
        self._layout = _layout(shape.key_width, shape.invalidity)
        is_whole = size <= _HEAD_BYTES
        tail = head[header.tail_at :] if is_whole else self._read(header.tail_at, header.file_bytes)
        if zlib.crc32(tail) != header.tail_crc:
            raise IndexFileError(f"{path}: the fence keys do not match their checksum", hint=HINT)
        fences = header.checksums_at - header.tail_at
        self._fences = tuple(chain.from_iterable(iter_unpack(f"{self._width}s", tail[:fences])))
        self._checksums = tail[fences:]

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Octets of the file."""
        return self._octets.identity.size

    @property
    def identity(self) -> FileIdentity:
        """Of the file that was opened."""
        return self._octets.identity

    def verify(self) -> None:
        """Read all records against their checksum. Raises: IndexFileError."""
        crc, begin = 0, HEADER_BYTES
        tail_at = HEADER_BYTES + self._count * self._size
        while begin < tail_at:
            end = min(begin + (1 << 20), tail_at)
            window, origin = self._window(begin, end)
            crc = zlib.crc32(window[origin : origin + end - begin], crc)
            begin = end
        if crc != self._records_crc:
            raise self._damage("the records do not match their checksum")

    def keys(self, first: int, last: int, width: int) -> list[bytes]:
        """The keys of records `first` to `last` (not included), widened to `width` octets."""
        blob = self._records(first, last)
        keys = [blob[at : at + self._width] for at in range(0, len(blob), self._size)]
        if width == self._width:
            return keys
        return [key.rjust(width, b"\xff" if key[:1] >= b"\x80" else b"\x00") for key in keys]

    @property
    def key_width(self) -> int:
        """Octets of a key."""
        return self._width

    @property
    def layout(self) -> RecordLayout:
        """How its records are made."""
        return self._layout

    def blobs(self) -> Iterator[bytes]:
        """All records in their order, in pieces of whole records. Raises: IndexFileError."""
        for first in range(0, len(self), MANY_RECORDS):
            yield self._records(first, min(first + MANY_RECORDS, len(self)))

    def places(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Which of these keys, of this file's width and in its order, are there, and at which positions.

        Raises: IndexFileError.
        """
        places: dict[bytes, int] = {}
        for group, near in groupby(keys, key=lambda key: bisect_right(self._fences, key) - 1):
            together, first = list(near), group * FENCE_EVERY
            if group < 0:
                continue
            if len(together) < _READ_WHOLE:  # as those of a delta mostly are
                located = ((key, self._locate(key, group)) for key in together)
                places.update((key, place[0]) for key, place in located if place is not None)
                continue
            of_group = self.keys(first, min(first + FENCE_EVERY, len(self)), self._width)
            at = dict(zip(of_group, range(first, first + len(of_group)), strict=True))
            places.update((key, at[key]) for key in together if key in at)
        return places

    def _find(self, serial: bytes) -> bytes | None:
        """The record whose key is that of `serial`."""
        key = self._layout.key(serial)
        group = bisect_right(self._fences, key) - 1 if key is not None and serial else -1
        if key is None or group < 0:
            return None
        located = self._locate(key, group)
        return None if located is None else located[1]

    def _locate(self, key: bytes, group: int) -> tuple[int, bytes] | None:
        """The position of the record with that key, which can only be between two fences, and the record.

        The keys that lead to a block are looked at where they stand. They cannot mislead: the key must lie between the
        first key of the block and the next one, both of which are in octets that were compared with their checksum.
        """
        size, width = self._size, self._width
        first, last = group * FENCE_EVERY, min((group + 1) * FENCE_EVERY, self._count)
        window, origin = self._window(HEADER_BYTES + first * size, HEADER_BYTES + last * size)
        blocks, step = -(-(last - first) // BLOCK_RECORDS), BLOCK_RECORDS * size
        low, high = 0, blocks
        while high - low > 1:
            middle = (low + high) // 2
            at = origin + middle * step
            if window[at : at + width] <= key:
                low = middle
            else:
                high = middle
        block = self._proved(window, origin, first, last, low)
        at = block.find(key)
        while at % size and at > 0:  # these octets stand across records
            at = block.find(key, at + 1)
        if at >= 0:
            return first + low * BLOCK_RECORDS + at // size, block[at : at + size]
        follows = block[-size:][:width] > key or low + 1 == blocks
        if block[:width] > key or not (follows or self._proved(window, origin, first, last, low + 1)[:width] > key):
            raise self._damage(f"the keys around record {first + low * BLOCK_RECORDS} are not in order")
        return None

    def _proved(self, window: bytes | mmap.mmap, origin: int, first: int, last: int, block: int) -> bytes:
        """A copy of one block, counted from record `first`, which stands at `origin`. Raises: IndexFileError."""
        begin = block * BLOCK_RECORDS
        end = min(begin + BLOCK_RECORDS, last - first)
        octets = window[origin + begin * self._size : origin + end * self._size]
        at = (first + begin) // BLOCK_RECORDS * CHECKSUM_OCTETS
        if checksum(octets) != self._checksums[at : at + CHECKSUM_OCTETS]:
            raise self._damage(f"records {first + begin} to {first + end} do not match their checksum")
        return octets

    def _records(self, first: int, last: int) -> bytes:
        """The records from `first` to `last` (not included), compared with the checksums. Raises: IndexFileError."""
        if first >= last:
            return b""
        start = first - first % BLOCK_RECORDS
        stop = min(last + -last % BLOCK_RECORDS, self._count)
        window, origin = self._window(HEADER_BYTES + start * self._size, HEADER_BYTES + stop * self._size)
        blocks = -(-(stop - start) // BLOCK_RECORDS)
        blob = b"".join([self._proved(window, origin, start, stop, block) for block in range(blocks)])
        return blob[(first - start) * self._size : (last - start) * self._size]

    def _window(self, begin: int, end: int) -> tuple[bytes | mmap.mmap, int]:
        try:
            return self._octets.window(begin, end)
        except IndexFileError:
            self._report_damage(self.name)
            raise

    def _read(self, begin: int, end: int) -> bytes:
        window, origin = self._octets.window(begin, end)
        return window[origin : origin + end - begin]

    def _damage(self, words: str) -> IndexFileError:
        self._report_damage(self.name)
        return IndexFileError(f"{self._folder}/{self.name}: {words}", hint=HINT)


class RevocationIndexFile(KeyedFile):
    """The entries of one epoch (port RevocationIndex)."""

    kind = Kind.REVOCATIONS
    __slots__ = ()

    def find(self, serial: bytes) -> RevocationEntry | None:
        """The entry of `serial` (DER INTEGER content octets), None when it is not revoked."""
        record = self._find(serial)
        return None if record is None else self._layout.unpack(record)

    def at(self, position: int) -> RevocationEntry:
        """The entry at that position, from 0, in the order of the file."""
        return self._layout.unpack(self._records(position, position + 1))

    def __iter__(self) -> Iterator[RevocationEntry]:
        split = Struct(f"{self._size}s").iter_unpack
        for blob in self.blobs():
            for (record,) in split(blob):
                yield self._layout.unpack(record)


class ChangesFile(RevocationIndexFile):
    """What a delta CRL says: an entry of reason removeFromCRL takes the serial off the base."""

    kind = Kind.CHANGES
    __slots__ = ()


class SerialSetFile(KeyedFile):
    """The serials that a CA has issued (port SerialSet)."""

    kind = Kind.SERIALS
    __slots__ = ()

    def __contains__(self, serial: bytes) -> bool:
        return self._find(serial) is not None

    def at(self, position: int) -> bytes:
        """The serial at that position, from 0, in the order of the file."""
        return minimal(self.keys(position, position + 1, self.key_width)[0])


class _AnyFile(KeyedFile):
    """A file of whatever kind."""

    kind = None
    __slots__ = ()


_COPIED_BYTES = 1 << 16  # a file that is no larger is read at once


def intact(path: Path | str) -> FileIdentity | None:
    """The identity of an index file of any kind of which all matches its checksums; None: it is none, or damaged."""
    try:
        is_small = identity_of(path).size <= _COPIED_BYTES
        file = _AnyFile(path, octets=CopiedOctets if is_small else PositionedOctets)
        file.verify()
    except IndexFileError:
        return None
    return file.identity
