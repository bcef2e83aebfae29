"""The lock that lets one process at a time take CRLs in; the kernel drops it however the process ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vouchd.errors import StoreUnavailable

WAIT_SECONDS = 600.0  # a CRL of ten million entries takes a minute
_POLL_SECONDS = 0.05


@contextmanager
def ingest_lock(path: Path, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock. Raises: StoreUnavailable when another process keeps it for longer than `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    descriptor = _open(path)
    try:
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                raise StoreUnavailable(f"another process has been taking CRLs in for {wait_seconds:.0f} seconds")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def quiet(path: Path) -> Iterator[bool]:
    """Hold the lock if it is free at once, and say whether it is held."""
    descriptor = _open(path)
    try:
        yield _taken(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
