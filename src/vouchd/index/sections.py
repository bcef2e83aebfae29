"""The parts of an index file: a header, the records in the order of their keys, and the fence keys.

See docs/design/index-format.md. Nothing here knows what a record means beyond its key.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import Final

from vouchd.errors import IndexFileError
from vouchd.files import replacing

MAGIC: Final = b"VOUCHDIX"
VERSION = 1
HEADER_BYTES = 64
FENCE_EVERY = 256  # one key in memory for that many records; the rest of a search touches two pages of the file
HINT = "remove the file; it is built again from the store"

_FIELDS: Final = Struct(">8sHBBHHIQI")  # magic, version, kind, columns, key width, record size, fence step, count, CRC
_CRC: Final = Struct(">I")


class Kind(IntEnum):
    """What the records are."""

    REVOCATIONS = 0
    SERIALS = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """The kind of the file, its key width and record size in octets, and whether it has invalidity dates."""

    kind: Kind
    key_width: int
    record_size: int
    invalidity: bool = False


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What the first 64 octets say; `crc` is the CRC-32 of all that follows them."""

    shape: Shape
    count: int
    crc: int

    @property
    def fence_count(self) -> int:
        """How many fence keys stand after the records."""
        return -(-self.count // FENCE_EVERY)

    @property
    def file_bytes(self) -> int:
        """The size that the file must have."""
        return HEADER_BYTES + self.count * self.shape.record_size + self.fence_count * self.shape.key_width

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
            self.count,
            self.crc,
        ).ljust(HEADER_BYTES - _CRC.size, b"\0")
        return fields + _CRC.pack(zlib.crc32(fields))

    @staticmethod
    def decoded(octets: bytes, path: Path) -> FileHeader:
        """The header in the first 64 octets of the file. Raises: IndexFileError."""
        if octets[:8] != MAGIC or len(octets) != HEADER_BYTES:
            raise IndexFileError(f"{path}: not an index file", hint=HINT)
        if _CRC.pack(zlib.crc32(octets[: -_CRC.size])) != octets[-_CRC.size :]:
            raise IndexFileError(f"{path}: the header is damaged", hint=HINT)
        _, version, kind, columns, width, size, step, count, crc = _FIELDS.unpack_from(octets)
        if version != VERSION or step != FENCE_EVERY:
            raise IndexFileError(f"{path}: of format {version}, this program reads {VERSION}", hint=HINT)
        return FileHeader(Shape(Kind(kind), width, size, bool(columns)), count, crc)


def write_sections(path: Path, shape: Shape, blobs: Iterable[bytes]) -> int:
    """Write an index file of records that are sorted and have one key each; returns their number.

    `blobs` are pieces of whole records, of any size. The file is durable and complete under `path` on return; on an
    exception, of `blobs` too, what was there before is there still.

    Raises: StoreUnavailable.
    """
    size, width = shape.record_size, shape.key_width
    fences: list[bytes] = []
    count = crc = 0
    with replacing(path) as file:
        file.write(bytes(HEADER_BYTES))
        for blob in blobs:
            first = -count % FENCE_EVERY * size
            fences += [blob[at : at + width] for at in range(first, len(blob), FENCE_EVERY * size)]
            crc = zlib.crc32(blob, crc)
            count += len(blob) // size
            file.write(blob)
        tail = b"".join(fences)
        file.write(tail)
        file.seek(0)
        file.write(FileHeader(shape, count, zlib.crc32(tail, crc)).encoded())
    return count
