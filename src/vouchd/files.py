"""THE reader and writer of files: bounded reading, and writing that is whole or not at all, durable, and private.

A file is written beside its place under a name of its own, brought to disk, and then linked or renamed into its place;
then its folder is brought to disk, since a name that is not there after a loss of power is no file. Nothing else in
this program opens a file for writing (`tests/test_layers.py` names what cannot be written that way: logs that grow,
locks, databases). What the system says becomes one of our errors here; the caller names the family.
"""

from __future__ import annotations

import mmap
import os
import secrets
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vouchd.errors import AlreadyExists, ConfigError, SigningError, StoreUnavailable, VouchdError

PRIVATE = 0o600
PUBLIC = 0o644
MAX_BYTES = 1 << 20
_PIECE = 1 << 16
LEFTOVER_SUFFIX = ".part"  # of what a process that was killed had not finished
READABLE = "is the name right, and may this user read the file and its folder?"
_WRITABLE = "free space, or mend the permissions of the folder"
_ROOM = "free space in /var/tmp, or where that is not to be written to in the folder that TMPDIR names"
_OTHERS = 0o077
_LARGE_FOLDER = "/var/tmp"  # noqa: S108  for nameless files alone; /tmp is memory on many hosts


def read_file(
    path: Path, limit: int = MAX_BYTES, *, error: type[VouchdError] = StoreUnavailable, hint: str = READABLE
) -> bytes:
    """The bytes of a file that has `limit` of them at most. Raises: FileNotFoundError; `error`."""
    try:
        return _bounded(path, limit, error)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}", hint=hint) from problem


@contextmanager
def open_file(path: Path, limit: int, *, error: type[VouchdError] = StoreUnavailable) -> Iterator[BinaryIO]:
    """A file that has `limit` octets at most, open while this is entered. Raises: FileNotFoundError; `error`."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise error(f"{path}: larger than {limit} bytes")
            yield file
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}", hint=READABLE) from problem


def read_head(path: Path, limit: int) -> bytes:
    """The first octets of a file, `limit` at most; none where it cannot be read, which who needs it all will tell."""
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError:
        return b""


def read_tail(path: Path, limit: int, *, begin: int = 0, error: type[VouchdError] = StoreUnavailable) -> bytes:
    """The last octets of a file that grows, `limit` at most, none before `begin`; none where there is no such file.

    Raises: `error`.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(begin, file.seek(0, os.SEEK_END) - limit))
            return file.read(limit)
    except FileNotFoundError:
        return b""
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}", hint=READABLE) from problem


def mapped_copy(path: Path, limit: int, *, error: type[VouchdError] = StoreUnavailable) -> memoryview:
    """The bytes of a large file, `limit` of them at most, as a spool has them. Raises: `error`."""
    spool, copied = Spool(error), 0
    try:
        with path.open("rb") as source:
            while piece := source.read(min(MAX_BYTES, limit + 1 - copied)):
                spool.write(piece)
                copied += len(piece)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}", hint=READABLE) from problem
    if copied > limit:
        raise error(f"{path}: larger than {limit} bytes")
    return spool.view()


