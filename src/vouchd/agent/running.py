"""The manager process as the operations see it: calls from any thread, done on its loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from vouchd.api.checks import Check
from vouchd.api.services import SETTLE_SECONDS
from vouchd.core.facts import Epoch
from vouchd.core.status import ServingState
from vouchd.ee.counters import Snapshot
from vouchd.instance.report import InstanceReport
from vouchd.service.explaining import Explanation
from vouchd.service.pulling import SourceState

T = TypeVar("T")


class OnLoop(Protocol):
    """What the manager process shows of itself on its loop; all times in POSIX seconds."""

    def report(self) -> InstanceReport:
        """What is served now."""

    def checks(self) -> tuple[Check, ...]:
        """The readiness checks."""

    async def snapshot(self) -> Snapshot:
        """The counters of all workers together: see ee.counters."""

    async def fetch(self, source: str) -> SourceState:
        """Ask that source of CRLs now, and what came of it. Raises: NotFound."""

    async def restart(self) -> None:
        """Have the instance restart when the answer to this request is given. Raises: VouchdError when it cannot."""

    async def stop(self) -> None:
        """Have the instance stop when the answer to this request is given."""

    async def settle(self, within_seconds: float = SETTLE_SECONDS, epochs: Sequence[Epoch] = ()) -> bool:
        """Wait until every worker answers from what the store holds now, and whether that is these epochs in time."""

    async def newer_than(self, revision: int) -> None:
        """Wait until the store has a higher revision; the caller limits the time."""


class RunningManager:
    """See api.services.Running. `state` is what is answered from now, `explained` tells why.

    While `ingest_lock()` is held, no CRL is taken in.
    """

    def __init__(
        self,
        inside: OnLoop,
        loop: asyncio.AbstractEventLoop,
        state: Callable[[], ServingState],
        explained: Callable[[str, bytes, int, str], Explanation],
        ingest_lock: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._inside = inside
        self._loop = loop
        self.state = state
        self.explain = explained
        self._ingest_lock = ingest_lock

    def pid(self) -> int | None:
        """This process."""
        return os.getpid()

    def report(self) -> InstanceReport:
        """What is served now."""
        return self._look(self._inside.report)

    def checks(self) -> tuple[Check, ...]:
        """The readiness checks."""
        return self._look(self._inside.checks)

    def snapshot(self) -> Snapshot:
        """The counters of all workers together."""
        return self._wait(self._inside.snapshot())

    def fetch(self, source: str) -> SourceState:
        """Ask that source of CRLs now, and what came of it. Raises: NotFound."""
        return self._wait(self._inside.fetch(source))

    def restart(self) -> None:
        """Have it restart when the answer to this request is given."""
        self._wait(self._inside.restart())

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Accept no CRL meanwhile, and stop when the answer to this request is given."""
        with self._ingest_lock():
            yield
        self._wait(self._inside.stop())

    def settle(self, within_seconds: float = SETTLE_SECONDS, epochs: Sequence[Epoch] = ()) -> bool:
        """Wait until every worker answers from what the store holds now, and whether that is these epochs in time."""
        return self._wait(self._inside.settle(within_seconds, epochs))

    def _look(self, read: Callable[[], T]) -> T:
        """What `read` returns on the loop, whether the caller is there or in a thread."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001  get_running_loop raises in a thread
            return read()

        async def look() -> T:
            return read()

        return self._wait(look())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
