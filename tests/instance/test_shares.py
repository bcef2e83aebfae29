"""Checks that are shared among processes: what came of each is what it would be in one."""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from vouchd.errors import PartFails, SigningError, VouchdError
from vouchd.instance.selftests import shares
from vouchd.instance.selftests.shares import outcomes
from vouchd.pkix.pkcs12.reading import WrongPassword

MANY = 200
FD_SETSIZE = 1024
HERE = os.getpid


def fails(number: int) -> str:
    if number % 7 == 0:
        raise PartFails(f"part {number}", hint="mend it")
    if number % 11 == 0:
        raise SigningError(f"key {number}")
    return f"good {number} é"


def shown(results):
    return [
        (name, type(one), str(one), one.hint if isinstance(one, VouchdError) else "") for name, one in results.items()
    ]


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    """Wherever this runs, there are two, and no thread of the tests' own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def test_shared_checks_say_what_checks_in_one_process_say():
    """Words, kinds of errors and hints, and their order, are the same whoever made the check."""
    checks = {f"check {number}": (lambda number=number: fails(number)) for number in range(MANY)}
    assert shown(outcomes(checks, shared=True)) == shown(outcomes(checks))


def test_shared_checks_are_made_in_as_many_processes_as_processors():
    """Two processors make half of the checks each, and few checks are worth no process."""
    checks = {str(number): (lambda: str(HERE())) for number in range(MANY)}
    processes = list(outcomes(checks, shared=True).values())
    assert {processes.count(one) for one in set(processes)} == {MANY // 2}
    assert len(set(processes)) == 2
    assert set(outcomes(dict(list(checks.items())[:60]), shared=True).values()) == {str(HERE())}
    assert set(outcomes(checks).values()) == {str(HERE())}


def test_checks_in_a_process_of_several_threads_are_not_shared(monkeypatch):
    """What a thread has locked would stay locked in a child."""
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    checks = {str(number): (lambda: str(HERE())) for number in range(MANY)}
    assert set(outcomes(checks, shared=True).values()) == {str(HERE())}


def test_process_that_is_killed_leaves_no_check_unmade():
    """What a process has not told is checked by the one that waits for it."""
    here = HERE()

    def check(number: int) -> str:
        if number == 101 and HERE() != here:
            os.kill(HERE(), signal.SIGKILL)
        return fails(number)

    checks = {f"check {number}": (lambda number=number: check(number)) for number in range(MANY)}
    assert shown(outcomes(checks, shared=True)) == shown(outcomes(checks))


def test_process_that_stands_still_is_not_waited_for(monkeypatch):
    """It is ended, and its checks are made here."""
    monkeypatch.setattr(shares, "_PATIENCE_SECONDS", 0.0)
    here = HERE()

    def check(number: int) -> str:
        if HERE() != here:
            signal.pause()
        return fails(number)

    checks = {f"check {number}": (lambda number=number: check(number)) for number in range(MANY)}
    assert shown(outcomes(checks, shared=True)) == shown(outcomes(checks))


def test_bug_in_a_check_is_raised_here_and_leaves_no_process():
    """An exception that is no error of ours reaches the caller, from whichever share."""
    here, before = HERE(), children()

    def check(number: int) -> str:
        if number == 101:
            raise ZeroDivisionError("a bug")
        return str(here)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        outcomes({str(number): (lambda number=number: check(number)) for number in range(MANY)}, shared=True)
    assert children() == before


def test_error_of_another_module_is_raised_by_the_check_made_here():
    """An error that is not of the common table is told by the check itself, made again."""

    def check(number: int) -> str:
        if number == 101:
            raise WrongPassword("no")
        return "good"

    results = outcomes({str(number): (lambda number=number: check(number)) for number in range(MANY)}, shared=True)
    assert [type(one) for one in results.values() if isinstance(one, VouchdError)] == [WrongPassword]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[str]:
    path = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return set(path.read_text(encoding="ascii").split())


@pytest.mark.parametrize("refused", ["fork", "memfd_create", "pidfd_open", "pread"])
def test_checks_are_made_here_where_the_system_refuses_to_share_them(monkeypatch, refused):
    """A limit of processes, or a policy that allows no such memory, makes a start slower and keeps none from its end."""

    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "refused")

    checks = {f"check {number}": (lambda number=number: fails(number)) for number in range(MANY)}
    expected, before = shown(outcomes(checks)), (children(), descriptors())
    monkeypatch.setattr(os, refused, refuse)
    assert shown(outcomes(checks, shared=True)) == expected
    assert (children(), descriptors()) == before


def test_checks_are_shared_by_a_process_with_many_descriptors(tmp_path):
    """Those of a process that makes checks may be higher than what `select` takes."""
    with ExitStack() as files:
        while files.enter_context((tmp_path / "file").open("w")).fileno() <= FD_SETSIZE:
            pass
        checks = {f"check {number}": (lambda number=number: fails(number)) for number in range(MANY)}
        assert shown(outcomes(checks, shared=True)) == shown(outcomes(checks))
