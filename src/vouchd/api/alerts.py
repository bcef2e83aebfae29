"""Alerts: those that stand, the carriers, and a trial of each."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta, Struct

from vouchd.alerts.carriers.table import open_carriers
from vouchd.alerts.conditions import CONDITIONS
from vouchd.alerts.ledger import Outcome, raised, read_ledger
from vouchd.alerts.notice import Carrier, Event, Notice, instance_name
from vouchd.api import shapes
from vouchd.api.model import Count, Moment, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.errors import ConfigError, NotFound, VouchdError
from vouchd.service.permission import Action
from vouchd.settings.carriers import Severity
from vouchd.settings.passwords import read_passwords

_OF = {condition.name: condition for condition in CONDITIONS}


class RaisedAlert(Struct, frozen=True):
    """What is told of an alert, over or not."""

    condition: Annotated[str, about("What is, or was, wrong.", "crl-expired")]
    title: Annotated[str, about("The same in words.", "A CRL has ended")]
    subject: Annotated[Words, about("With what: a CA, a certificate, a member; empty: the instance.")]
    severity: Annotated[Severity, about("How soon somebody has, or had, to look.", "critical")]
    since: Annotated[Moment, about("Since when it is, or was, so.")]
    words: Annotated[str, about("What was seen at its beginning.", "past nextUpdate, and no newer one has come")]


class Alert(RaisedAlert, frozen=True):
    """An alert that was raised and is not over."""

    raised: Annotated[Moment, about("When it was told of.")]
    remedy: Annotated[str, about("What to do.", "have the CA publish, or: vouchd crl retire")]
    page: Annotated[str, about("The page that tells more.", "docs/operate/processes.md")]


class ResolvedAlert(RaisedAlert, frozen=True):
    """An alert that is over."""

    resolved: Annotated[Moment, about("When it was told of as over.")]


class AlertCarrier(Struct, frozen=True):
    """A carrier of alerts."""

    name: Annotated[str, about("Its name in CS.cfg.", "duty")]
    way: Annotated[str, about("How it carries.", "mail")]
    severity: Annotated[Severity, about("The least severity that it carries.", "warning")]
    where: Annotated[Words, about("Whereto; empty: it cannot be opened.", "mail to pki@example.org by mx:587")]
    waiting: Annotated[Count, about("Notices that have not gone out yet.", 0)]
    problem: Annotated[Words, about("Why it cannot be opened; empty: it can.")]
    last_delivery: Annotated[Moment | None, about("When its last notice went out; null: none has, or it fails since.")]
    failing_since: Annotated[Moment | None, about("Since when notices do not go out; null: they do.")]
    last_error: Annotated[Words, about("Why they do not; empty: they do.")]


class AlertTest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which carriers to try."""

    names: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=100)]],
        Meta(max_length=50),
        about("Their names; none: all.", ["duty"]),
    ] = []


class AlertTestResult(Struct, frozen=True):
    """How a trial of a carrier came out."""

    name: Annotated[str, about("Its name.", "duty")]
    ok: Annotated[bool, about("Whether the test message went out.")]
    where: Annotated[Words, about("Whereto.", "mail to pki@example.org by mx:587")]
    milliseconds: Annotated[Count, about("How long that took.", 84)]
    problem: Annotated[Words, about("Why it did not; empty: it did.")]
    hint: Annotated[Words, about("What to do about it.")]


def _standing(call: Call) -> list[Alert]:
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "alerts")
    return [
        Alert(
            condition=one.condition,
            title=_OF[one.condition].title,
            subject=one.subject,
            severity=one.severity,
            since=shapes.moment(one.since),
            raised=shapes.moment(one.raised or one.since),
            words=one.words,
            remedy=_OF[one.condition].remedy,
            page=_OF[one.condition].page,
        )
        for one in raised(one for one in read_ledger(call.layout.alerts).standing if one.condition in _OF)
    ]


