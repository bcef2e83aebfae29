"""The PID file of the manager process, held by a file lock so that an instance never has two managers.

The lock, not the file, says whether a manager runs: the kernel drops it however the process ends. It is an open file
description lock (`fcntl(2)`): it lives on through `exec`, which is how a restarting manager keeps it, and others can
ask for it without taking it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from vouchd.errors import LifecycleError

_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of 64-bit Linux: type, whence, start, length, pid


class PidFile:
    """A held PID file; `fileno` may be handed through `exec` and adopted there."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> PidFile:
        """Take the lock and write this process's id. Raises: LifecycleError when another process holds it."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            except (BlockingIOError, PermissionError):
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise LifecycleError(
                    f"this instance is already running, process {holder}", hint="stop it with `vouchd stop`"
                ) from None
            if _is_at(path, descriptor):
                return cls.adopt(path, descriptor)
            os.close(descriptor)  # its last holder removed the file between our two calls

    @classmethod
    def adopt(cls, path: Path, descriptor: int) -> PidFile:
        """Go on with a lock that this process already holds."""
        text = b"%d\n" % os.getpid()
        os.pwrite(descriptor, text, 0)  # first: who asks meanwhile must not find an empty file under a held lock
        os.ftruncate(descriptor, len(text))
        return cls(path, descriptor)

    def fileno(self) -> int:
        """The descriptor that carries the lock."""
        return self._descriptor

    def release(self) -> None:
        """Remove the file and drop the lock."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def running_pid(path: Path) -> int | None:
    """The process id of the running manager, None when none holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, question)
        if _FLOCK.unpack(answer)[0] == fcntl.F_UNLCK:
            return None
        text, _, _ = os.read(descriptor, 32).partition(b"\n")  # a longer number of before may still stand behind it
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
