"""The signals of the manager process, heard in the process of the tests."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing

from vouchd.processes.signals import NUMBERS, Signals


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


async def test_signals_come_in_their_order():
    """Each is acted upon, in the order in which they came."""
    with closing(Signals()) as signals:
        signals.open(None)
        kill(signal.SIGUSR1)
        kill(signal.SIGHUP)
        assert [await signals.next(), await signals.next()] == [signal.SIGUSR1, signal.SIGHUP]


async def test_signal_that_ends_is_known_before_its_turn():
    """A restart that has yet to begin sees that the process is to end."""
    with closing(Signals()) as signals:
        signals.open(None)
        assert not signals.ending
        signals.put(signal.SIGHUP)
        signals.put(signal.SIGTERM)
        assert signals.ending
        assert await signals.next() == signal.SIGHUP


async def test_signal_that_ends_is_known_though_the_loop_has_not_heard_it():
    """What came since the loop turned last counts: a restart that begins now would leave it to the successor."""
    with closing(Signals()) as signals:
        signals.open(None)
        kill(signal.SIGTERM)
        assert signals.ending
        assert await signals.next() == signal.SIGTERM


async def test_signal_of_before_and_during_a_restart_reaches_the_successor():
    """Neither one that was heard and not acted upon is lost, nor one that another thread takes while they are blocked."""
    before, after = Signals(), Signals()
    before.open(None)
    before.put(signal.SIGUSR1)
    free, done = threading.Event(), threading.Event()

    def other() -> None:
        free.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    pipe = before.hand_on()
    free.set()
    thread.join()
    assert done.is_set()
    with closing(after):
        after.open(pipe)
        assert [await after.next(), await after.next()] == [signal.SIGUSR1, signal.SIGTERM]


async def test_exec_that_fails_leaves_the_signals_heard():
    """What was put into the pipe for a successor comes back, and the next ones come as before."""
    with closing(Signals()) as signals:
        signals.open(None)
        signals.put(signal.SIGHUP)
        signals.hand_on()
        signals.take_back()
        assert await signals.next() == signal.SIGHUP
        kill(signal.SIGTERM)
        assert await signals.next() == signal.SIGTERM
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(NUMBERS)
