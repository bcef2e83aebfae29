"""A CRL in a file that something else replaces, or writes in place."""

from __future__ import annotations

import os
from pathlib import Path

from vouchd.errors import SourceError
from vouchd.service.pulling import Fetched, Validator


class FileSource:
    """Watches one file: a change of inode, size or modification time makes it be read again.

    A file that is being written is left alone: it counts as complete when its outer DER length says so, or when it has
    not changed from one look to the next (PEM, or bytes that somebody will have to refuse).
    """

    poll_seconds: int | None = 1
    host = ""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._incomplete = ""

    def fetch(self, previous: Validator) -> Fetched | None:
        """The file's bytes, None while it is as it was or not complete yet. Raises: SourceError."""
        try:
            with self._path.open("rb") as file:
                before = os.fstat(file.fileno())
                mark = _mark(before)
                if mark == previous.etag:
                    return None
                if before.st_size > self._max_bytes:
                    raise SourceError(f"{self._path}: {before.st_size} bytes, the limit is {self._max_bytes}")
                content = file.read(self._max_bytes + 1)
                settled = _mark(os.fstat(file.fileno())) == mark and len(content) == before.st_size
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror or error}") from error
        if not settled or not (mark == self._incomplete or _is_whole(content)):
            self._incomplete = mark
            return None
        return Fetched((content,), Validator(etag=mark))


def _mark(status: os.stat_result) -> str:
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _is_whole(content: bytes) -> bool:
    """Whether the outer DER SEQUENCE ends exactly where the file does."""
    if len(content) < 2 or content[0] != 0x30:
        return False
    first = content[1]
    if first < 0x80:
        return len(content) == 2 + first
    size = first & 0x7F
    return len(content) == 2 + size + int.from_bytes(content[2 : 2 + size], "big")
