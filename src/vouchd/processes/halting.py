"""What stops the answering, as far as the manager process acts upon it: a self test, and the watermark."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from vouchd.cloning.watermark import Watermark
from vouchd.errors import StoreError
from vouchd.instance.selftests.start_proof import StartProof
from vouchd.processes.pool import WorkerPool
from vouchd.processes.store_watch import Published
from vouchd.service.answering import BEHIND, UNPROVED
from vouchd.service.selftests import SelfTestName, SelfTestResult, Trigger, failures, halting

_log = logging.getLogger(__name__)

Halt = Callable[[bool], None]
Withhold = Callable[[frozenset[str], str], None]


def ignore(halted: bool) -> None:  # noqa: FBT001  see Halt
    """There is no responder in this process."""


def overlook(authority_ids: frozenset[str], cause: str) -> None:
    """There is no responder in this process."""


class Withholding:
    """Silences the CAs that have been late too long, or are not proved, in the workers and with `withhold` here.

    `changed` is called when those that are late are others than before: the manifest tells of them over a restart;
    `shown` when more of the start is proved.
    """

    def __init__(
        self,
        watermark: Watermark,
        pool: WorkerPool,
        withhold: Withhold,
        changed: Callable[[], None],
        proof: StartProof | None = None,
        shown: Callable[[], None] = lambda: None,
    ) -> None:
        self._watermark = watermark
        self._pool = pool
        self._withhold = withhold
        self._changed = changed
        self._proof = proof
        self._shown = shown
        self._unproved: frozenset[str] = frozenset()
        self._manifests: dict[int, Published] = {}  # those that a worker may answer from
        self._served = 0  # the version that all answered from
        self._late = watermark.late()

    def published(self, published: Published) -> None:
        """The manifest of that version has these epochs."""
        self._manifests[published.version] = published

    def look(self) -> None:
        """Hold what every worker answers from against what is known."""
        oldest = self._pool.oldest
        if oldest:  # before the first worker answers nothing is answered wrongly
            oldest_manifest = self._manifests.get(oldest)
            if oldest_manifest is not None:  # else it is not known what is answered: no progress
                changed = changed_between(self._manifests, self._served, oldest)
                self._watermark.serve(oldest_manifest.epochs, changed)
                self._served = oldest
            self._manifests = {version: one for version, one in self._manifests.items() if version >= oldest}
        self._look_at_proof()
        late = self._watermark.late()
        self._pool.withhold(late)
        self._withhold(late, BEHIND)
        if late == self._late:
            return
        self._late = late
        if late:
            sources = ", ".join(sorted(self._watermark.sources()))
            _log.error("tryLater for %d CAs: something newer is known and not answered from (%s)", len(late), sources)
        else:
            _log.info("every CA is answered for again")
        self._changed()

    def _look_at_proof(self) -> None:
        if self._proof is None:
            return
        if self._pool.oldest:  # a worker answers
            self._proof.go()
        if self._proof.look():
            self._shown()
        unproved = self._proof.unproved
        if unproved != self._unproved:
            self._unproved = unproved
            self._pool.withhold(unproved, UNPROVED)
            self._withhold(unproved, UNPROVED)


def changed_between(manifests: Mapping[int, Published], served: int, version: int) -> frozenset[str] | None:
    """The ids of the CAs that a manifest has otherwise than the one of version `served`; None: any may be."""
    changed = frozenset[str]()
    while version != served:
        one = manifests.get(version)
        if one is None or one.changed is None or one.former >= version:
            return None
        changed, version = changed | one.changed, one.former
    return changed


class Verdict:
    """The newest results, read with `read` whenever `look` is called; `halt` reaches this process's own responder."""

    def __init__(
        self,
        read: Callable[[], tuple[SelfTestResult, ...]],
        pool: WorkerPool,
        halt: Halt,
    ) -> None:
        self._read = read
        self._pool = pool
        self._halt = halt
        self.results: tuple[SelfTestResult, ...] = ()
        self._halted: bool | None = None
        self.why = ""  # nothing is answered now; empty: it is

    @property
    def heeded(self) -> str:
        """`why` once every worker has stopped answering, empty once all of them answer again."""
        if self.why:
            return self.why if self._pool.halted else ""
        return "" if self._pool.answering else "about to answer again"

    @property
    def acquits(self) -> bool:
        """Whether in a run since the start all CAs have passed of which no part fails."""
        runs = (one for one in self.results if one.name == SelfTestName.CANARY and one.trigger == Trigger.ON_DEMAND)
        return any(one.ok or one.parts_alone for one in runs)

    def look(self) -> None:
        """Read the results and do what they ask for."""
        try:
            self.results = self._read()
        except StoreError as error:
            _log.error("self tests: %s", error)  # what was known before holds
            return
        why = halting(self.results)
        if self._halted != bool(why):  # at first too: workers of before a restart may have stopped
            self._halted = bool(why)
            self._halt(self._halted)
            self._pool.halt(self._halted)
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
