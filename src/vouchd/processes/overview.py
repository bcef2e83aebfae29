"""What a running instance shows of itself: the report, and what is made of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from vouchd.alerts.alerting import Alerting
from vouchd.api.checks import Check, checks
from vouchd.audit.keeping import AuditKeeping, AuditState
from vouchd.cloning.verdicts import Verification
from vouchd.core.facts import Epoch
from vouchd.core.ports import Clock
from vouchd.ee.counters import Snapshot
from vouchd.errors import RestartRefused
from vouchd.instance.backups import BackupRecord
from vouchd.instance.refusals import RefusedCRL
from vouchd.instance.report import (
    FailingPart,
    InstanceReport,
    RefusedPoint,
    RenewalReport,
    TokenReport,
    WaitingSigner,
)
from vouchd.pkix.purposes import Validity
from vouchd.processes.halting import Verdict
from vouchd.processes.listeners import Listeners
from vouchd.processes.metrics import render
from vouchd.processes.pool import WorkerPool
from vouchd.processes.restarts import Restarts
from vouchd.processes.set_state import OtherMembers
from vouchd.processes.upkeep import Pulls
from vouchd.processes.watching import Published, StoreWatch
from vouchd.service.pulling import SourceState, Validator


class Overview:
    """Reads the parts of a manager process; changes nothing. `certificates` are the instance's own by name."""

    def __init__(
        self,
        pool: WorkerPool,
        listeners: Listeners,
        watch: StoreWatch,
        pulls: Pulls,
        certificates: Mapping[str, Validity],
        clock: Clock,
        started_at: int,
        audit: AuditKeeping | None = None,
        verdict: Verdict | None = None,
        restarts: Restarts | None = None,
        members: OtherMembers | None = None,
        refused: Callable[[], tuple[RefusedCRL, ...]] = tuple,
        failing: Callable[[], tuple[FailingPart, ...]] = tuple,
        waiting_signers: Callable[[], tuple[WaitingSigner, ...]] = tuple,
        doubtful: Callable[[], tuple[RefusedPoint, ...]] = tuple,
        backup: Callable[[], BackupRecord] = BackupRecord,
        alerting: Alerting | None = None,
        tokens: Callable[[], tuple[TokenReport, ...]] = tuple,
        renewals: Callable[[], tuple[RenewalReport, ...]] = tuple,
    ) -> None:
        self._renewals = renewals
        self._backup = backup
        self._tokens = tokens
        self._alerting = alerting
        self._doubtful = doubtful
        self._waiting_signers = waiting_signers
        self._failing = failing
        self._pool = pool
        self._listeners = listeners
        self._watch = watch
        self._pulls = pulls
        self._certificates = tuple(sorted(certificates.items()))
        self._clock = clock
        self._audit = audit
        self._verdict = verdict or Verdict(tuple, pool, lambda _: None)
        self.started_at = started_at
        self._restarts = restarts
        self._members = members
        self._refused = refused

    def report(self) -> InstanceReport:
        """All of it."""
        pool, published = self._pool, self._watch.published
        return InstanceReport(
            pid=os.getpid(),
            started_at=self.started_at,
            ee=self._listeners.ee_address,
            health=self._listeners.health_address,
            version=pool.version,
            acknowledged=pool.complete and pool.ready == len(pool.workers),
            issuing_points=published.points,
            workers=pool.reports,
            restarts=pool.restarts,
            store_error=self._watch.error,
            sources=tuple(_shown(state, published) for state in self._pulls.states),
            agent=self._listeners.agent_address,
            halted=self._verdict.heeded,
            halting=self._verdict.why,
            refusals=self._restarts.refusals if self._restarts else 0,
            refused=self._restarts.refused if self._restarts else "",
            certificates=self._certificates,
            selftests=self._verdict.results,
            audit=self._audit.state() if self._audit else AuditState(),
            members=self._members.reports() if self._members else (),
            behind=self._members.behind() if self._members else (),
            failing=self._failing(),
            waiting_signers=self._waiting_signers(),
            upkeep=self._members.failing() if self._members else (),
            replication=self._members.replication() if self._members else None,
            unverified=(
                *(
                    RefusedPoint(one.point.authority_id, one.point.scope_id, one.label, one.why)
                    for one in published.refusals
                ),
                *self._doubtful(),
            ),
            uncovered=published.uncovered,
            index_repairs=published.repairs,
            labels=published.labels,
            quarantined=published.quarantined,
            refused_crls=self._refused(),
            revision=self._watch.revision,
            backup=self._backup(),
            alerts=self._alerting.standing() if self._alerting else (),
            carriers=self._alerting.carriers() if self._alerting else (),
            tokens=self._tokens(),
            renewals=self._renewals(),
        )

    async def fetch(self, source: str) -> SourceState:
        """Ask that source of CRLs now, and what came of it. Raises: NotFound."""
        await self._pulls.fetch(source)
        return next(one for one in self.report().sources if one.name == source)

    async def restart(self) -> None:
        """Have the instance restart when the answer to this request is given. Raises: RestartRefused."""
        if self._restarts is None:
            raise RestartRefused("this process does not restart")
        await self._restarts.ask()

    async def stop(self) -> None:
        """Have the instance stop; what is under way is answered first."""
        os.kill(os.getpid(), signal.SIGTERM)

    async def snapshot(self) -> Snapshot:
        """The counters of all workers together, fresh ones of every worker that answers in time."""
        return await self._pool.snapshot()

    async def settle(self, within_seconds: float = 5.0, epochs: Sequence[Epoch] = ()) -> bool:
        """Wait until every worker answers from what the store holds now, and whether that is these epochs in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._watch.caught_up()
                await self._pool.completed()
                report = self.report()
                return report.serves_all(epochs)
        return False

    async def newer_than(self, revision: int) -> None:
        """Wait until the store has a higher revision."""
        await self._watch.newer_than(revision)

    def checks(self) -> tuple[Check, ...]:
        """Readiness; those that are required decide, the others are for the eye and for alerts."""
        return checks(self.report(), self._verification(), self._clock.now())

    async def metrics(self, accept: str) -> bytes:
        """The text of `/metrics` for who accepts that, with fresh counters of every worker that answers in time."""
        snapshot = await self._pool.snapshot()
        return render(self.report(), snapshot, self._verification(), self._clock.now(), accept)

    def _verification(self) -> Verification | None:
        return self._members.verification() if self._members else None


def _shown(state: SourceState, published: Published) -> SourceState:
    """A source as it is shown: without its validator, and not as one that delivers while its CRL is held back."""
    pending = next((crl for crl in published.quarantined if state.url and crl.origin == state.url), None)
    why = f"what it delivered is held back: {pending.why}" if pending else ""
    return replace(state, validator=Validator(), last_error=state.last_error or why)
