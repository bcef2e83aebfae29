"""Work that comes back: when it is done first."""

from __future__ import annotations

import asyncio
import logging

from vouchd.errors import StoreUnavailable
from vouchd.processes import upkeep
from vouchd.processes.upkeep import Pace, Upkeep, Upkeeping, lasting


async def test_work_may_wait_for_its_time_before_it_is_done_first():
    """What asks this instance itself is not tried before it can answer."""
    done, both = [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(name: str) -> bool:
        done.append(name)
        if name == "soon":
            loop.call_soon_threadsafe(both.set)
        return False

    works = [
        Upkeep("never", 3600, lambda: work("never"), at_start=False),
        Upkeep("soon", 0.01, lambda: work("soon"), at_start=False),
        Upkeep("now", 3600, lambda: work("now")),
    ]
    running = asyncio.create_task(Upkeeping(works, lambda: None).run())
    await asyncio.wait_for(both.wait(), 30)
    running.cancel()
    assert set(done) == {"now", "soon"}


async def test_work_that_failed_is_tried_again_when_somebody_says_so():
    """Whoever has mended what kept it from working need not wait for the pause to end."""
    tries, failed, mended = [], asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> bool:
        tries.append("failing")
        if len(tries) == 1:
            raise StoreUnavailable("away")
        loop.call_soon_threadsafe(mended.set)
        return False

    upkeeping = Upkeeping([Upkeep("failing", 3600, work)], lambda: None)
    show = upkeeping._show

    def shown(name: str, error: str) -> None:
        show(name, error)
        failed.set()

    upkeeping._show = shown
    running = asyncio.create_task(upkeeping.run())
    await failed.wait()
    upkeeping.retry()
    await asyncio.wait_for(mended.wait(), 30)
    running.cancel()
    assert len(tries) == 2


async def test_work_for_ever_that_fails_is_begun_anew_and_logged(caplog):
    """A watermark that nobody keeps any more would say of a member that is behind that it may answer."""
    fails, pauses = [ValueError("one"), ValueError("two")], []

    async def watermark() -> None:
        if fails:
            raise fails.pop(0)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    with caplog.at_level(logging.ERROR):
        await lasting(watermark, pause)
    assert pauses == [0.5, 1.0]
    assert caplog.text.count("watermark failed, and is begun anew") == 2
    assert "ValueError: two" in caplog.text


async def test_work_for_ever_that_did_well_for_a_while_is_soon_begun_anew(monkeypatch):
    """What fails once a month is not left for longer each time: a member without a watermark says what it may not."""
    clock, lives, pauses = [0.0], [0.0, 0.0, 31.0, 0.0], []

    async def watermark() -> None:
        if lives:
            clock[0] += lives.pop(0)
            raise ValueError

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
    await lasting(watermark, pause)
    assert pauses == [0.5, 1.0, 0.5, 1.0]


async def test_work_for_ever_ends_when_it_is_cancelled():
    """A manager process that stops or restarts leaves nothing behind."""
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(lasting(work))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


def test_changes_one_upon_another_are_looked_at_at_once_a_few_times_and_then_once_a_second():
    """The steps that follow one change wait for nothing, and changes that come all the time cost no more than rest."""
    pace = Pace(1.0, in_a_row=3)
    assert [pace.wait(100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert pace.wait(100.0) == 1.0
    assert pace.wait(101.0) == 1.0


def test_looks_that_may_be_taken_at_once_come_back_with_time():
    """After a rest as many follow each other at once as at first, and no more however long it was."""
    pace = Pace(1.0, in_a_row=3)
    for _ in range(4):
        pace.wait(100.0)
    assert pace.wait(103.0) == 0.0
    assert [pace.wait(1000.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


async def test_looks_of_the_rhythm_take_nothing_from_those_that_follow_changes(monkeypatch):
    """The steps of a switch of keys wait for nothing, also where keys are looked at every second for ever."""
    waits: list[float] = []
    looks, loop = 0, asyncio.get_running_loop()
    before_change, all_done = asyncio.Event(), asyncio.Event()

    class Recorded(Pace):
        def wait(self, now: float) -> float:
            waits.append(now)
            return super().wait(now)

    def work() -> bool:
        nonlocal looks
        looks += 1
        if looks == 20:
            loop.call_soon_threadsafe(before_change.set)
        elif looks > 20 and waits:
            loop.call_soon_threadsafe(all_done.set)
        return False

    monkeypatch.setattr(upkeep, "Pace", Recorded)
    upkeeping = Upkeeping([Upkeep("keys", 0.001, work, on_change=True)], lambda: None)
    running = asyncio.create_task(upkeeping.run())
    await asyncio.wait_for(before_change.wait(), 30)
    assert not waits
    upkeeping.wake()
    await asyncio.wait_for(all_done.wait(), 30)
    running.cancel()
    assert len(waits) == 1


def test_work_without_a_rhythm_is_never_made_to_wait():
    """A clone that follows its master begins again as soon as it has what was new."""
    pace = Pace(0.0)
    assert {pace.wait(100.0) for _ in range(100)} == {0.0}
