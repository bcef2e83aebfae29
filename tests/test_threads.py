"""What is made in a thread comes back, and leaves nothing there."""

from __future__ import annotations

import asyncio
import threading
import weakref

from vouchd.errors import CRLRejected
from vouchd.threads import in_thread


def test_call_in_a_thread_gives_its_result():
    """Who waits gets what the call returned."""
    assert asyncio.run(in_thread(lambda: 42)) == 42


def test_call_in_a_thread_that_fails_leaves_nothing_behind():
    """Who waits gets its error, and with that goes what the call had: no collection of garbage is waited for."""
    gone: list[weakref.ref[CRLRejected]] = []
    threads: list[threading.Thread] = []

    def fail() -> None:
        threads.append(threading.current_thread())
        had = CRLRejected("what the call had")
        gone.append(weakref.ref(had))
        raise CRLRejected("not taken")

    async def ask() -> str:
        try:
            await in_thread(fail)
        except CRLRejected as error:
            return str(error)
        return ""

    assert asyncio.run(ask()) == "not taken"
    threads[0].join()  # it may have handed the error on a moment before it ends
    assert gone[0]() is None
