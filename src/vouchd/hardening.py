"""What a process that holds keys gives up before it reads them: core files, being looked into, rights it might gain.

A core file would hold the keys, and so would the memory that another process of the same user looks into. `exec` makes
a process dumpable again, so each program that the manager becomes, and each worker, does this anew.
"""

from __future__ import annotations

import ctypes
import os
import resource

from vouchd.errors import LifecycleError

_SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES = 4, 38  # of prctl(2)


def harden() -> None:
    """Write no core file, let nobody of this user look in, gain no rights by `exec`. Raises: LifecycleError."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_SET_DUMPABLE, 0), (_SET_NO_NEW_PRIVILEGES, 1)):
        if libc.prctl(option, *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise LifecycleError(f"this process cannot be hardened (prctl {option}): {reason}")
