"""The octets of an index file: mapped or copied where questions are answered, read by position everywhere else.

A mapped file that is cut short ends the process that touches what is gone (SIGBUS). A worker may end like that: it is
started again, and whoever starts it lives on because it maps nothing and gets an error instead.

A map holds a descriptor, and a CA with ten thousand issuing points has as many files, most of them small. So small ones
are copied as long as copies are few octets altogether, others are mapped as long as maps are few, and what there is no
room for is read by position, which is slower and always possible.
"""

from __future__ import annotations

import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Protocol

from vouchd.errors import IndexFileError
from vouchd.sockets import descriptor_limit

HINT = "remove the file; it is built again from the store"
SMALL_OCTETS = 64 << 10  # a file below that is copied
COPIED_OCTETS = 64 << 20  # of all copies in a process
_MAPS_SHARE = 4  # maps may hold one descriptor in so many
_IDENTITY = Struct("=QQqq")


class FileIdentity(bytes):
    """What changes when a file is replaced, or written by ordinary means: device, inode, size and time of change.

    As octets it is one object, where the numbers are four in a fifth, of each of ten thousand files.
    """

    __slots__ = ()

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """The identity in what the system says of a file."""
        return cls(_IDENTITY.pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))

    @property
    def size(self) -> int:
        """Octets of the file."""
        return int(_IDENTITY.unpack(self)[2])

    @property
    def changed_ns(self) -> int:
        """When it was changed, POSIX nanoseconds."""
        return int(_IDENTITY.unpack(self)[3])


def identity_of(path: Path | str) -> FileIdentity:
    """That of the file which has this path now. Raises: IndexFileError.

    Text is enough: to make a path of the name of each of ten thousand files takes longer than to look at the file.
    """
    try:
        return FileIdentity.of(os.stat(path))  # noqa: PTH116  for that
    except OSError as error:
        raise _unreadable(path, error) from error


class Octets(Protocol):
    """The octets of one file, as it was when it was opened."""

    identity: FileIdentity

    def window(self, begin: int, end: int) -> tuple[bytes | mmap.mmap, int]:
        """Something that can be sliced, and where in it octet `begin` is; it is good up to octet `end`.

        Raises: IndexFileError when the file is not as long any more.
        """


class Room:
    """How many octets a process may still copy, and how many files it may still map; a use ends with what it is for."""

    __slots__ = ("copies", "maps")

    def __init__(self, copies: int, maps: int) -> None:
        self.copies, self.maps = copies, maps


class MappedOctets:
    """Shared with every process that maps the file."""

    __slots__ = ("_map", "_room", "identity")

    def __init__(self, path: Path | str, room: Room | None = None) -> None:
        try:
            with Path(path).open("rb") as file:
                self.identity = FileIdentity.of(os.fstat(file.fileno()))
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise _unreadable(path, error) from error
        self._room = room or Room(0, 0)
        self._room.maps -= 1

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was not opened
            self._room.maps += 1

    def window(self, begin: int, end: int) -> tuple[bytes | mmap.mmap, int]:  # noqa: ARG002  see Octets
        """See Octets."""
        return self._map, begin


class CopiedOctets:
    """A copy in this process, as the file was; holds no descriptor."""

    __slots__ = ("_copy", "_room", "identity")

    def __init__(self, path: Path | str, room: Room | None = None) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # of ten thousand files a buffer each is dear
            try:
                self.identity = FileIdentity.of(status := os.fstat(descriptor))
                self._copy = os.read(descriptor, status.st_size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unreadable(path, error) from error
        if len(self._copy) != status.st_size:
            raise IndexFileError(f"{path}: cut short", hint=HINT)
        self._room = room or Room(0, 0)
        self._room.copies -= len(self._copy)

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was not opened
            self._room.copies += len(self._copy)

    def window(self, begin: int, end: int) -> tuple[bytes, int]:  # noqa: ARG002  see Octets
        """See Octets."""
        return self._copy, begin


class PositionedOctets:
    """Read when they are wanted, and no descriptor is kept meanwhile."""

    __slots__ = ("_folder", "_name", "identity")

    def __init__(self, path: Path | str) -> None:
        folder, slash, self._name = str(path).rpartition("/")
        self._folder = sys.intern(folder + slash)  # one for all files
        self.identity = identity_of(path)

    def window(self, begin: int, end: int) -> tuple[bytes | mmap.mmap, int]:
        """See Octets."""
        path = self._folder + self._name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                octets = os.pread(descriptor, end - begin, begin)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unreadable(path, error) from error
        if len(octets) != end - begin:
            raise IndexFileError(f"{path}: cut short", hint=HINT)
        return octets, 0


class AnsweringOctets:
    """Opens files for a process that answers from them, by the rule above; room comes back with what is let go."""

    def __init__(self, copied_octets: int = COPIED_OCTETS, maps: int | None = None) -> None:
        """`maps`: how many files may be mapped; None: a share of the descriptors that the process may have."""
        self._room = Room(copied_octets, descriptor_limit() // _MAPS_SHARE if maps is None else maps)

    def __call__(self, path: Path | str) -> Octets:
        """The octets of that file. Raises: IndexFileError."""
        size = identity_of(path).size
        if size < SMALL_OCTETS and size <= self._room.copies:
            return CopiedOctets(path, self._room)
        return MappedOctets(path, self._room) if self._room.maps else PositionedOctets(path)


def _unreadable(path: Path | str, error: Exception) -> IndexFileError:
    return IndexFileError(f"{path}: {getattr(error, 'strerror', None) or error}", hint=HINT)
