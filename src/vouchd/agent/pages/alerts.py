"""Alerts: what stands and which page helps, what was resolved lately, and the carriers with a trial of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act, carry_out
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import read_form
from vouchd.agent.pages.rendering import Pages
from vouchd.api.alerts import Alert, AlertCarrier, AlertTest, AlertTestResult, ResolvedAlert
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import VouchdError
from vouchd.settings.carriers import Severity
from vouchd.threads import in_thread

# The page on which each condition is seen; the conditions of a CA lead to it.
_PAGES = {
    menu.AUTHORITIES: (
        *("crl-expired", "quarantine", "refused", "unverified", "cover", "behind"),
        *("crl-overdue", "crl-number-gap", "crl-number-fell"),
    ),
    menu.SERVICE: ("workers", "store", "part", "workers-end"),
    menu.SELF_TESTS: ("halted", "disk", "clock", "selftest"),
    menu.SIGNERS: ("signer-ended", "signer-ends", "signer-waiting"),
    menu.CERTIFICATES: ("certificate-ended", "certificate-ends"),
    menu.CLONES: (
        *("replication", "replication-late", "replication-conflict", "replica-left-over"),
        *("members-differ", "member-away", "clocks-differ", "upkeep"),
    ),
    menu.SETTINGS: ("restart-refused", "backup-old", "backup-failed"),
    menu.SOURCES: ("source",),
    menu.AUDIT: ("audit",),
    menu.APPROVALS: ("approval-waiting",),
    menu.ALERTS: ("carrier",),
}
PAGE_OF: Mapping[str, str] = {name: page for page, names in _PAGES.items() for name in names}
_TITLES = {entry.path: entry.title for entry in menu.MENU}
_TONES = {Severity.CRITICAL: Tone.BAD, Severity.WARNING: Tone.WARNING}


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert that stands, and the page that helps: its address and what that is called."""

    alert: Alert
    severity: Condition
    place: str
    place_title: str


@dataclass(frozen=True, slots=True)
class CarrierRow:
    """A carrier, how it does, and how its trial came out, None when there was none."""

    carrier: AlertCarrier
    condition: Condition
    trial: AlertTestResult | None


@dataclass(frozen=True, slots=True)
class AlertPages:
    """One page, and the trial of carriers that it starts."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """What stands, what is over, and the carriers."""
        return await self._page(request, caller)

    async def test(self, request: web.Request, caller: Caller) -> web.Response:
        """Have the one named carrier carry a test message, or without a name all of them."""
        form = await read_form(request, self.pages.tokens)
        body = AlertTest(names=[name] if (name := form.text("name")) else [])
        try:
            trials: list[AlertTestResult] = await act(self.services, caller, "alerts.test", {}, body=body)
        except VouchdError as error:
            return await self._page(request, caller, error=error)
        return await self._page(request, caller, trials=trials)

    async def _page(
        self,
        request: web.Request,
        caller: Caller,
        *,
        error: VouchdError | None = None,
        trials: list[AlertTestResult] | None = None,
    ) -> web.Response:
        alerts, resolved, carriers = await in_thread(lambda: self._facts(caller))
        of = {trial.name: trial for trial in trials or ()}
        return self.pages.page(
            request,
            caller,
            "alerts.html",
            error=error,
            trials=trials or [],
            alerts=[_row(one) for one in alerts],
            resolved=[(one, Condition(_TONES[one.severity], one.severity.capitalize())) for one in resolved],
            carriers=[CarrierRow(one, _condition(one), of.get(one.name)) for one in carriers],
        )

    def _facts(self, caller: Caller) -> tuple[list[Alert], list[ResolvedAlert], list[AlertCarrier]]:
        return (
            carry_out(self.services, caller, "alerts.list", {}),
            carry_out(self.services, caller, "alerts.resolved", {}),
            carry_out(self.services, caller, "alerts.carriers", {}),
        )


def _row(alert: Alert) -> AlertRow:
    page = PAGE_OF[alert.condition]
    place = f"{page}?{urlencode({'find': alert.subject})}" if page == menu.AUTHORITIES and alert.subject else page
    return AlertRow(alert, Condition(_TONES[alert.severity], alert.severity.capitalize()), place, _TITLES[page])


def _condition(carrier: AlertCarrier) -> Condition:
    if carrier.problem:
        return Condition(Tone.BAD, "Not open", carrier.problem)
    if carrier.last_error:
        return Condition(Tone.BAD, "Failing", carrier.last_error)
    if carrier.last_delivery is None:
        return Condition(Tone.NEUTRAL, "Nothing sent yet")
    return Condition(Tone.GOOD, "Delivering")
