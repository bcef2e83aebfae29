"""Locks of the kernel on open files (flock), waited for with a bound; it drops them however a process ends.

Who holds a lock may stand still: stopped by a signal, by a debugger, by a disk that hangs. Nothing here waits for him
longer than it says. The kernel has no lock with a time limit, so it is asked anew: at once, then after a millisecond,
then ever later, so that a lock that is held for a moment costs hardly more than that moment.
"""

from __future__ import annotations

import fcntl
import time

from vouchd.errors import StoreUnavailable

WAIT_SECONDS = 30.0  # many times what anybody needs who only writes
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


def acquire(descriptor: int, purpose: str, seconds: float = WAIT_SECONDS, *, shared: bool = False) -> None:
    """Lock an open file, released when it is closed; `purpose` is what whoever has it does, as in "writing it".

    Raises: StoreUnavailable when others keep it for longer than `seconds`; OSError of the file system.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while not acquired(descriptor, shared=shared):
        if time.monotonic() >= deadline:
            raise StoreUnavailable(
                f"another process has been {purpose} for {seconds:.0f} seconds",
                hint="is one of vouchd's processes stopped (state T in ps), or its disk standing still?",
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def acquired(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file if it is free at once; whether it was. Raises: OSError of the file system."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
