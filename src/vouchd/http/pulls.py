"""Runs the CRL sources of the manager process, each attempt in a thread; when they are due is `service.pulling`'s."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from vouchd.core.ports import Clock
from vouchd.threads import in_thread
from vouchd.service.pulling import Pulling, SourceState

_log = logging.getLogger(__name__)

_AT_ONCE = 8  # sources that are asked at the same time
_TICK_SECONDS = 1.0  # a clock that is set forward is noticed within this time


class Pulls:
    """All sources of the instance; `changed` is called after an attempt that took something in or changed an error."""

    def __init__(self, pulls: Sequence[Pulling], clock: Clock, changed: Callable[[], None]) -> None:
        self._pulls = pulls
        self._clock = clock
        self._changed = changed
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @property
    def states(self) -> tuple[SourceState, ...]:
        """The present state of every source."""
        return tuple(pulling.state for pulling in self._pulls)

    async def run(self) -> None:
        """Ask the sources when they are due, until cancelled."""
        await asyncio.gather(*(self._follow(pulling) for pulling in self._pulls))

    async def _follow(self, pulling: Pulling) -> None:
        while True:
            now = self._clock.now()
            if now < pulling.state.next_attempt:
                await asyncio.sleep(min(_TICK_SECONDS, pulling.state.next_attempt - now))
                continue
            before = pulling.state
            try:
                async with self._slots:
                    state = await in_thread(lambda at=now: pulling.attempt(at))  # type: ignore[misc]
            except Exception:  # noqa: BLE001  outermost: a bug in one source must not stop the others
                _log.exception("source %s failed", before.name)
                await asyncio.sleep(60)
                continue
            if state.last_error and state.last_error != before.last_error:
                _log.error("source %s: %s", state.name, state.last_error)
            if (state.accepted, state.last_error) != (before.accepted, before.last_error):
                self._changed()
