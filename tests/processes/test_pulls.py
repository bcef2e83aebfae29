"""The driver of the sources: due ones are asked, each in a thread, none of them stops the others."""

from __future__ import annotations

import asyncio
import threading

import pytest

from vouchd.errors import NotFound, SourceError
from vouchd.processes.upkeep import Pulls
from vouchd.service.pulling import Fetched, Pulling, Schedule, Validator

NOW = 1_795_000_000


class SteppedClock:
    """Time that the test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> int:
        return self.time


class Source:
    """Calls the test's function at each fetch, and tells the event loop that it did."""

    poll_seconds = None

    def __init__(self, fetch=lambda: None, host: str = "") -> None:
        self.host = host
        self._loop = asyncio.get_running_loop()
        self._fetch = fetch
        self.fetches: asyncio.Queue[str] = asyncio.Queue()

    def fetch(self, _: Validator) -> Fetched | None:
        name = threading.current_thread().name
        try:
            return self._fetch()
        finally:
            self._loop.call_soon_threadsafe(self.fetches.put_nowait, name)


def pulling(name: str, source: Source, *, paused: bool = False) -> Pulling:
    return Pulling(name, "x", source, Schedule(interval_seconds=3600), lambda _: None, paused=paused)


async def test_sources_are_asked_at_start_in_threads_of_their_own():
    """Every source is asked at start, never on the event loop."""
    sources = [Source(), Source()]
    pulls = Pulls([pulling(str(n), source) for n, source in enumerate(sources)], SteppedClock(), lambda: None)
    task = asyncio.create_task(pulls.run())
    names = [await source.fetches.get() for source in sources]
    assert threading.main_thread().name not in names
    task.cancel()


async def test_source_is_asked_again_when_it_is_due_and_not_before():
    """The next attempt comes when the clock says so."""
    clock, source = SteppedClock(), Source()
    changed = asyncio.Event()
    pulls = Pulls([pulling("main", source)], clock, changed.set)
    task = asyncio.create_task(pulls.run())
    await source.fetches.get()
    assert source.fetches.empty()
    clock.time += 3600
    await source.fetches.get()
    assert not changed.is_set()  # nothing was taken in, nothing failed
    task.cancel()


async def test_crl_taken_in_is_told_of_at_once():
    """After a source delivered something new the store is looked at without waiting."""
    changed = asyncio.Event()
    source = Source(lambda: Fetched((b"crl",), Validator("1")))
    pulls = Pulls([pulling("main", source)], SteppedClock(), changed.set)
    task = asyncio.create_task(pulls.run())
    await changed.wait()
    assert pulls.states[0].accepted == 1
    task.cancel()


async def test_failing_and_broken_sources_do_not_stop_the_others():
    """An error, and even a bug, in one source leaves the others at work."""

    def fail():
        raise SourceError("down")

    changes = asyncio.Queue()
    sources = [Source(fail), Source(lambda: 1 / 0), Source(lambda: Fetched((b"crl",), Validator("1")))]
    pulls = Pulls(
        [pulling(str(n), source) for n, source in enumerate(sources)], SteppedClock(), lambda: changes.put_nowait(1)
    )
    task = asyncio.create_task(pulls.run())
    for source in sources:
        await source.fetches.get()
    await changes.get()
    await changes.get()
    states = {state.name: state for state in pulls.states}
    assert states["0"].last_error == "SourceError: down"
    assert states["2"].accepted == 1
    assert not task.done()
    task.cancel()


async def test_hanging_source_does_not_keep_the_driver_from_ending():
    """A source that hangs is abandoned when the process stops."""
    begun, hang = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def fetch() -> None:
        loop.call_soon_threadsafe(begun.set)
        hang.wait()

    source = Source(fetch)
    task = asyncio.create_task(Pulls([pulling("main", source)], SteppedClock(), lambda: None).run())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    hang.set()
    await source.fetches.get()


async def test_slow_host_keeps_none_of_the_others_from_being_asked():
    """However many sources of one host hang, those of other hosts are asked at once, and two of that host at most."""
    over, hanging = threading.Event(), threading.Semaphore(0)

    def hang():
        hanging.release()
        over.wait()

    slow, quick = [Source(hang, "slow.example") for _ in range(100)], Source(host="quick.example")
    sources = [pulling(str(number), source) for number, source in enumerate([*slow, quick])]
    task = asyncio.create_task(Pulls(sources, SteppedClock(), lambda: None).run())
    await quick.fetches.get()
    assert [hanging.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    over.set()
    task.cancel()


async def test_paused_source_is_asked_by_request_alone():
    """A source that is paused waits until somebody asks for it, who is told what came of it."""
    paused, other = Source(), Source()
    pulls = Pulls([pulling("main", paused, paused=True), pulling("other", other)], SteppedClock(), lambda: None)
    task = asyncio.create_task(pulls.run())
    await other.fetches.get()
    assert paused.fetches.empty()
    state = await pulls.fetch("main")
    assert (state.attempts, state.last_success, paused.fetches.qsize()) == (1, NOW, 1)
    task.cancel()


async def test_request_during_an_attempt_is_answered_by_the_next_one():
    """What was fetched already when somebody asks is not what he is told."""
    go_on = threading.Semaphore(0)
    changed = asyncio.Event()

    def fetch() -> None:
        go_on.acquire()

    source = Source(fetch)
    pulls = Pulls([pulling("main", source)], SteppedClock(), changed.set)
    task = asyncio.create_task(pulls.run())
    go_on.release()
    await source.fetches.get()
    first = asyncio.create_task(pulls.fetch("main"))
    second = asyncio.create_task(pulls.fetch("main"))
    go_on.release()
    go_on.release()
    assert {(await first).attempts, (await second).attempts} <= {2, 3}
    assert changed.is_set()
    task.cancel()


async def test_request_for_a_source_that_is_not_there_is_refused():
    """Nobody waits for what is never asked."""
    with pytest.raises(NotFound):
        await Pulls([], SteppedClock(), lambda: None).fetch("main")
