"""Memory that nothing needs any more, as after a start or a publication, goes back to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

from vouchd.pkix.memo import settle

_LARGE_BYTES = 256 << 10
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>


def keep_large_apart() -> None:
    """Have what is large come from the system by itself, and go back to it at once, as long as the process lives.

    The C library would take less and less for large, up to 32 MiB, and what ten thousand CAs are told in would leave
    holes among what stays.
    """
    with suppress(AttributeError):  # another library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Forget what it remembered, and let the system have the pages that the C library holds free between those in use.

    Other libraries keep theirs.
    """
    settle()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep() -> None:
    """Look for garbage in what a start has made, and never again: it stays, and of many CAs it is much to look at.

    What is let go of it goes all the same, but for what only refers to itself.
    """
    gc.collect()
    gc.freeze()
