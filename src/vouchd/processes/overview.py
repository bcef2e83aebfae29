"""What a running instance shows of itself: the report, and what is made of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from vouchd.api.checks import Check, checks
from vouchd.audit.keeping import AuditState
from vouchd.cloning.verdicts import Verification
from vouchd.core.facts import Epoch
from vouchd.core.ports import Clock
from vouchd.ee.counters import Snapshot
from vouchd.errors import RestartRefused
from vouchd.instance.report import (
    InstanceReport,
    RefusedPoint,
)
from vouchd.pkix.purposes import Validity
from vouchd.processes.halting import Verdict
from vouchd.processes.listeners import Listeners
from vouchd.processes.metrics import render
from vouchd.processes.pool import WorkerPool
from vouchd.processes.restarts import Restarts
from vouchd.processes.set_state import OtherMembers
from vouchd.processes.settings import ManagerSettings
from vouchd.processes.store_watch import Published, StoreWatch
from vouchd.processes.upkeep import Pulls
from vouchd.service.pulling import SourceState, Validator


class Overview:
    """Reads the parts of a manager process; changes nothing."""

    def __init__(
        self,
        settings: ManagerSettings,
        pool: WorkerPool,
        listeners: Listeners,
        watch: StoreWatch,
        pulls: Pulls,
        clock: Clock,
        started_at: int,
        verdict: Verdict,
        restarts: Restarts,
        members: OtherMembers,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._listeners = listeners
        self._watch = watch
        self._pulls = pulls
        self._clock = clock
        self.started_at = started_at
        self._verdict = verdict
        self._restarts = restarts
        self._members = members
        self._validities: dict[str, Validity] = {}
        self._certificates: tuple[tuple[str, Validity], ...] = ()

    def report(self) -> InstanceReport:
        """All of it."""
        settings, pool, published = self._settings, self._pool, self._watch.published
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
            refusals=self._restarts.refusals,
            refused=self._restarts.refused,
            certificates=self._in_order(settings.certificates),
            selftests=self._verdict.results,
            audit=settings.audit.state() if settings.audit else AuditState(),
            members=self._members.reports(),
            behind=self._members.behind(),
            failing=settings.failing(),
            waiting_signers=settings.waiting_signers(),
            waiting_approvals=settings.waiting_approvals(),
            upkeep=self._members.failing(),
            replication=self._members.replication(),
            unverified=(
                *(
                    RefusedPoint(one.point.authority_id, one.point.scope_id, one.label, one.why)
                    for one in published.refusals
                ),
                *settings.doubtful(),
            ),
            uncovered=published.uncovered,
            index_repairs=published.repairs,
            labels=published.labels,
            quarantined=published.quarantined,
            refused_crls=settings.refused(),
            revision=self._watch.revision,
            backup=settings.backup(),
            alerts=settings.alerting.standing() if settings.alerting else (),
            carriers=settings.alerting.carriers() if settings.alerting else (),
            tokens=settings.tokens(),
            renewals=settings.renewals(),
            proved=settings.proof.done,
            to_prove=settings.proof.of,
        )

    def _in_order(self, validities: Mapping[str, Validity]) -> tuple[tuple[str, Validity], ...]:
        """The certificates by name; the same object while they are the same, since there may be ten thousand."""
        if validities != self._validities:
            self._validities = dict(validities)
            self._certificates = tuple(sorted(validities.items()))
        return self._certificates

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
        return self._members.verification()


def _shown(state: SourceState, published: Published) -> SourceState:
    """A source as it is shown: without its validator, and not as one that delivers while its CRL is held back."""
    pending = next((crl for crl in published.quarantined if state.url and crl.origin == state.url), None)
    why = f"what it delivered is held back: {pending.why}" if pending else ""
    return replace(state, validator=Validator(), last_error=state.last_error or why)
