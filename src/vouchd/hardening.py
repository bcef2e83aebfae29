"""What a process that holds keys gives up before or after it reads them: core files, rights, files it needs no more.

A core file would hold the keys, and so would the memory that another process of the same user looks into. `exec` makes
a process dumpable again, so each program that the manager becomes, and each worker, does this anew.

A worker speaks with strangers. Once it has its signers it needs nothing of the instance but the indexes, so the kernel
is told to let it open nothing else (Landlock, since Linux 5.13): what would get hold of a worker gets neither the
passwords nor the database nor a key file, cannot write a file and cannot start a program. What is closed stays closed
for the life of the process; a worker that has to read keys anew is a new one.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from vouchd.errors import LifecycleError

# How our own programs are started by others of them: no module comes from the folder in which a command is given.
PROGRAM: Final = (sys.executable, "-P", "-m")

_SET_DEATH_SIGNAL, _SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES = 1, 4, 38  # of prctl(2)


def harden() -> None:
    """Write no core file, let nobody of this user look in, gain no rights by `exec`. Raises: LifecycleError."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_SET_DUMPABLE, 0), (_SET_NO_NEW_PRIVILEGES, 1)):
        if libc.prctl(option, *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise LifecycleError(f"this process cannot be hardened (prctl {option}): {reason}")


def end_with_parent(parent: int) -> None:
    """Have this process, a fork of `parent`, killed when that ends, however it does."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, ctypes.c_ulong(signal.SIGKILL), *(ctypes.c_ulong(0),) * 3)
    if os.getppid() != parent:  # it ended before
        os._exit(0)


# landlock(7): the numbers of the calls are those of every architecture.
_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
# Since version 1 all up to making a symbolic link, since 2 to move between folders, since 3 to truncate.
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
# Where programs, libraries and what they read are: kernel, time zones, certificates, /proc/self.
_SYSTEM = ("/usr", "/lib", "/lib64", "/etc", "/dev", "/proc", "/sys", "/opt")


def confine(readable: Iterable[Path], closed: Iterable[Path]) -> str:
    """From now on open nothing but what is `readable`, and of the system what is not `closed`; why not, or nothing.

    It holds for this thread and those that it starts, so it is called while there is one.
    """
    if threading.active_count() > 1:
        return "other threads run already"
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    if version < 1:
        return f"the kernel has no Landlock ({os.strerror(ctypes.get_errno())})"
    handled = struct.pack("=Q", _HANDLED[min(version, max(_HANDLED))])
    rules = libc.syscall(_CREATE, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0))
    if rules < 0:
        return f"landlock_create_ruleset: {os.strerror(ctypes.get_errno())}"
    try:
        barred = {path.resolve() for path in closed}
        here = str(Path.cwd())  # `python -m` looks for modules there first, and it may be anywhere
        interpreter = (sys.prefix, sys.base_prefix, *(place for place in sys.path if place != here))
        system = {Path(place).resolve() for place in (*_SYSTEM, *interpreter) if place}
        for path in dict.fromkeys(one for place in sorted(system) for one in _openings(place, barred)):
            _allow(libc, rules, path)
        for path in readable:
            _allow(libc, rules, path)
        if libc.syscall(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0)) != 0:
            return f"landlock_restrict_self: {os.strerror(ctypes.get_errno())}"
    except OSError as error:
        return f"Landlock: {error}"
    finally:
        os.close(rules)
    return ""


def _openings(place: Path, closed: Collection[Path]) -> Iterator[Path]:
    """What there is at `place`: as a whole where nothing in it is closed, else all that is beside the closed paths."""
    if place in closed or any(path in closed for path in place.parents):
        return
    if not any(place in path.parents for path in closed):
        yield place
        return
    with suppress(OSError):
        for child in sorted(place.iterdir()):
            if not child.is_symlink():  # what it leads to counts where it is
                yield from _openings(child, closed)


def _allow(libc: ctypes.CDLL, rules: int, path: Path) -> None:
    """Allow reading beneath `path`, and writing to devices; what is not there needs no rule. Raises: OSError."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    try:
        access = _READ_FILE | (_READ_DIR if path.is_dir() else 0)
        if path == Path("/dev"):
            access |= _WRITE_FILE
        rule = struct.pack("=Qi", access, descriptor)
        if libc.syscall(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)
