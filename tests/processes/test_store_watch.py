"""The store watch on a store that does what the test says; its pauses are never waited for."""

from __future__ import annotations

import asyncio

import pytest

from vouchd.errors import StoreUnavailable
from vouchd.processes.store_watch import Published, StoreWatch


class Publication:
    """A store of one number; counts what it is asked."""

    def __init__(self) -> None:
        self.number = 1
        self.problem: Exception | None = None
        self.publications = 0
        self.tidied = 0
        self.folds = 0
        self.may_tidy = True
        self.behind: frozenset[str] = frozenset()
        self.full = False
        self.suspects: list[str] = []

    def revision(self) -> int:
        if self.problem:
            raise self.problem
        return self.number

    def current(self) -> Published:
        return Published(0)

    def publish(self) -> Published:
        self.publications += 1
        if self.full:
            raise StoreUnavailable("no space")
        self.suspects.clear()
        return Published(self.number)

    def suspect(self, names) -> None:
        self.suspects += names

    def suspect_all(self, *, manifest: bool = False) -> None:
        self.suspects.append("manifest" if manifest else "all")

    has_folds = False

    def fold(self) -> bool:
        self.folds += 1
        return False

    @property
    def doubtful(self) -> bool:
        return bool(self.suspects)

    def retell(self) -> Published:
        return Published(self.number, behind=self.behind)

    def tidy(self) -> bool:
        self.tidied += 1
        return self.may_tidy


class Watched:
    """A watch whose rests the test ends one by one."""

    def __init__(self, *, refresh_seconds: int = 0, **rhythm: float) -> None:
        self.store = Publication()
        self.versions: list[int] = []
        self.changes = 0
        self.loaded = True
        self.rests: asyncio.Queue[float] = asyncio.Queue()
        self.go = asyncio.Semaphore(0)
        self.watch = StoreWatch(
            self.store,
            lambda published: self.versions.append(published.version),
            self._changed,
            lambda: self.loaded,
            refresh_seconds,
            **rhythm,
        )
        self.watch._rest = self._rest

    def _changed(self) -> None:
        self.changes += 1

    async def _rest(self, seconds: float) -> None:
        self.rests.put_nowait(seconds)
        await self.go.acquire()

    async def step(self) -> float:
        """Let the watch look once; how long it would rest then."""
        self.go.release()
        return await self.rests.get()


@pytest.fixture
async def watched():
    """A running watch that has looked once."""
    watched = Watched()
    task = asyncio.create_task(watched.watch.run())
    await watched.rests.get()
    yield watched
    task.cancel()


async def test_start_publishes_once():
    """What a start has published is not published again by the first look, and is what is told."""
    starting = Watched()
    starting.watch.begin()
    assert starting.watch.published.version == 1
    task = asyncio.create_task(starting.watch.run())
    await starting.rests.get()
    task.cancel()
    assert starting.store.publications == 1
    assert starting.watch.revision == 1


@pytest.mark.parametrize("problem", [StoreUnavailable("away"), RuntimeError("a bug")], ids=["away", "bug"])
async def test_start_without_its_store_goes_by_what_was_published_last(problem):
    """An instance starts whatever keeps its store from being read, and publishes once nothing does."""
    starting = Watched()
    starting.store.problem = problem
    starting.watch.begin()
    assert starting.watch.published.version == 0
    starting.store.problem = None
    task = asyncio.create_task(starting.watch.run())
    await starting.rests.get()
    task.cancel()
    assert starting.versions == [1]


async def test_first_look_publishes(watched):
    """The first look publishes whatever is there."""
    assert watched.versions == [1]


async def test_unchanged_store_is_not_published_again(watched):
    """A look at an unchanged store costs one question and nothing else."""
    for _ in range(5):
        assert await watched.step() == 0.2
    assert watched.store.publications == 1


async def test_store_that_tells_of_changes_is_looked_at_less_often():
    """It costs its server less, and one that is away is tried again as soon as any other."""
    watched = Watched(poll_seconds=1.0)
    task = asyncio.create_task(watched.watch.run())
    assert await watched.rests.get() == 1.0
    watched.store.problem = StoreUnavailable("away")
    assert await watched.step() == 0.4
    watched.store.problem = None
    assert await watched.step() == 1.0
    task.cancel()


async def test_changed_store_is_published(watched):
    """Each new revision is published at the next look."""
    watched.store.number = 7
    await watched.step()
    assert watched.versions == [1, 7]


async def test_forced_look_publishes_although_nothing_changed(watched):
    """SIGUSR1 has the files looked at even when the revision is the former one: once."""
    watched.watch.look_now()
    await watched.step()
    await watched.step()
    assert watched.store.publications == 2


