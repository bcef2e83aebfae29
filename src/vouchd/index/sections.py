"""The parts of an index file: a header, the records in the order of their keys, the fence keys, the checksums.

See docs/design/index-format.md. Nothing here knows what a record means beyond its key.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from vouchd.errors import IndexFileError
from vouchd.files import replacing
from vouchd.index.octets import HINT

MAGIC: Final = b"VOUCHDIX"
VERSION = 2
HEADER_BYTES = 64
FENCE_EVERY = 256  # one key in memory for that many records; the rest of a search touches two pages of the file
BLOCK_RECORDS = 32  # share one checksum; a search reads one block, and FENCE_EVERY is a multiple of it
NAME_OCTETS = 20

# magic, version, kind, columns, key width, record size, fence step, count, CRCs of tail and records, block step, name
_FIELDS: Final = Struct(f">8sHBBHHIQIIH{NAME_OCTETS}s")
_CRC: Final = Struct(">I")


class Kind(IntEnum):
    """What the records are."""

    REVOCATIONS = 0
    SERIALS = 1
    CHANGES = 2  # what a delta CRL says: revocations, and removals


class Shape(NamedTuple):
    """The kind of the file, its key width and record size in octets, and whether it has invalidity dates."""

    kind: Kind
    key_width: int
    record_size: int
    invalidity: bool = False


class FileHeader(NamedTuple):
    """What the first 64 octets say; `tail_crc` is the CRC-32 of what follows the records, `records_crc` of those.

    `name` binds the file to its name: one that was put in another's place is not taken for it.
    """

    shape: Shape
    record_count: int
    tail_crc: int
    records_crc: int
    name: bytes

    @property
    def fence_count(self) -> int:
        """How many fence keys stand after the records."""
        return -(-self.record_count // FENCE_EVERY)

    @property
    def block_count(self) -> int:
        """How many blocks of records there are, and checksums of them."""
        return -(-self.record_count // BLOCK_RECORDS)

    @property
    def tail_at(self) -> int:
        """Where the records end."""
        return HEADER_BYTES + self.record_count * self.shape.record_size

    @property
    def checksums_at(self) -> int:
        """Where the fence keys end."""
        return self.tail_at + self.fence_count * self.shape.key_width

    @property
    def file_bytes(self) -> int:
        """The size that the file must have."""
        return self.checksums_at + self.block_count * _CRC.size

    def encoded(self) -> bytes:
        """The 64 octets, the last four the CRC-32 of the others."""
        shape = self.shape
        fields = _FIELDS.pack(
            MAGIC,
            VERSION,
            shape.kind,
            shape.invalidity,
            shape.key_width,
            shape.record_size,
            FENCE_EVERY,
            self.record_count,
            self.tail_crc,
            self.records_crc,
            BLOCK_RECORDS,
            self.name,
        ).ljust(HEADER_BYTES - _CRC.size, b"\0")
        return fields + _CRC.pack(zlib.crc32(fields))

    @staticmethod
    def decoded(octets: bytes, path: str) -> FileHeader:
        """The header in the first 64 octets of the file. Raises: IndexFileError."""
        if octets[:8] != MAGIC or len(octets) != HEADER_BYTES:
            raise IndexFileError(f"{path}: not an index file", hint=HINT)
        if _CRC.pack(zlib.crc32(octets[: -_CRC.size])) != octets[-_CRC.size :]:
            raise IndexFileError(f"{path}: the header is damaged", hint=HINT)
        version = int.from_bytes(octets[8:10], "big")
        if version != VERSION:
            raise IndexFileError(f"{path}: of format {version}, this program reads {VERSION}", hint=HINT)
        _, _, kind, columns, width, size, fence, count, tail, records, block, name = _FIELDS.unpack_from(octets)
        if (fence, block) != (FENCE_EVERY, BLOCK_RECORDS):
            raise IndexFileError(f"{path}: of blocks that this program does not know", hint=HINT)
        if kind >= len(Kind) or columns > 1 or not 0 < width <= size:
            raise IndexFileError(f"{path}: of records that this program does not know", hint=HINT)
        if name != name_octets(path.rpartition("/")[2]):
            raise IndexFileError(f"{path}: the file has another's name", hint=HINT)
        return FileHeader(Shape(Kind(kind), width, size, bool(columns)), count, tail, records, name)


def name_octets(name: str) -> bytes:
    """What a header says of the name of its file."""
    return hashlib.sha256(name.encode()).digest()[:NAME_OCTETS]


def checksum(octets: bytes | memoryview) -> bytes:
    """The four octets that stand for a block."""
    return _CRC.pack(zlib.crc32(octets))


CHECKSUM_OCTETS: Final = _CRC.size


def write_sections(path: Path, shape: Shape, blobs: Iterable[bytes]) -> int:
    """Write an index file of records that are sorted and have one key each; returns their number.

    `blobs` are pieces of whole records, of any size. The file is durable and complete under `path` on return; on an
    exception, of `blobs` too, what was there before is there still.

    Raises: StoreUnavailable.
    """
    size, width = shape.record_size, shape.key_width
    fences: list[bytes] = []
    checksums = _Checksums(size * BLOCK_RECORDS)
    count = crc = 0
    with replacing(path) as file:
        file.write(bytes(HEADER_BYTES))
        for blob in blobs:
            first = -count % FENCE_EVERY * size
            fences += [blob[at : at + width] for at in range(first, len(blob), FENCE_EVERY * size)]
            crc = zlib.crc32(blob, crc)
            checksums.add(blob)
            count += len(blob) // size
            file.write(blob)
        tail = b"".join((*fences, *checksums.all()))
        file.write(tail)
        file.seek(0)
        file.write(FileHeader(shape, count, zlib.crc32(tail), crc, name_octets(path.name)).encoded())
    return count


class _Checksums:
    """Those of the blocks of a file that is written piece by piece."""

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._done: list[bytes] = []
        self._rest = b""

    def add(self, blob: bytes) -> None:
        """The next piece."""
        lacking = self._block_bytes - len(self._rest)
        if len(blob) < lacking:
            self._rest += blob
            return
        view, step = memoryview(blob), self._block_bytes
        whole = len(blob) - (len(blob) - lacking) % step
        self._done.append(checksum(self._rest + blob[:lacking]))
        self._done += [checksum(view[at : at + step]) for at in range(lacking, whole, step)]
        self._rest = blob[whole:]

    def all(self) -> list[bytes]:
        """Every one, after the last piece."""
        return [*self._done, checksum(self._rest)] if self._rest else self._done