class Spool:
    """Octets that come piece by piece; beyond 1 MiB they are in a file without a name and not in memory of one's own.

    Nobody else can reach that file, so what was verified of it is what is used of it. It goes when nobody uses it.
    """

    def __init__(self, error: type[VouchdError] = StoreUnavailable) -> None:
        """`error` is raised when the octets find no room."""
        self._error = error
        self._octets = bytearray()
        self._file: BinaryIO | None = None
        self._closing: weakref.finalize[[BinaryIO], Spool] | None = None
        self._view: memoryview | None = None

    def write(self, octets: bytes) -> None:
        """Put them behind what is there; not after `view`. Raises: `error`."""
        if self._file is None and len(self._octets) + len(octets) <= MAX_BYTES:
            self._octets += octets
            return
        with self._room():
            if self._file is None:
                self._file = _nameless_file()
                self._closing = weakref.finalize(self, _close, self._file)
                self._file.write(self._octets)
                self._octets.clear()
            self._file.write(octets)

    def clear(self) -> None:
        """Begin again. Raises: `error`."""
        self._octets.clear()
        if self._file is not None:
            with self._room():
                self._file.seek(0)
                self._file.truncate()

    def view(self) -> memoryview:
        """All octets, the same each time. Raises: `error`."""
        if self._view is None:
            octets = self._octets if self._file is None else self._mapped(self._file)
            self._view = memoryview(octets).toreadonly()
        return self._view

    def _mapped(self, file: BinaryIO) -> bytes | mmap.mmap:
        with self._room():
            file.flush()
            if os.fstat(file.fileno()).st_size == 0:
                return b""
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if self._closing is not None:
                self._closing.detach()
            weakref.finalize(mapped, _close, file)
            _SPOOLED[mapped] = file
            return mapped

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise self._error(
                f"no room for {MAX_BYTES} bytes and more: {problem.strerror or problem}", hint=_ROOM
            ) from problem


_SPOOLED: weakref.WeakKeyDictionary[mmap.mmap, BinaryIO] = weakref.WeakKeyDictionary()


def spool_file(octets: bytes | bytearray | memoryview) -> BinaryIO | None:
    """The nameless file that `octets` are the view of, all of it, for another process to map; None: they have none."""
    mapped = octets.obj if isinstance(octets, memoryview) else None
    return _SPOOLED.get(mapped) if isinstance(mapped, mmap.mmap) and len(mapped) == len(octets) else None


def inherited_file(descriptor: int) -> BinaryIO:
    """The nameless file of the process that has started this one, to be read and written."""
    return os.fdopen(descriptor, "r+b")


def _close(file: BinaryIO) -> None:
    """Close a file that nobody reads any more: what found no room in it need not find it now."""
    with suppress(OSError):
        file.close()


def _nameless_file() -> BinaryIO:
    """A file where large ones belong, or where that is not to be written to, as in a container, where any may be."""
    try:
        return tempfile.TemporaryFile(dir=_LARGE_FOLDER)
    except OSError:
        return tempfile.TemporaryFile()


def read_secret(path: Path) -> bytes:
    """The bytes of a file with secrets, at most 1 MiB. Raises: SigningError, also when others may read the file."""
    try:
        return _bounded(path, MAX_BYTES, SigningError, secret=True)
    except OSError as problem:
        raise SigningError(f"{path}: cannot be read: {problem.strerror}", hint=READABLE) from problem


