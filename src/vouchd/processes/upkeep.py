"""Work of the manager process that comes back: following a master, looking at the other members, tidying up.

Each piece of work has a rhythm of its own and runs in a thread, one at a time; one that fails is tried again ever more
slowly, and says why once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from vouchd.core.ports import Clock
from vouchd.errors import NotFound, VouchdError
from vouchd.pkix.purposes import Validity
from vouchd.service.pulling import Pulling, SourceState
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 30.0
_FIRST_PAUSE_SECONDS = 0.5
_IN_A_ROW = 10  # changes that are looked at one by one as they come, before several are looked at together
BETWEEN_LOOKS_SECONDS = 1.0  # in the long run, when changes come all the time


async def lasting(
    work: Callable[[], Awaitable[None]], pause: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Do the work until it ends or is cancelled; what it fails for is logged, and it is begun anew.

    For what the process does for as long as it runs: whoever wrote it has foreseen what can fail, and where they have
    not, such as for the watermark, the member must not go on without it.
    """
    loop, seconds = asyncio.get_running_loop(), _FIRST_PAUSE_SECONDS
    while True:
        begun = loop.time()
        try:
            await work()
        except Exception:  # noqa: BLE001  outermost: whatever it is, the member must not go on without it
            _log.exception("%s failed, and is begun anew", getattr(work, "__qualname__", work))
        else:
            return
        if loop.time() - begun > _LONGEST_PAUSE_SECONDS:  # it did its work meanwhile
            seconds = _FIRST_PAUSE_SECONDS
        await pause(seconds)
        seconds = min(2 * seconds, _LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """`work` is done every `seconds`, and after changes of the store if `on_change`; it tells whether it changed any.

    Changes that come all the time, as CRLs of many CAs do, are looked at together, once a second; work whose rhythm is
    quicker keeps it. Unless `at_start` it is first done when `seconds` have passed. It may block.

    Raises: VouchdError when it could not be done now.
    """

    name: str
    seconds: float
    work: Callable[[], bool]
    on_change: bool = False
    at_start: bool = True


class Pace:
    """How often at most: so many times in a row, and in the long run every `seconds` (the generic cell rate algorithm).

    What follows one change, such as the steps of a switch of keys, is not held up by it; what ten changes a second
    would have done ten times is.
    """

    def __init__(self, seconds: float, in_a_row: int = _IN_A_ROW) -> None:
        self._seconds, self._lead = seconds, in_a_row * seconds
        self._spent = -math.inf  # up to that moment

    def wait(self, now: float) -> float:
        """Be done once more; in how many seconds from `now`."""
        self._spent = max(self._spent, now - self._lead) + self._seconds
        return max(0.0, self._spent - now)


class Upkeeping:
    """Does all of it; `changed` is called when a piece of work changed what is served."""

    def __init__(self, works: Sequence[Upkeep], changed: Callable[[], None]) -> None:
        self._works = tuple(works)
        self._changed = changed
        self._woken = {work.name: asyncio.Event() for work in self._works}
        self.errors: dict[str, str] = {}

    def wake(self) -> None:
        """The store has changed: what depends on it is done soon."""
        for work in self._works:
            if work.on_change:
                self._woken[work.name].set()

    def retry(self) -> None:
        """What failed is tried again soon, however long it would pause."""
        for name in self.errors:
            self._woken[name].set()

    async def run(self) -> None:
        """Do the work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in self._works:
                group.create_task(self._repeat(work))

    async def _repeat(self, work: Upkeep) -> None:
        failures, loop, pace = 0, asyncio.get_running_loop(), Pace(min(work.seconds, BETWEEN_LOOKS_SECONDS))
        if not work.at_start:
            await asyncio.sleep(work.seconds)
        while True:
            if self._woken[work.name].is_set():  # what the rhythm has done takes nothing from what changes may
                await asyncio.sleep(pace.wait(loop.time()))
            self._woken[work.name].clear()
            pause = work.seconds
            try:
                if await in_thread(work.work):
                    self._changed()
                self._show(work.name, "")
                failures = 0
            except VouchdError as error:
                failures += 1
                self._show(work.name, str(error))
            except Exception:  # noqa: BLE001  outermost: a bug in one piece of work must not stop the others
                failures += 1
                _log.exception("%s failed", work.name)
                self._show(work.name, "internal error, see the log")
            if failures:
                pause = max(pause, min(_FIRST_PAUSE_SECONDS * 2 ** min(failures, 10), _LONGEST_PAUSE_SECONDS))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken[work.name].wait()

    def _show(self, name: str, error: str) -> None:
        if error == self.errors.get(name, ""):
            return
        if error:
            _log.error("%s: %s", name, error)
            self.errors[name] = error
        else:
            _log.info("%s: goes on", name)
            self.errors.pop(name, None)


# Certificates that end soon are told in the log once a day, while there is time to renew them.

_log = logging.getLogger(__name__)

_DAY = 86400


def expiring(certificates: Mapping[str, Validity], at: int) -> dict[str, str]:
    """Words by name on each certificate that has ended or ends soon."""
    return {name: words for name, validity in certificates.items() if (words := validity.warning(at))}


async def warn_daily(
    certificates: Mapping[str, Validity], clock: Clock, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Log each certificate that ends soon, every day for ever, first a day after the start, which warns too."""
    while True:
        await pause(_DAY)
        for name, words in expiring(certificates, clock.now()).items():
            _log.warning("the certificate %s %s; renew it: vouchd certs renew|request %s", name, words, name)


# Runs the CRL sources of the manager process, each attempt in a thread; when they are due is `service.pulling`'s.

_log = logging.getLogger(__name__)

_AT_ONCE = 64  # sources that are asked at the same time
_AT_ONCE_OF_A_HOST = 2  # of them of one host: a slow one keeps none of the others waiting
_TICK_SECONDS = 1.0  # a clock that is set forward is noticed within this time


class Pulls:
    """All sources of the instance; `changed` is called after an attempt that took something in or changed an error."""

    def __init__(self, pulls: Sequence[Pulling], clock: Clock, changed: Callable[[], None]) -> None:
        self._pulls = pulls
        self._clock = clock
        self._changed = changed
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._slots_of = {pulling.host: asyncio.Semaphore(_AT_ONCE_OF_A_HOST) for pulling in pulls if pulling.host}
        self._hurried = {pulling.state.name: asyncio.Event() for pulling in pulls}
        self._waiting: dict[str, list[asyncio.Future[SourceState]]] = {pulling.state.name: [] for pulling in pulls}

    @property
    def states(self) -> tuple[SourceState, ...]:
        """The present state of every source."""
        return tuple(pulling.state for pulling in self._pulls)

    async def fetch(self, name: str) -> SourceState:
        """Ask that source now, and what came of it. Raises: NotFound."""
        if name not in self._waiting:
            raise NotFound(f"no source {name}", hint="vouchd source list names them")
        done: asyncio.Future[SourceState] = asyncio.get_running_loop().create_future()
        self._waiting[name].append(done)
        self._hurried[name].set()
        return await done

    def ask(self, names: Iterable[str]) -> None:
        """Ask these sources now; of others nothing is known here."""
        for name in names:
            if event := self._hurried.get(name):
                event.set()

    async def run(self) -> None:
        """Ask the sources when they are due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for pulling in self._pulls:
                group.create_task(self._follow(pulling))

    async def _follow(self, pulling: Pulling) -> None:
        hurried = self._hurried[pulling.state.name]
        while True:
            now = self._clock.now()
            if not hurried.is_set() and (pulling.state.paused or now < pulling.state.next_attempt):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_SECONDS):
                        await hurried.wait()
                continue
            before, by_request = pulling.state, hurried.is_set()
            hurried.clear()
            waiting = self._waiting[before.name]
            self._waiting[before.name] = []
            try:
                async with self._slots_of.get(pulling.host) or nullcontext(), self._slots:
                    state = await in_thread(lambda at=now: pulling.attempt(at))  # type: ignore[misc]
            except Exception:  # noqa: BLE001  outermost: a bug in one source must not stop the others
                _log.exception("source %s failed", before.name)
                await asyncio.sleep(60)
                continue
            finally:
                for done in waiting:
                    if not done.done():  # whoever asked may have gone
                        done.set_result(pulling.state)
            if state.last_error and state.last_error != before.last_error:
                _log.error("source %s: %s", state.name, state.last_error)
            if by_request or (state.accepted, state.last_error) != (before.accepted, before.last_error):
                self._changed()
