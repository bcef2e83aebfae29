"""Alerting in a running instance: looks at each report, and has every carrier carry what there is to say.

A carrier has a task of its own and one thread at a time. One that hangs keeps neither the manager nor another carrier
waiting: each attempt ends with its deadline and is made again ever more slowly, and one that fails shows in the
metrics, in the log and as a condition that the others carry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vouchd.alerts.conditions import RESTARTS_WINDOW_SECONDS, Bounds, Situation
from vouchd.alerts.ledger import Ledger, read_rhythms, write_rhythms
from vouchd.alerts.notice import Carrier, Notice
from vouchd.cloning.verdicts import Verification
from vouchd.core.ports import Clock
from vouchd.errors import ConfigError, StoreError, VouchdError
from vouchd.instance.report import AlertReport, CarrierReport, InstanceReport
from vouchd.instance.selftests.host import check_disk
from vouchd.settings.layout import Layout
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 600.0
_KEEP_RHYTHMS_SECONDS = 60
_BETWEEN_LOOKS_SECONDS = 1.0  # no condition begins and ends within: a look costs as much as there are CAs


@dataclass
class _Courier:
    """One carrier at work; `broken` says why it cannot be opened at all."""

    name: str
    carrier: Carrier | None
    broken: str = ""
    error: str = ""
    sent: int = 0
    failures: int = 0  # in a row
    failed: int = 0
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Alerting:
    """Gets each report by `look`; `opened` are the carriers by name, or why one cannot be opened."""

    def __init__(
        self,
        layout: Layout,
        ledger: Ledger,
        opened: Sequence[tuple[str, Carrier | ConfigError]],
        clock: Clock,
        bounds: Bounds,
        min_free_bytes: int,
        verification: Callable[[], Verification | None] = lambda: None,
        pause: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._clock = clock
        self._bounds = bounds
        self._min_free_bytes = min_free_bytes
        self._verification = verification
        self._pause = pause
        self._couriers = [
            _Courier(name, None, broken=str(one)) if isinstance(one, ConfigError) else _Courier(name, one)
            for name, one in opened
        ]
        self._report: InstanceReport | None = None
        self._due = asyncio.Event()
        self._rhythms = read_rhythms(layout.rhythms)
        self._kept_at, self._kept = 0, self._rhythms

    def look(self, report: InstanceReport) -> None:
        """The instance is like this now."""
        self._report = report
        self._due.set()

    def standing(self) -> tuple[AlertReport, ...]:
        """The alerts that are raised."""
        return tuple(
            AlertReport(one.condition, one.subject, one.severity.value, one.since, one.words)
            for one in self._ledger.standing
        )

    def carriers(self) -> tuple[CarrierReport, ...]:
        """How the carriers do."""
        return tuple(
            CarrierReport(
                one.name,
                one.sent,
                one.failed,
                self._ledger.waiting(one.name),
                self._ledger.lost(one.name),
                one.broken or one.error,
            )
            for one in self._couriers
        )

    async def run(self) -> None:
        """Look and carry until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            for courier in self._couriers:
                if courier.carrier is not None:
                    group.create_task(self._carry(courier, courier.carrier))

    async def _watch(self) -> None:
        for courier in self._couriers:
            if courier.broken:
                _log.error("alerts do not go out by %s: %s", courier.name, courier.broken)
        while True:
            await self._due.wait()
            self._due.clear()
            report = self._report
            if report is None:
                continue
            try:
                notices = await in_thread(lambda seen=report: self._judge(seen))  # type: ignore[misc]
            except StoreError as error:
                _log.error("alerts cannot be kept, and are not sent: %s", error)
                continue
            except Exception:  # noqa: BLE001  outermost: a bug here must not stop the manager, nor the next look
                _log.exception("alerting failed")
                continue
            for notice in notices:
                _log.warning("alert: %s", notice.line)
            if notices:
                for courier in self._couriers:
                    courier.woken.set()
            await asyncio.sleep(self._pause(_BETWEEN_LOOKS_SECONDS))

    def _judge(self, report: InstanceReport) -> tuple[Notice, ...]:
        now = self._clock.now()
        self._rhythms = self._rhythms.after(report.issuing_points).with_restarts(
            now, report.restarts, RESTARTS_WINDOW_SECONDS
        )
        situation = Situation(
            report,
            now,
            self._ledger.begun or now,
            self._verification(),
            self._no_room(),
            self._rhythms,
            self._bounds,
        )
        notices = self._ledger.look(situation)
        if self._rhythms.points is not self._kept.points and not now - _KEEP_RHYTHMS_SECONDS < self._kept_at <= now:
            write_rhythms(self._layout.rhythms, self._rhythms)
            self._kept_at, self._kept = now, self._rhythms
        return notices

    def _no_room(self) -> str:
        try:
            check_disk(self._layout, self._min_free_bytes)
        except VouchdError as error:
            return str(error)
        return ""

    async def _carry(self, courier: _Courier, carrier: Carrier) -> None:
        while True:
            courier.woken.clear()
            notice = self._ledger.next_of(courier.name)
            if notice is None:
                await courier.woken.wait()
            elif not await self._sent(courier, carrier, notice):
                pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(courier.failures - 1, 10), _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(self._pause(pause))

    async def _sent(self, courier: _Courier, carrier: Carrier, notice: Notice) -> bool:
        def send() -> None:
            carrier.send(notice)
            self._ledger.carried(courier.name, notice, self._clock.now())

        try:
            await in_thread(send)
        except VouchdError as error:
            await self._fail(courier, str(error))
            return False
        except Exception as error:  # noqa: BLE001  outermost: a bug in one carrier must not stop the others
            _log.exception("carrier %s failed", courier.name)
            await self._fail(courier, type(error).__name__)
            return False
        if courier.error:
            _log.info("alerts go out by %s again", courier.name)
        courier.sent, courier.failures, courier.error = courier.sent + 1, 0, ""
        return True

    async def _fail(self, courier: _Courier, error: str) -> None:
        courier.failures, courier.failed = courier.failures + 1, courier.failed + 1
        try:
            await in_thread(lambda: self._ledger.failed(courier.name, error, self._clock.now()))
        except StoreError as kept:
            _log.error("how %s fails cannot be kept: %s", courier.name, kept)
        if error != courier.error:
            _log.error("alerts do not go out by %s: %s", courier.name, error)
        courier.error = error
