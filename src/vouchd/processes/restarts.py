"""Restarts of the manager process as others see them: asked for, tried out first, refused with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable

from vouchd.ee.counters import ended, merge
from vouchd.errors import RestartRefused, VouchdError
from vouchd.processes.handover import HandedWorker, Handover
from vouchd.processes.listeners import Listeners
from vouchd.processes.pool import WorkerPool
from vouchd.processes.settings import ManagerSettings
from vouchd.sockets import Address, probe
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)


class Restarts:
    """`begin` has the process restart as soon as it comes to it; `shown` has the serving report written."""

    def __init__(self, settings: ManagerSettings, begin: Callable[[], None], shown: Callable[[], None]) -> None:
        self._settings = settings
        self._begin = begin
        self._shown = shown
        self.refusals, self.refused = 0, ""  # how many, and why the last one

    async def rehearse(self) -> None:
        """Check all that a new process would. Raises: VouchdError."""
        ee, health = await in_thread(self._settings.reread)
        probe(ee, in_use=self._settings.ee)
        probe(health, in_use=self._settings.health)

    async def ask(self) -> None:
        """Have the process restart when whoever asks has got the answer. Raises: RestartRefused."""
        try:
            await self.rehearse()
        except VouchdError as error:
            raise RestartRefused(f"not restarted: {error}", hint=error.hint) from error
        self._begin()

    def refuse(self, error: Exception) -> None:
        """Say why there was no restart, in the log and to whoever waits for it."""
        _log.error("not restarted: %s", error)
        self.refusals += 1
        self.refused = str(error)
        self._shown()


def handover_of(
    settings: ManagerSettings,
    sockets: Listeners,
    pool: WorkerPool,
    lock: int,
    started_at: int,
    agent: Address,
    log_streams: tuple[int, ...],
    signals: tuple[int, int],
) -> Handover:
    """What this manager process hands to its successor; `lock` is the descriptor of its PID file."""
    return Handover(
        ee_host=settings.ee[0],
        ee_port=settings.ee[1],
        sockets=tuple(listener.fileno() for listener in sockets.ee),
        health_host=settings.health[0],
        health_port=settings.health[1],
        health=sockets.health.fileno(),
        lock=lock,
        workers=tuple(HandedWorker(w.slot, w.pid, w.control.fileno(), w.loaded) for w in pool.workers),
        kept=merge([pool.kept, ended(pool.beside())]),
        restarts=pool.restarts,
        started_at=started_at,
        agent_host=agent[0],
        agent_port=agent[1],
        agent=sockets.agent.fileno() if sockets.agent else -1,
        shared=sockets.shared,
        log_streams=log_streams,
        signals=signals,
    )
