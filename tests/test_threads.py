"""What is made in a thread comes back, and leaves nothing there."""

from __future__ import annotations

import asyncio
import threading
import weakref

from vouchd import threads
from vouchd.errors import CRLRejected
from vouchd.threads import in_thread


def test_call_in_a_thread_gives_its_result():
    """Who waits gets what the call returned."""
    assert asyncio.run(in_thread(lambda: 42)) == 42


def test_calls_that_follow_each_other_share_a_thread():
    """No thread is begun for a call while another one has nothing to do; there are as many as calls at a time."""

    async def idents(at_once: int) -> set[int]:
        meeting = threading.Barrier(at_once)

        def call() -> int:
            meeting.wait(30)
            return threading.get_ident()

        return set(await asyncio.gather(*(in_thread(call) for _ in range(at_once))))

    async def several() -> list[set[int]]:
        return [await idents(number) for number in (1, 1, 3, 3, 1)]

    one, same, three, again, last = asyncio.run(several())
    assert one == same
    assert (len(three), one < three) == (3, True)
    assert again == three
    assert last < three


def test_thread_without_work_ends(monkeypatch):
    """Threads do not stay for calls that do not come, and the next call has one of its own."""
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.0)
    used: list[threading.Thread] = []
    for _ in range(2):
        asyncio.run(in_thread(lambda: used.append(threading.current_thread())))
        used[-1].join(30)
    assert [one.is_alive() for one in used] == [False, False]
    assert used[0] is not used[1]


def test_call_in_a_thread_that_fails_leaves_nothing_behind():
    """Who waits gets its error, and with that goes what the call had: no collection of garbage is waited for."""
    gone: list[weakref.ref[CRLRejected]] = []

    def fail() -> None:
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
    asyncio.run(in_thread(lambda: None))  # it may have handed the error on a moment before it lets it go
    assert gone[0]() is None
