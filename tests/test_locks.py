"""Locks on open files: waited for with a bound, whoever has them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from vouchd import locks
from vouchd.audit.log import AuditLog
from vouchd.audit.proof import prove
from vouchd.audit.trust import Trust
from vouchd.ca.facts import CRLScope, IssuedCRL
from vouchd.ca.publishing import FolderTarget
from vouchd.clock import SystemClock
from vouchd.core.facts import Caller
from vouchd.errors import StoreUnavailable
from vouchd.instance.selftests.results import SelfTestFile
from vouchd.stores.sqlite.database import Database

CRL = IssuedCRL(1, CRLScope.COMPLETE, None, 0, 1, 0, 0, b"crl")


class Time:
    """A clock that goes on by each pause alone; `event` happens in each."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.event: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        """Go on."""
        self.now += seconds
        self.pauses.append(seconds)
        self.event()


@pytest.fixture
def time(monkeypatch):
    time = Time()
    monkeypatch.setattr(locks, "time", SimpleNamespace(monotonic=lambda: time.now, sleep=time.sleep))
    return time


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The lock of a file or folder, as another process would have it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _record(folder: Path) -> None:
    AuditLog(folder / "log", SystemClock()).record("AUTHZ", Caller("agent", "127.0.0.1"), "success")


def _prove(folder: Path) -> None:
    prove(folder / "log", Trust(()))


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("log.lock", _record),
        ("log.lock", _prove),
        ("results.lock", lambda folder: SelfTestFile(folder / "results").replace(())),
        (".", lambda folder: Database(folder / "database")),
        (".", lambda folder: FolderTarget(folder).publish(CRL)),
    ],
    ids=["append to the audit log", "prove the audit log", "results of self tests", "database", "publish a CRL"],
)
def test_nobody_waits_for_ever_for_who_stands_still(name, act, tmp_path, time):
    """Who needs a lock that a stopped process has gives up after a while, with a hint, and works afterwards."""
    for file in ("log", "log.lock", "results.lock"):
        (tmp_path / file).touch()
    refused = pytest.raises(StoreUnavailable, match=r"another process has been .* for \d+ seconds")
    with locked(tmp_path / name), refused as error:
        act(tmp_path)
    assert "state T" in error.value.hint
    assert 30 <= time.now < 601
    act(tmp_path)


def test_lock_that_is_released_is_had_at_once(tmp_path, time):
    """The pauses begin with a millisecond and grow to a bound, so who waits for a moment waits hardly longer than it."""
    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as other, path.open("rb") as ours:
        fcntl.flock(other, fcntl.LOCK_EX)
        time.event = lambda: fcntl.flock(other, fcntl.LOCK_UN) if len(time.pauses) == 8 else None
        locks.acquire(ours.fileno(), "testing")
    assert time.pauses == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.05, 0.05]


def test_shared_locks_are_had_by_many(tmp_path):
    """Who only reads waits for who writes, not for others who read."""
    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as one, path.open("rb") as other, path.open("rb") as writer:
        locks.acquire(one.fileno(), "reading", 0, shared=True)
        assert locks.acquired(other.fileno(), shared=True)
        assert not locks.acquired(writer.fileno())