async def test_store_away_is_shown_and_tried_again_more_slowly(watched):
    """While the store is away the pauses grow up to ten seconds; what is shown changes once."""
    watched.store.problem = StoreUnavailable("away")
    pauses = [await watched.step() for _ in range(8)]
    assert pauses == [0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    assert (watched.watch.error, watched.changes) == ("away", 1)
    watched.store.problem = None
    assert await watched.step() == 0.2
    assert (watched.watch.error, watched.changes) == ("", 2)


async def test_bug_does_not_stop_the_watch(watched):
    """An unexpected error is shown as one of ours, and the watch goes on."""
    watched.store.problem = ZeroDivisionError()
    await watched.step()
    assert watched.watch.error == "internal error, see the log"
    watched.store.problem = None
    watched.store.number = 2
    await watched.step()
    assert watched.versions == [1, 2]


async def test_files_are_tidied_once_all_have_loaded_and_nobody_is_at_work(watched):
    """Old files stay while a worker may load them or a CRL is taken in, and go once afterwards."""
    watched.loaded = False
    await watched.step()
    assert watched.store.tidied == 0
    watched.loaded, watched.store.may_tidy = True, False
    await watched.step()
    watched.store.may_tidy = True
    await watched.step()
    assert watched.store.tidied == 2
    await watched.step()
    assert watched.store.tidied == 2


async def test_refresh_publishes_without_a_change():
    """With refreshInSec everything is re-read although nothing seems to have changed."""
    watched = Watched(refresh_seconds=1)
    task = asyncio.create_task(watched.watch.run())
    await watched.rests.get()
    watched.watch._refreshed -= 2
    await watched.step()
    assert watched.store.publications == 2
    task.cancel()


async def test_waiting_for_a_newer_revision_ends_with_the_look_that_sees_it(watched):
    """Whoever follows the store hears of a change from the watch, and not before there is one."""
    await watched.step()
    waiting = asyncio.ensure_future(watched.watch.newer_than(1))
    await watched.step()
    assert not waiting.done()
    watched.store.number = 2
    await watched.step()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(watched.watch.newer_than(1), 5)


async def test_what_is_behind_is_told_while_the_store_is_away(watched):
    """A member whose store is away publishes all the same that another one has a newer CRL, once."""
    watched.store.problem = StoreUnavailable("away")
    await watched.step()
    assert watched.versions == [1]
    watched.store.behind = frozenset({"ab"})
    await watched.step()
    await watched.step()
    assert watched.versions == [1, 1]
    assert watched.watch.published.behind == {"ab"}


async def test_bug_while_the_store_is_away_does_not_stop_the_watch(watched, monkeypatch):
    """An index file that is gone when what is behind is to be told leaves the watch running."""

    def gone():
        raise FileNotFoundError("index")

    watched.store.problem = StoreUnavailable("away")
    monkeypatch.setattr(watched.store, "retell", gone)
    async with asyncio.timeout(10):
        await watched.step()
        watched.store.problem = None
        await watched.step()
    assert watched.watch.error == ""


async def test_forced_look_that_failed_is_still_wanted(watched):
    """What could not be written is tried until it is, although the store has not changed; the error stands so long."""
    watched.store.full = True
    watched.watch.look_now()
    for count in (2, 3):
        await watched.step()
        assert (watched.store.publications, watched.watch.error) == (count, "no space")
    watched.store.full = False
    await watched.step()
    await watched.step()
    assert (watched.store.publications, watched.watch.error) == (4, "")


async def test_damaged_index_is_published_anew_although_nothing_changed(watched):
    """A file that a worker found damaged is made again at the next look, once."""
    watched.watch.suspect(["a.idx"])
    await watched.step()
    await watched.step()
    assert watched.store.publications == 2


async def test_worker_that_cannot_load_has_everything_looked_at(watched):
    """The files and the manifest that it failed at are not believed any more."""
    watched.watch.mend()
    await watched.step()
    assert watched.store.publications == 2


async def test_deltas_are_folded_when_there_is_nothing_else_to_do(watched):
    """A look that publishes does not wait for it."""
    watched.store.number = 2
    await watched.step()
    await watched.step()
    assert not any(task.get_coro().__name__ == "_folded" for task in asyncio.all_tasks())  # none is due
    watched.store.has_folds, before = True, watched.store.folds
    await watched.step()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_folded"))
    assert watched.store.folds == before + 1


async def test_fold_that_fails_stops_no_look(watched, monkeypatch):
    """It is logged, and the store is watched on."""

    def fails() -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(watched.store, "fold", fails)
    watched.store.has_folds = True
    await watched.step()
    await watched.step()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_folded"))
    watched.store.number = 2
    await watched.step()
    assert watched.versions[-1] == 2
