"""The octets of an index file: mapped where questions are answered, read by position everywhere else.

A mapped file that is cut short ends the process that touches what is gone (SIGBUS). A worker may end like that: it is
started again, and whoever starts it lives on because it maps nothing and gets an error instead.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import NamedTuple, Protocol

from vouchd.errors import IndexFileError

HINT = "remove the file; it is built again from the store"


class FileIdentity(NamedTuple):
    """What changes when a file is replaced, or written by ordinary means."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @staticmethod
    def of(status: os.stat_result) -> FileIdentity:
        """The identity in what the system says of a file."""
        return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Octets(Protocol):
    """The octets of one file, as it was when it was opened."""

    identity: FileIdentity

    def window(self, begin: int, end: int) -> tuple[bytes | mmap.mmap, int]:
        """Something that can be sliced, and where in it octet `begin` is; it is good up to octet `end`.

        Raises: IndexFileError when the file is not as long any more.
        """


class MappedOctets:
    """Shared with every process that maps the file."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self.identity = FileIdentity.of(os.fstat(file.fileno()))
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise _unreadable(path, error) from error

    def window(self, begin: int, end: int) -> tuple[bytes | mmap.mmap, int]:  # noqa: ARG002  see Octets
        """See Octets."""
        return self._map, begin


class PositionedOctets:
    """Read when they are wanted, and no descriptor is kept meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.identity = FileIdentity.of(path.stat())
        except OSError as error:
            raise _unreadable(path, error) from error

    def window(self, begin: int, end: int) -> tuple[bytes | mmap.mmap, int]:
        """See Octets."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                octets = os.pread(descriptor, end - begin, begin)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        if len(octets) != end - begin:
            raise IndexFileError(f"{self._path}: cut short", hint=HINT)
        return octets, 0


def _unreadable(path: Path, error: Exception) -> IndexFileError:
    return IndexFileError(f"{path}: {getattr(error, 'strerror', None) or error}", hint=HINT)
