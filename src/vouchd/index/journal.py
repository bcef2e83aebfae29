"""A file that grows by differences: a whole, and a line for each change since, each of them there or not at all.

    {"format":2,"id":"…","version":7,"octets":N,"crc":C}    `version` is that of the whole, `id` names this file
    N octets                                                the whole, and a line feed
    C {"version":8,...}                                     a difference: CRC-32 of the JSON (8 hex digits), and JSON
    C {"version":9,...}

How a change costs what changed, and is as durable as a file that is replaced as a whole:

- A line is added and brought to disk (`files.extend_file`) before anybody is told of it. A line that is cut short, or
  whose octets did not all reach the disk, has no line feed or another CRC: it is the last one and was never told of, so
  it is passed over. One that is damaged and is followed by others was told of: the file is refused.
- When the lines have become as long as the whole, or the process begins, the file is begun anew (`files.replacing`):
  the whole is what was told of last, and the new difference follows it as the first line. So a reader that has the
  version of the whole goes on with the lines and reads no whole, and over its life the file costs each change twice.
- Versions count from one again where nothing was there, or nothing that could be believed. Such a file says in its
  first line that it goes on from no other (`"alone"`): who has read another one reads its whole, whatever its version.
- Of a line that could not be brought to disk nobody knows whether it is there. The file is begun anew then, under a new
  version: who did read that line has a version that this file does not begin with, and reads the whole.
- A reader keeps the first line and how far it has read. Another first line, or less than it has read: it begins anew.
"""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vouchd.errors import IndexFileError
from vouchd.files import extend_file, replacing

FORMAT = 2
HINT = "restart the instance: it writes the manifest anew from the store"
_LEAST_OCTETS = 1 << 16  # of lines, before the file is begun anew for them
_HEADER_OCTETS = 256
MAX_MANIFEST_BYTES = 1 << 30  # 10,000 CAs take some 20 MiB


def line_of(record: bytes) -> bytes:
    """The line of a difference, JSON without line feeds."""
    return b"%08x %b\n" % (zlib.crc32(record), record)


def _first_line(header: Mapping[str, object]) -> bytes:
    """As long whatever it says, since what it says of the whole is known when that is written."""
    return json.dumps(header).encode().ljust(_HEADER_OCTETS - 1) + b"\n"


class JournalWriter:
    """The file at `path`, which only this object writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = self._inode = self._limit = 0  # of a file that may be added to

    @property
    def may_grow(self) -> bool:
        """Whether a difference may be added; else the file has to be begun."""
        return 0 < self._size <= self._limit

    def begin(
        self, version: int, whole: Iterable[bytes], differences: Sequence[bytes] = (), *, alone: bool = False
    ) -> None:
        """Replace the file by a whole of that version, JSON in pieces, and differences from it.

        `alone`: what was there before says nothing of it, though its versions may be the same.

        Raises: StoreUnavailable.
        """
        self._size = octets = crc = 0
        own = {"format": FORMAT, "id": secrets.token_hex(8)} | ({"alone": 1} if alone else {})
        with replacing(self._path) as file:
            file.write(_first_line({}))
            for piece in whole:  # none of which is wanted any more: of ten thousand CAs the whole is long
                file.write(piece)
                octets, crc = octets + len(piece), zlib.crc32(piece, crc)
            file.write(b"\n")
            file.writelines(map(line_of, differences))
            size, inode = file.tell(), os.fstat(file.fileno()).st_ino
            file.seek(0)
            file.write(_first_line(own | {"version": version, "octets": octets, "crc": crc}))
        self._size, self._inode = size, inode
        self._limit = size + max(octets, _LEAST_OCTETS)

    def add(self, difference: bytes) -> None:
        """Add a difference, JSON, durable on return. Raises: StoreUnavailable; the file has to be begun anew then."""
        line, size = line_of(difference), self._size
        self._size = 0
        extend_file(self._path, line, size, self._inode)
        self._size = size + len(line)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: the whole, None where the reader has it already, and the differences after that.

    `place` is for `JournalReader.keep`, once all of it was taken up.
    """

    version: int
    whole: bytes | None
    differences: tuple[bytes, ...]
    place: tuple[bytes, int]


class JournalReader:
    """Reads what has come to the file at `path` since it was read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first_line: bytes | None = None
        self._offset = 0

    def read(self, version: int) -> Reading:
        """What is new to someone who has `version` of what was kept. Raises: IndexFileError; FileNotFoundError."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_MANIFEST_BYTES:
                    raise self._damaged(f"is larger than {MAX_MANIFEST_BYTES} bytes")
                first_line, whole = file.readline(_HEADER_OCTETS), None
                if first_line == self._first_line and self._offset <= size:
                    file.seek(self._offset)
                else:
                    header = self._header(first_line)
                    if self._first_line is None or header["alone"] or header["version"] != version:
                        whole = file.read(header["octets"])
                        if zlib.crc32(whole) != header["crc"]:
                            raise self._damaged("does not match its checksum")
                        version = header["version"]
                        file.seek(1, os.SEEK_CUR)
                    else:
                        file.seek(header["octets"] + 1, os.SEEK_CUR)
                begin, rest = file.tell(), file.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise IndexFileError(f"{self._path}: {error.strerror}", hint=HINT) from error
        *lines, _ = rest.split(b"\n")  # what no line feed follows was cut short
        differences: list[bytes] = []
        for number, line in enumerate(lines, 1):
            record = line[9:]
            if line[:9] != b"%08x " % zlib.crc32(record):
                if number != len(lines):
                    raise self._damaged("a line of it does not match its checksum")
                break
            differences.append(record)
        end = begin + sum(len(record) + 10 for record in differences)
        return Reading(version, whole, tuple(differences), (first_line, end))

    def keep(self, reading: Reading) -> None:
        """All that was read was taken up."""
        self._first_line, self._offset = reading.place

    def _header(self, line: bytes) -> dict[str, int]:
        try:
            header = json.loads(line)
            known = {name: int(header[name]) for name in ("format", "version", "octets", "crc")}
            known["alone"] = int(header.get("alone", 0))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._damaged("is no manifest") from error
        if known["format"] != FORMAT:
            raise self._damaged(f"is of format {known['format']}, which is not known")
        return known

    def _damaged(self, words: str) -> IndexFileError:
        return IndexFileError(f"{self._path}: {words}", hint=HINT)
