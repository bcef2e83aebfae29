"""What stops the answering, as far as the manager process acts upon it: a critical self test, staleness untold."""

from __future__ import annotations

import logging
from collections.abc import Callable

from vouchd.errors import StoreError
from vouchd.processes.pool import WorkerPool
from vouchd.service.selftests import SelfTestResult, failures, halting

_log = logging.getLogger(__name__)

Halt = Callable[[bool], None]


def ignore(halted: bool) -> None:  # noqa: FBT001  see Halt
    """There is no responder in this process."""


class Verdict:
    """The newest results, read with `read` whenever `look` is called; `halt` reaches this process's own responder.

    `untold` is another reason to halt, empty: there is none.
    """

    def __init__(
        self,
        read: Callable[[], tuple[SelfTestResult, ...]],
        pool: WorkerPool,
        halt: Halt,
        untold: Callable[[], str] = str,
    ) -> None:
        self._untold = untold
        self._read = read
        self._pool = pool
        self._halt = halt
        self.results: tuple[SelfTestResult, ...] = ()
        self._told: bool | None = None
        self.why = ""  # nothing is answered now; empty: it is

    @property
    def heeded(self) -> str:
        """`why` once every worker has stopped answering, empty once all of them answer again."""
        if self.why:
            return self.why if self._pool.halted else ""
        return "" if self._pool.answering else "about to answer again"

    def look(self) -> None:
        """Read the results and do what they ask for."""
        try:
            self.results = self._read()
        except StoreError as error:
            _log.error("self tests: %s", error)
            if not self._untold():  # what was known before holds
                return
        why = halting(self.results) or self._untold()
        if self._told != bool(why):  # at first too: workers of before a restart may have stopped
            self._told = bool(why)
            self._halt(self._told)
            self._pool.halt(self._told)
        if why == self.why:
            return
        self.why = why
        if why:
            _log.error("answering tryLater only: %s", why)
        else:
            _log.info("answering again")

    def failed(self) -> tuple[str, ...]:
        """One line for each test that failed."""
        return failures(self.results)
