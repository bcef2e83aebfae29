"""Work that comes back: when it is done first."""

from __future__ import annotations

import asyncio

from vouchd.errors import StoreUnavailable
from vouchd.processes.upkeep import Upkeep, Upkeeping


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
