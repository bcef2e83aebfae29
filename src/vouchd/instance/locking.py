"""Locks that let one process at a time take CRLs in, or change CS.cfg; the kernel drops them however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vouchd.errors import StoreUnavailable
from vouchd.locks import acquire, acquired

WAIT_SECONDS = 600.0  # a CRL of ten million entries takes a minute
CONFIG_WAIT_SECONDS = 30.0


@contextmanager
def ingest_lock(path: Path, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock. Raises: StoreUnavailable when another process keeps it for longer than `wait_seconds`."""
    with _lock(path, wait_seconds, "taking CRLs in"):
        yield


@contextmanager
def config_lock(path: Path, *, wait_seconds: float = CONFIG_WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock of whoever reads CS.cfg, changes it and writes it back. Raises: StoreUnavailable, likewise."""
    with _lock(path, wait_seconds, "changing the settings"):
        yield


@contextmanager
def _lock(path: Path, wait_seconds: float, doing: str) -> Iterator[None]:
    descriptor = _open(path)
    try:
        acquire(descriptor, doing, wait_seconds)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def quiet(path: Path) -> Iterator[bool]:
    """Hold the lock if it is free at once, and say whether it is held."""
    descriptor = _open(path)
    try:
        yield acquired(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
