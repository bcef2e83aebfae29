"""No test stands still for ever: what takes too long is interrupted where it waits, and fails with what all threads did.

What waits again after that, to clean up, is interrupted again. Where nothing can interrupt (a lock of the interpreter
or of a library) the process of tests ends in the end, with all stacks on its standard error: those beside it take its
tests over, and the run comes to its end.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECONDS = 600.0  # for the set-up of a test, the test, and what it leaves to clean up; the longest takes two minutes
AGAIN_SECONDS = 30.0
STOOD_STILL = "stood still"
END_SECONDS = 900.0
_stderr = -1  # not the one that pytest has taken


def remember_stderr() -> None:
    """To be called before output is captured."""
    global _stderr  # noqa: PLW0603  one of this process
    _stderr = os.dup(sys.__stderr__.fileno())


@contextmanager
def bounded() -> Iterator[None]:
    """What is done within it comes to an end."""
    with ended(END_SECONDS), interrupted(SECONDS):
        yield


@contextmanager
def interrupted(seconds: float, again: float = AGAIN_SECONDS) -> Iterator[None]:
    """What the main thread does within it fails after that time, wherever it waits, and each time that it waits on."""

    def fail(*_: object) -> None:
        pytest.fail(f"{STOOD_STILL} for {seconds:g} seconds; beside it:\n{''.join(_stacks_beside())}")

    former, rest = signal.signal(signal.SIGALRM, fail), signal.getitimer(signal.ITIMER_REAL)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, again)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *rest)
        signal.signal(signal.SIGALRM, former)


@contextmanager
def ended(seconds: float) -> Iterator[None]:
    """The process ends after that time, whatever it is caught in, and tells its stacks."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=_stderr if _stderr >= 0 else sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _stacks_beside() -> Iterator[str]:
    """What each thread does but the main one, whose stack is told with its failure."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for number, frame in sys._current_frames().items():
        if number != threading.main_thread().ident:
            yield f"\n{names.get(number, 'a thread of a library')}:\n"
            yield from traceback.format_stack(frame)
