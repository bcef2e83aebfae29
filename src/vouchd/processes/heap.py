"""The memory that a start needed and nothing needs any more."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from vouchd.pkix.memo import settle


def give_back() -> None:
    """Forget what it remembered, and let the system have the pages that the C library holds free between those in use.

    Other libraries keep theirs.
    """
    settle()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