def _resolved(call: Call) -> list[ResolvedAlert]:
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "alerts")
    return [
        ResolvedAlert(
            condition=one.condition,
            title=_OF[one.condition].title,
            subject=one.subject,
            severity=_OF[one.condition].severity,
            since=shapes.moment(one.since),
            resolved=shapes.moment(one.resolved),
            words=one.words,
        )
        for one in reversed(read_ledger(call.layout.alerts).resolved)
        if one.condition in _OF
    ]


def _carriers(call: Call) -> list[AlertCarrier]:
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "alerts")
    ledger = read_ledger(call.layout.alerts)
    settings = {one.name: one for one in call.services.settings.carriers}
    rows = []
    for name, one in _opened(call).items():
        last = ledger.outcomes.get(name, Outcome(0))
        rows.append(
            AlertCarrier(
                name=name,
                way=settings[name].way.value,
                severity=settings[name].severity,
                where="" if isinstance(one, ConfigError) else one.where,
                waiting=len(ledger.waiting.get(name, ())),
                problem=str(one) if isinstance(one, ConfigError) else "",
                last_delivery=shapes.moment(last.at) if last.at and not last.error else None,
                failing_since=shapes.moment(last.at) if last.error else None,
                last_error=last.error,
            )
        )
    return rows


def _test(call: Call) -> list[AlertTestResult]:
    wanted: AlertTest = call.body
    call.services.permission.allow(call.caller, Action.TEST_ALERTS, ", ".join(wanted.names)[:200] or "*")
    carriers = _opened(call)
    unknown = [name for name in wanted.names if name not in carriers]
    if unknown:
        known = ", ".join(carriers) or "none; add vouchd.alert.NAME.by to CS.cfg"
        raise NotFound(f"no carrier of alerts {unknown[0][:100]!r}", hint=f"there are: {known}")
    return [_tried(name, carriers[name], call) for name in dict.fromkeys(wanted.names or carriers)]


def _tried(name: str, carrier: Carrier | ConfigError, call: Call) -> AlertTestResult:
    if isinstance(carrier, ConfigError):
        return AlertTestResult(name=name, ok=False, where="", milliseconds=0, problem=str(carrier), hint=carrier.hint)
    now, begun, problem, hint = call.clock.now(), time.perf_counter(), "", ""
    words = f"a test by {call.caller.name}: nothing is wrong, and nothing needs to be done"
    notice = Notice.of(
        Event.TEST,
        instance_name(call.services.settings),
        "test",
        name,
        Severity.WARNING,
        now,
        now,
        words,
        "",
        "docs/operate/alerts.md",
    )
    try:
        carrier.send(notice)
    except VouchdError as error:
        problem, hint = str(error), error.hint
    took = round((time.perf_counter() - begun) * 1000)
    return AlertTestResult(
        name=name, ok=not problem, where=carrier.where, milliseconds=took, problem=problem, hint=hint
    )


def _opened(call: Call) -> dict[str, Carrier | ConfigError]:
    settings = call.services.settings
    return dict(
        open_carriers(
            settings.carriers, read_passwords(call.layout.password_conf), instance_name(call.services.settings)
        )
    )


OPERATIONS = (
    Operation(
        "GET",
        "/alerts",
        "alerts.list",
        "The alerts that stand, the gravest first",
        Action.READ_STATISTICS,
        _standing,
        list[Alert],
    ),
    Operation(
        "GET",
        "/alerts/resolved",
        "alerts.resolved",
        "The last hundred alerts that are over, the newest first",
        Action.READ_STATISTICS,
        _resolved,
        list[ResolvedAlert],
    ),
    Operation(
        "GET",
        "/alerts/carriers",
        "alerts.carriers",
        "Who carries alerts, and what waits for them",
        Action.READ_STATISTICS,
        _carriers,
        list[AlertCarrier],
    ),
    Operation(
        "POST",
        "/alerts/test",
        "alerts.test",
        "Send a test message by these carriers, or by all",
        Action.TEST_ALERTS,
        _test,
        list[AlertTestResult],
        body=AlertTest,
        refusals={404: "There is no carrier of one of these names; nothing was sent."},
    ),
)
