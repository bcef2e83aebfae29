"""The manager process: owns the listening sockets, the store watch, the CRL sources and the health port.

Its workers answer OCSP; it does so itself at the agent port only. Signals: SIGTERM and SIGINT stop gracefully, SIGHUP
restarts (this process becomes a new one by `exec`, which keeps every socket open, and the old workers answer until the
new ones are ready), SIGUSR1 looks at once at the store and at the results of the self tests, and tries again what
failed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from vouchd.agent.loading import without_trust
from vouchd.audit.keeping import GivenAnswer
from vouchd.cloning.watermark import Watermark
from vouchd.core.ports import Clock
from vouchd.errors import StoreUnavailable, VouchdError
from vouchd.instance.hindrances import Hindrance, hindrances
from vouchd.instance.pidfile import PidFile
from vouchd.instance.report import InstanceReport, ReportFile, remove_report
from vouchd.processes.halting import Verdict, Withholding, ignore, overlook
from vouchd.processes.handover import Handover, execute, handover_in
from vouchd.processes.heap import give_back, keep
from vouchd.processes.listeners import Listeners
from vouchd.processes.logs import LogFile
from vouchd.processes.pool import WorkerPool
from vouchd.processes.restarts import Restarts, handover_of
from vouchd.processes.set_state import OtherMembers
from vouchd.processes.settings import ManagerSettings
from vouchd.processes.signals import Signals
from vouchd.processes.store_watch import NOTIFIED_POLL_SECONDS, POLL_SECONDS, Publication, Published, StoreWatch
from vouchd.processes.supervisor import Supervisor, passed_sockets
from vouchd.processes.upkeep import BETWEEN_LOOKS_SECONDS, Pace, Pulls, Upkeeping, lasting, warn_daily
from vouchd.processes.worker_process import WorkerProcess
from vouchd.service.pulling import Pulling
from vouchd.sockets import Address
from vouchd.threads import in_thread, tell

if TYPE_CHECKING:  # it brings aiohttp along
    from vouchd.agent.server import AgentPart, AgentServer

_log = logging.getLogger(__name__)

_REPORT_SECONDS = 10.0
_AGENT_GRACE_SECONDS = 10.0
_AUDIT_SECONDS = 1.0
_WATERMARK_SECONDS = 0.5
_PROOF_SECONDS = 0.1
# What is published, and that the workers answer from it, is told in one report: with many CAs it is long.
_TOGETHER_SECONDS = 0.005
_LOADED_SECONDS = 0.1


class Parts(NamedTuple):
    """What a manager process has beside its sockets and workers; without `agent` the agent port is off."""

    settings: ManagerSettings
    publication: Publication
    pulls: Sequence[Pulling] = ()
    agent: AgentPart | None = None


def run_manager(
    settings: ManagerSettings, parts: Callable[[], Parts], clock: Clock, agent: Address | None = None
) -> None:
    """Serve until told to stop.

    `settings` are those that workers are started with; then `parts` makes the rest, with all settings, while the
    workers read the keys of many CAs. `agent` is the address of the agent port, None where it is off.

    Raises: LifecycleError when it cannot start; what `parts` raises.
    """
    asyncio.run(_Instance(settings, parts, clock, agent).serve())


class _Instance:
    """The running parts of one manager process."""

    _watch: StoreWatch  # as what follows it there once `_complete` has made it

    def __init__(
        self, settings: ManagerSettings, parts: Callable[[], Parts], clock: Clock, agent: Address | None
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._agent_address = agent
        self._agent_part: AgentPart | None = None
        self._agent: AgentServer | None = None
        self._clock = clock
        self._report_due = asyncio.Event()
        self._proved = asyncio.Event()  # all that the start has to prove
        self._latest: InstanceReport | None = None  # what was reported last
        self._reported = asyncio.Event()
        self._hindrances: tuple[Hindrance, ...] = ()  # what keeps revocations from being answered, as it was said last
        self._signals = Signals()
        self._end_notices: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[None]] = []

    def _complete(self) -> None:
        """Make what there is beside sockets and workers. Raises: VouchdError."""
        settings, publication, pulls, agent = self._parts()
        self._settings, self._agent_part = settings, agent
        if agent is not None:
            self._pool.beside = agent.counted
        else:
            self._sockets.leave_agent()
        self._watch = StoreWatch(
            publication,
            self._on_published,
            self._on_watched,
            self._all_loaded,
            settings.refresh_seconds,
            POLL_SECONDS if settings.notifier is None else NOTIFIED_POLL_SECONDS,
        )
        self._restarts = Restarts(settings, lambda: self._signals.put(signal.SIGHUP), self._report_due.set)
        self._pulls = Pulls(pulls, self._clock, self._on_pulled)
        self._upkeep = Upkeeping(settings.upkeep, self._watch.look_now)
        self._other_members = OtherMembers(
            settings.peers, self._upkeep, self._watch, settings.replication, settings.verification
        )
        self._verdict = Verdict(settings.selftests, self._pool, agent.halt if agent else ignore)
        self._withholding = Withholding(
            settings.watermark or Watermark(0),
            self._pool,
            agent.withhold if agent else overlook,
            self._watch.look_now,
            settings.proof,
            self._report_due.set,
        )

    async def serve(self) -> None:
        """Start all parts, react to signals, stop all parts."""
        settings, handover = self._settings, handover_in(os.environ)
        self._signals.open(handover.signals if handover else None)  # before the PID file: who reads it may signal us
        self._supervisor = Supervisor(os.environ, os.getpid())
        self._log_file = LogFile(settings.log_file, handover.log_streams if handover else ())
        started_at = handover.started_at if handover else self._clock.now()
        self._pid_file = self._take_pid_file(handover)
        passed = passed_sockets(os.environ, os.getpid())
        self._sockets = Listeners.open(
            settings.ee, settings.health, self._agent_address, settings.workers, handover, passed
        )
        self._pool = self._make_pool(handover)
        self._pool.start()
        await asyncio.sleep(0)  # the first step of it
        await self._step(self._complete)  # workers read their keys meanwhile
        settings = self._settings
        # What workers of before a restart answer from.
        self._withholding.published(self._watch.published)
        self._watch.begin()
        await self._get_ready()
        await self._step(self._prove)
        self._verdict.look()
        self._withholding.look()  # before anybody answers: not all CAs may be proved
        self._on_published(self._watch.published)
        # Here, because they bring aiohttp and prometheus-client along, which workers and commands do without, and which
        # take a while to load: the workers answer meanwhile.
        with without_trust():
            from vouchd.processes.health import HealthServer  # noqa: PLC0415
            from vouchd.processes.overview import Overview  # noqa: PLC0415

        self._overview = Overview(
            settings,
            self._pool,
            self._sockets,
            self._watch,
            self._pulls,
            self._clock,
            started_at,
            self._verdict,
            self._restarts,
            self._other_members,
        )
        self._health = HealthServer(self._overview.checks, self._overview.metrics)
        await self._health.start(self._sockets.health)
        self._go()
        await self._open_agent_port()
        if settings.audit is not None:
            await in_thread(settings.audit.started)
        _log.info("answering on %s port %d, process %d", *self._sockets.ee_address, os.getpid())
        await self._obey()
        await self._stop()

    async def _open_agent_port(self) -> None:
        if self._agent_part is None or self._sockets.agent is None:
            return
        self._agent = self._agent_part.build(self._overview, asyncio.get_running_loop())
        await self._agent.start(self._sockets.agent)
        await self._agent.refresh()  # the store may have come back since it was built
        _log.info("agent port: %s port %d", *self._sockets.agent_address or ())

    async def _close_agent_port(self) -> None:
        """Finish what is under way there; its listening socket stays, and new connections wait in it."""
        if self._agent is not None:
            await self._agent.stop(_AGENT_GRACE_SECONDS)
            self._agent = None

    def _take_pid_file(self, handover: Handover | None) -> PidFile:
        if handover is None:
            return PidFile.acquire(self._settings.pid_file)
        return PidFile.adopt(self._settings.pid_file, handover.lock)

    def _make_pool(self, handover: Handover | None) -> WorkerPool:
        settings = self._settings
        handed = handover.workers if handover else ()
        changed, suspect = self._report_due.set, self._suspect
        adopted = [WorkerProcess.adopt(worker, changed, self._take_answers, suspect) for worker in handed]
        pool = WorkerPool(
            settings.worker_command,
            self._sockets.ee,
            settings.workers,
            self._report_due.set,
            self._mend,
            adopted=adopted,
            kept=handover.kept if handover else None,
            answer_sink=self._take_answers,
            damaged=suspect,
        )
        pool.restarts = handover.restarts if handover else 0
        return pool

    async def _get_ready(self) -> None:
        """Have workers load what is published by now, while it is proved that they may answer."""
        if self._watch.published.version:
            await self._pool.get_ready(self._watch.published.version)

    def _suspect(self, names: Iterable[str]) -> None:
        self._watch.suspect(names)

    def _mend(self) -> None:
        self._watch.mend()

    def _prove(self) -> None:
        """Carry out the self tests before a client is heard or a worker may answer. Raises: LifecycleError."""
        self._settings.prove()
        self._sockets.listen()

    async def _step(self, take: Callable[[], None]) -> None:
        """Take a step of the start, without which there is none: then what was begun is ended. Raises: what it does."""
        try:
            take()
        except BaseException:
            self._settings.proof.end()
            await self._pool.stop(self._settings.grace_seconds)
            self._pid_file.release()
            raise

    def _go(self) -> None:
        works = [
            self._watch.run,
            self._pulls.run,
            self._report,
            self._warn,
            self._retire_predecessors,
            self._keep_audit,
        ]
        works.append(self._keep_watermark)
        if self._settings.alerting is not None:
            works.append(self._settings.alerting.run)
        if self._supervisor.watchdog_seconds:
            works.append(self._keep_alive)
        works += [partial(warn_daily, self._settings.certificates, self._clock), self._upkeep.run]
        self._tasks += [asyncio.create_task(lasting(work)) for work in works]
        self._hear_of_changes()

    def _hear_of_changes(self) -> None:
        if self._settings.notifier is not None:
            loop = asyncio.get_running_loop()
            self._end_notices = self._settings.notifier.notify(lambda: tell(loop, self._watch.look_now))

    async def _halt(self) -> None:
        """End the tasks but leave the workers as they are."""
        await in_thread(self._end_notices)  # it may wait for an answer of the directory server
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._settings.proof.end()
        await self._pool.release()

    async def _obey(self) -> None:
        """React to signals until one of them asks to stop."""
        while True:
            number = await self._signals.next()
            if number == signal.SIGUSR1:
                self._watch.look_now()
                self._upkeep.retry()
                self._verdict.look()
                self._pulls.ask(self._settings.fetch_requests())
                self._report_due.set()
            elif number == signal.SIGHUP:
                await self._restart()
            else:
                _log.info("stopping")
                return

    async def _stop(self) -> None:
        self._supervisor.stopping()
        self._sockets.close_agent()
        await self._close_agent_port()
        await self._halt()
        self._sockets.close_ee()  # new connections are refused from the moment the workers stop accepting
        await self._pool.stop(self._settings.grace_seconds)
        if self._settings.audit is not None:
            await in_thread(self._settings.audit.stopped)
        await self._health.stop()
        remove_report(self._settings.serving_file)
        self._pid_file.release()
        self._signals.close()
        _log.info("stopped")

    async def _restart(self) -> None:
        """Become a new manager process, unless it is to end; with settings that cannot work all but the log stays."""
        self._log_file.reopen()
        try:
            await self._restarts.rehearse()
        except VouchdError as error:
            self._refuse(error)
            return
        if self._signals.ending:
            return
        _log.info("restarting")
        self._supervisor.reloading()
        await self._close_agent_port()
        await self._halt()
        await self._pool.snapshot()  # also a barrier: after it nothing is under way in the control channels
        if self._settings.audit is not None:
            await in_thread(self._settings.audit.keep_last)
        try:
            execute(self._handover(), self._settings.restart_command, os.environ)
        except OSError as error:
            self._signals.take_back()
            self._refuse(error)
            self._verdict.look()
            self._pool.start()
            self._go()
            await self._open_agent_port()

    def _refuse(self, error: Exception) -> None:
        self._supervisor.reloading()  # ended by the next report, which has the reason
        self._restarts.refuse(error)

    def _handover(self) -> Handover:
        agent = self._agent_part.address if self._agent_part and self._sockets.agent else ("", 0)
        started_at, streams = self._overview.started_at, self._log_file.streams
        lock = self._pid_file.fileno()
        signals = self._signals.hand_on()
        return handover_of(self._settings, self._sockets, self._pool, lock, started_at, agent, streams, signals)

    async def _retire_predecessors(self) -> None:
        """End the workers of before the restart when ours answer in their place."""
        if self._pool.adopted:
            await self._pool.completed()
            await self._pool.retire_adopted(self._settings.grace_seconds)
            self._sockets.close_replaced()
            _log.info("the workers of before the restart have ended")
        else:
            await self._pool.completed()
        self._settings.settled()
        await self._proved.wait()
        self._settings.proved()
        await in_thread(keep)
        await in_thread(give_back)

    def _take_answers(self, answers: Sequence[GivenAnswer], lost: int) -> None:
        if self._settings.audit is not None:
            self._settings.audit.take_answers(answers, lost)

    async def _keep_watermark(self) -> None:
        """Hold what the workers answer from against what is known, for ever."""
        while True:
            self._withholding.look()
            await asyncio.sleep(_WATERMARK_SECONDS if self._settings.proof.is_over else _PROOF_SECONDS)

    async def _keep_alive(self) -> None:
        """Have the service manager's watchdog know that this loop turns."""
        while True:
            self._supervisor.alive()
            await asyncio.sleep(self._supervisor.watchdog_seconds)

    async def _keep_audit(self) -> None:
        """Write and sign what the audit log is owed, once a second."""
        while self._settings.audit is not None:
            await asyncio.sleep(_AUDIT_SECONDS)
            await in_thread(self._settings.audit.keep)

    async def _report(self) -> None:
        """Write the serving report after each change, and now and then for the times in it."""
        written: InstanceReport | None = None
        file = ReportFile(self._settings.serving_file)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_SECONDS):
                    await self._report_due.wait()
                    await self._gather()
            self._report_due.clear()
            self._verdict.look()  # workers may have loaded what they were waited for
            if self._verdict.acquits:
                self._settings.proof.absolve()
            self._settings.workers_trace.look((worker.slot, worker.loaded) for worker in self._pool.workers)
            report = self._overview.report()
            self._latest = report
            self._reported.set()
            if self._settings.alerting is not None:
                self._settings.alerting.look(report)
            if report != written:
                try:
                    file.write(report)
                    written = report
                except StoreUnavailable as error:
                    _log.error("%s", error)
            if report.acknowledged:
                self._supervisor.ready(_summary(report))
            if self._settings.proof.is_over:
                self._proved.set()  # the report has gone by what is remembered of it

    async def _warn(self) -> None:
        """Log what begins to keep revocations from being answered and what ends to; it looks at all CAs."""
        loop, pace = asyncio.get_running_loop(), Pace(BETWEEN_LOOKS_SECONDS)
        while True:
            await self._reported.wait()
            await asyncio.sleep(pace.wait(loop.time()))
            self._reported.clear()
            if self._latest is not None:
                self._hindrances = announce(self._hindrances, hindrances(self._latest, self._clock.now()))

    async def _gather(self) -> None:
        """Let one report tell what was published and that the workers answer from it, if they soon do."""
        await asyncio.sleep(_TOGETHER_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOADED_SECONDS):
                await self._pool.completed()

    def _on_published(self, published: Published) -> None:
        self._report_due.set()
        self._upkeep.wake()
        self._withholding.published(published)
        if published.version != self._pool.version:
            self._pool.load(published.version)
            if self._agent_part is not None:
                self._agent_part.changed()
        if self._agent is not None:  # the users may have changed, which are in no manifest
            self._trust = asyncio.ensure_future(self._agent.refresh())
        self._report_due.set()

    def _on_watched(self) -> None:
        self._verdict.look()
        self._report_due.set()

    def _all_loaded(self) -> bool:
        """Whether nobody reads files of former manifests; who proves the start reads those that it published."""
        all_ready = self._pool.complete and self._pool.ready == len(self._pool.workers)
        return all_ready and self._settings.proof.is_over

    def _on_pulled(self) -> None:
        self._watch.look_now()
        self._report_due.set()


def _summary(report: InstanceReport) -> str:
    """The state in a line, as a service manager shows it."""
    address = f"{report.ee[0]} port {report.ee[1]}"
    if report.halted:
        return f"halted: {report.halted}"
    refused = f"; not restarted: {report.refused}" if report.refused else ""
    return f"answering on {address} for {len(report.issuing_points)} issuing points{refused}"


def announce(before: tuple[Hindrance, ...], now: tuple[Hindrance, ...]) -> tuple[Hindrance, ...]:
    """Log what has begun to keep revocations from being answered, and what has ended to; returns what there is."""
    known, present = ({(one.cause, one.name): one for one in some} for some in (before, now))
    for key in present.keys() - known.keys():
        _log.warning("revocations may not be answered: %s", present[key])
    for key in known.keys() - present.keys():
        _log.info("no longer kept from being answered: %s", known[key])
    return now