def read_secrets(path: Path) -> dict[str, str]:
    """The `name=secret` lines of a file by name, as password.conf has them; empty when there is no file.

    Raises: SigningError when others may read the file; ConfigError `FILE:LINE: …`, which never quotes the line.
    """
    if not path.exists():
        return {}
    secrets: dict[str, str] = {}
    for number, line in enumerate(read_secret(path).decode("utf-8", "surrogateescape").split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, secret = line.removesuffix("\r").partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{path}:{number}: not a name=password line")
        if name.strip() in secrets:
            raise ConfigError(f"{path}:{number}: {name.strip()} is set already")
        secrets[name.strip()] = secret
    return secrets


def _bounded(path: Path, limit: int, error: type[VouchdError], *, secret: bool = False) -> bytes:
    """All of a file, at once where its size is as the system says; of a pipe it comes in pieces.

    Of twenty thousand keys and certificates a buffer and what looks at it are dear. Raises: OSError; `error`, also when
    others may read a `secret`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if secret and status.st_mode & _OTHERS:
            mode = f"{status.st_mode & 0o7777:04o}"
            raise error(f"{path}: holds a secret but others may read it (mode {mode})", hint=f"chmod 600 {path}")
        pieces = [os.read(descriptor, min(status.st_size, limit) + 1)]
        size = len(pieces[0])
        while size <= limit and (piece := os.read(descriptor, min(limit + 1 - size, _PIECE))):
            pieces.append(piece)  # put together once: a CRL that comes through a pipe is of thousands of them
            size += len(piece)
    finally:
        os.close(descriptor)
    if size > limit:
        raise error(f"{path}: larger than {limit} bytes")
    return b"".join(pieces)


def write_new(path: Path, data: bytes, mode: int = PRIVATE, *, error: type[VouchdError] = StoreUnavailable) -> None:
    """Write a new file with `mode`, whole and durable or not at all.

    Raises: AlreadyExists when the name is taken; `error`.
    """
    try:
        with _draft(path, mode) as (draft, file):
            file.write(data)
            _bring_to_disk(file)
            os.link(draft, path)  # unlike rename, it never replaces what has the name
            with suppress(OSError):  # it is written, under both names
                draft.unlink()
        sync_folder(path.parent)
    except FileExistsError as problem:
        raise AlreadyExists(f"{path}: exists already") from problem
    except OSError as problem:
        raise _failure(path, problem, error) from problem


@contextmanager
def replacing(
    path: Path, mode: int = PRIVATE, *, error: type[VouchdError] = StoreUnavailable, durable: bool = True
) -> Iterator[BinaryIO]:
    """A file to write, new or in place of one: it has its name when the block ends, and is gone when that raises.

    Readers see the old bytes or the new. Not `durable`: what is of no worth after a loss of power, and is written so
    often that waiting for the disk would hold up what is.

    Raises: `error`.
    """
    try:
        with _draft(path, mode) as (draft, file):
            yield file
            if durable:
                _bring_to_disk(file)
            else:
                file.flush()
            draft.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as problem:
        raise _failure(path, problem, error) from problem


def replace_file(
    path: Path,
    data: bytes,
    mode: int = PRIVATE,
    *,
    error: type[VouchdError] = StoreUnavailable,
    durable: bool = True,
) -> None:
    """Write `data` as `replacing` does. Raises: `error`."""
    with replacing(path, mode, error=error, durable=durable) as file:
        file.write(data)


def extend_file(
    path: Path,
    data: bytes,
    size: int,
    inode: int,
    *,
    error: type[VouchdError] = StoreUnavailable,
    durable: bool = True,
) -> None:
    """Add `data` to the end of a file, durable on return unless told otherwise; it must be that file, of that size.

    On an exception nothing of it counts for whoever asks for whole lines: it is cut off again, if that can be done.
    Raises: `error`.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if (status.st_size, status.st_ino) != (size, inode):
                raise error(f"{path}: is not as it was written", hint="something else writes there")
            try:
                view = memoryview(data)
                while view:
                    view = view[os.pwrite(descriptor, view, size + len(data) - len(view)) :]
                if durable:
                    os.fdatasync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise _failure(path, problem, error) from problem


def append_file(path: Path, data: bytes, limit: int, *, error: type[VouchdError] = StoreUnavailable) -> None:
    """Add `data` to the end of a file (0600), which is begun anew where it would be larger than `limit`; not durable.

    For what can be done without: it may be torn, or gone after a loss of power. Raises: `error`.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            if os.fstat(descriptor).st_size + len(data) > limit:
                os.ftruncate(descriptor, 0)
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise _failure(path, problem, error) from problem


def write_output(path: Path, data: bytes, *, error: type[VouchdError] = StoreUnavailable) -> None:
    """Write what a person wants to have where they say: a file is replaced (0644), a device or pipe is written to.

    Raises: `error`.
    """
    target = path.resolve()
    try:
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as file:
                file.write(data)
            return
    except OSError as problem:
        raise _failure(path, problem, error) from problem
    replace_file(target, data, PUBLIC, error=error)


def sync_folder(folder: Path) -> None:
    """Make durable what was created, renamed or removed in `folder`. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _draft(path: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `path`, and its name, which the block takes away; when that raises it is gone too."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{LEFTOVER_SUFFIX}")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask took away
            yield draft, file
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _bring_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _failure(path: Path, problem: OSError, error: type[VouchdError]) -> VouchdError:
    return error(f"{path}: cannot be written: {problem.strerror or problem}", hint=_WRITABLE)
