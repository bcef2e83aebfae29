"""The worker processes of one manager process: one a slot, started again when they end, all told what to load."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence

from vouchd.ee.counters import Snapshot, ended, merge
from vouchd.errors import LifecycleError
from vouchd.instance.report import WorkerReport
from vouchd.processes.worker_process import Answered, Damaged, WorkerProcess, ignore, overlook
from vouchd.service.answering import BEHIND, UNPROVED

_log = logging.getLogger(__name__)

_SETTLED_SECONDS = 30.0  # a worker that lived this long did not fail at its start
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 10.0
_PULSE_SECONDS = 5.0
_DEAF_SECONDS = 30.0
_STARTING_SECONDS = 600.0


class WorkerPool:
    """Keeps one worker running in each slot.

    There may be more sockets than slots (after a restart with fewer workers): each socket is served by one of them,
    because a socket that is closed takes its waiting connections along. `adopted` are the workers of the manager
    process before a restart; they answer until `retire_adopted`.
    """

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sequence[socket.socket],
        slots: int,
        changed: Callable[[], None],
        mend: Callable[[], None],
        *,
        adopted: Sequence[WorkerProcess] = (),
        kept: Snapshot | None = None,
        answer_sink: Answered | None = None,
        damaged: Damaged = overlook,
    ) -> None:
        """`command` gets the slot number as its last argument; `kept` are counters of workers that ended.

        `answer_sink` takes what the audit log is to be told of answers, `damaged` the names of damaged index files.
        `changed` is called when something that is shown changes, `mend` when a worker cannot load what it was told to.
        """
        self._command = command
        self._sockets = sockets
        self._slots = slots
        self._answer_sink = answer_sink or ignore
        self._damaged = damaged
        self._show_change = changed
        self._change = asyncio.Event()
        self._mend = mend
        self.adopted = list(adopted)
        self.kept: Snapshot = kept or {}
        self.beside: Callable[[], Snapshot] = dict  # counters of what the manager process itself answers
        self.restarts = 0
        self.version = 0
        self._halted = False
        self._withheld: dict[str, frozenset[str]] = {}  # by cause
        self._workers: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start a worker in every slot."""
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in range(self._slots)]
        self._keepers.append(asyncio.create_task(self._feel_pulse()))

    @property
    def workers(self) -> tuple[WorkerProcess, ...]:
        """The living workers, those of before the restart last."""
        alive = [*self._workers.values(), *self.adopted]
        return tuple(worker for worker in alive if not worker.ended.is_set())

    @property
    def reports(self) -> tuple[WorkerReport, ...]:
        """What is shown of the living workers."""
        return tuple(WorkerReport(worker.slot, worker.pid, worker.loaded, worker.confined) for worker in self.workers)

    @property
    def ready(self) -> int:
        """How many workers answer from the current manifest."""
        return sum(worker.loaded == self.version for worker in self.workers) if self.version else 0

    @property
    def complete(self) -> bool:
        """Whether every slot has a worker of this manager that answers from the current manifest."""
        own = [worker for worker in self._workers.values() if not worker.ended.is_set()]
        return bool(self.version) and len(own) == self._slots and all(w.loaded == self.version for w in own)

    async def completed(self) -> None:
        """Wait until `complete`."""
        while not self.complete:
            self._change.clear()
            await self._change.wait()

    async def get_ready(self, version: int) -> None:
        """Have the workers of this process load manifest `version` and wait; returns when each was sent the word."""
        for worker in self._workers.values():
            worker.tell({"get_ready": version})
        await asyncio.gather(*(worker.opened.wait() for worker in self._workers.values()))

    def load(self, version: int) -> None:
        """Tell every worker that manifest `version` is on disk; workers that start later are told as well."""
        self.version = version
        for worker in self.workers:
            worker.tell({"load": version})
        self._changed()

    def halt(self, halted: bool) -> None:  # noqa: FBT001  a state, not an option
        """Have every worker answer tryLater only, or answer again; workers that start later are told as well."""
        self._halted = halted
        for worker in self.workers:
            worker.tell({"halt": halted})

    def withhold(self, authority_ids: frozenset[str], cause: str = BEHIND) -> None:
        """Have every worker answer tryLater for these CAs and for no others for that cause (`Responder.withhold`).

        Workers that start later are told, too.
        """
        if authority_ids != self._withheld.get(cause, frozenset()):
            self._withheld[cause] = authority_ids
            for worker in self.workers:
                worker.withhold(authority_ids, cause)
            if cause != UNPROVED:  # of a start it is shown now and then how far it is: a report goes by the CAs
                self._changed()

    @property
    def oldest(self) -> int:
        """The oldest manifest that a worker answers from; 0: none answers."""
        return min((worker.loaded for worker in self.workers if worker.loaded), default=0)

    @property
    def halted(self) -> bool:
        """Whether every living worker said that it answers tryLater only."""
        return bool(self.workers) and all(worker.halted for worker in self.workers)

    @property
    def answering(self) -> bool:
        """Whether no living worker answers tryLater only."""
        return not any(worker.halted for worker in self.workers)

    async def snapshot(self, within_seconds: float = 2.0) -> Snapshot:
        """The sum of what all workers counted; of one that does not answer in time what it last said."""
        await asyncio.gather(*(worker.ask_metrics(within_seconds) for worker in self.workers))
        known = [*self._workers.values(), *self.adopted]
        return merge(
            [self.kept, self.beside(), *(ended(w.snapshot) if w.ended.is_set() else w.snapshot for w in known)]
        )

    async def retire_adopted(self, grace_seconds: float) -> None:
        """End the workers of before the restart; they finish what they have begun."""
        await self._stop(self.adopted, grace_seconds)
        self.adopted = []

    async def stop(self, grace_seconds: float) -> None:
        """End all workers; they finish what they have begun, at most for `grace_seconds`."""
        await self.release()
        await self._stop(self.workers, grace_seconds)

    async def release(self) -> None:
        """Go on without starting workers again: the caller stops them, or hands them to its successor."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _stop(self, workers: Sequence[WorkerProcess], grace_seconds: float) -> None:
        await asyncio.gather(*(worker.stop(grace_seconds) for worker in workers))
        for worker in workers:
            self._keep_counters(worker)

    async def _keep(self, slot: int) -> None:
        """Keep one worker running in `slot`, with a growing delay while it fails at its start."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            begun = loop.time()
            try:
                worker = self._start(slot)
                await worker.ended.wait()
                self._keep_counters(worker)
            except LifecycleError as error:
                _log.error("slot %d: %s", slot, error)
            failures = 0 if loop.time() - begun > _SETTLED_SECONDS else failures + 1
            self.restarts += 1
            self._changed()
            if failures > 1:  # the first time at once: connections are waiting
                await asyncio.sleep(min(_FIRST_DELAY_SECONDS * 2 ** (failures - 2), _LONGEST_DELAY_SECONDS))

    def _start(self, slot: int) -> WorkerProcess:
        former = self._workers.get(slot)
        if former is not None and not former.ended.is_set():  # a restart was begun and did not come about
            return former
        sockets = self._sockets[slot :: self._slots]
        command = [*self._command, str(slot)]
        worker = WorkerProcess.start(slot, command, sockets, self._changed, self._answer_sink, self._damaged)
        self._workers[slot] = worker
        self._changed()
        if self._halted:  # before it has anything to answer from
            worker.tell({"halt": True})
        for cause, withheld in self._withheld.items():
            if withheld:
                worker.withhold(withheld, cause)
        if self.version:
            worker.tell({"load": self.version})
        return worker

    async def _feel_pulse(self) -> None:
        """Collect the counters now and then, so that few are lost with a killed worker; end one that is deaf."""
        while True:
            await asyncio.sleep(_PULSE_SECONDS)
            if not self.version:  # a start is proved, for which this loop stands still and hears nobody
                continue
            # Twice: this loop may have stood still itself and heard nobody, as for the report of many CAs.
            for worker in await self._deaf(await self._deaf(self.workers)):
                if not worker.stopping and not worker.ended.is_set():
                    _log.error("worker %d (slot %d) does not react: killed", worker.pid, worker.slot)
                    worker.signal(signal.SIGKILL)
            self._load_again()

    async def _deaf(self, workers: Sequence[WorkerProcess]) -> list[WorkerProcess]:
        """Those of these that do not answer a question in time; one that starts has the keys of many CAs to read."""
        pulses = await asyncio.gather(*(worker.ask_metrics(_DEAF_SECONDS) for worker in workers))
        return [worker for worker, pulse in zip(workers, pulses, strict=True) if not (pulse or self._starts(worker))]

    @staticmethod
    def _starts(worker: WorkerProcess) -> bool:
        return not worker.loaded and asyncio.get_running_loop().time() - worker.begun < _STARTING_SECONDS

    def _load_again(self) -> None:
        """Have the files looked at that a worker could not load, and let it try once more."""
        failed = [worker for worker in self.workers if worker.failed == self.version != worker.loaded]
        if failed:
            self._mend()
        for worker in failed:
            worker.tell({"load": self.version})

    def _changed(self) -> None:
        self._change.set()
        self._show_change()

    def _keep_counters(self, worker: WorkerProcess) -> None:
        self.kept = merge([self.kept, ended(worker.snapshot)])
        worker.snapshot = {}
