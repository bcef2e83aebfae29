"""Self tests: which there are, their newest results, a run on demand."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vouchd.api import shapes
from vouchd.api.model import Count, Moment, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.service import selftests
from vouchd.service.permission import Action

MAX_NAMES = 50


class SelfTest(Struct, frozen=True):
    """A self test."""

    name: Annotated[str, about("Its name.", "OCSPPresence")]
    about: Annotated[str, about("What it tries.", "the OCSP signing certificate is there and valid")]
    at_start: Annotated[bool | None, about("Whether critical in that order; null: not in it.")]
    on_demand: Annotated[bool | None, about("Whether critical in that order; null: not in it.")]
    place: Annotated[Count, about("Its place in the order on demand.", 1)]


class SelfTestResult(Struct, frozen=True):
    """How a self test came out."""

    name: Annotated[str, about("Its name.", "OCSPPresence")]
    ok: Annotated[bool, about("Whether it passed.")]
    critical: Annotated[bool, about("Whether its failure stops the answering.")]
    detail: Annotated[str, about("What was seen.", "valid until 2028-11-24")]
    hint: Annotated[Words, about("What to do about a failure.")]
    at: Annotated[Moment, about("When it ran.")]
    milliseconds: Annotated[Count, about("For how long.", 3)]
    trigger: Annotated[str, about("What made it run.", "on demand")]


class SelfTestRun(Struct, frozen=True, forbid_unknown_fields=True):
    """Which self tests to run."""

    names: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=100)]],
        Meta(max_length=MAX_NAMES),
        about("Their names; none: all, in their order.", ["OCSPPresence"]),
    ] = []


def _all(call: Call) -> list[SelfTest]:
    return [_test(one) for one in call.services.self_tests().tests(call.caller)]


def _latest(call: Call) -> list[SelfTestResult]:
    return [_result(one) for one in call.services.self_tests().latest(call.caller)]


def _run(call: Call) -> list[SelfTestResult]:
    wanted: SelfTestRun = call.body
    return [_result(one) for one in call.services.self_tests().run(wanted.names, call.caller)]


def _test(one: selftests.SelfTestInfo) -> SelfTest:
    return SelfTest(name=one.name, about=one.about, at_start=one.startup, on_demand=one.on_demand, place=one.place)


def _result(one: selftests.SelfTestResult) -> SelfTestResult:
    return SelfTestResult(
        name=one.name,
        ok=one.ok,
        critical=one.critical,
        detail=one.detail,
        hint=one.hint,
        at=shapes.moment(one.at),
        milliseconds=one.milliseconds,
        trigger=one.trigger,
    )


OPERATIONS = (
    Operation(
        "GET",
        "/selftests",
        "selftests.list",
        "All self tests, in the order in which they run on demand",
        Action.LIST_SELFTESTS,
        _all,
        list[SelfTest],
    ),
    Operation(
        "GET",
        "/selftests/results",
        "selftests.results",
        "The newest result of each self test since the start",
        Action.LIST_SELFTESTS,
        _latest,
        list[SelfTestResult],
    ),
    Operation(
        "POST",
        "/selftests/run",
        "selftests.run",
        "Run the self tests of these names, or all in their order; a critical failure stops the answering",
        Action.RUN_SELFTESTS,
        _run,
        list[SelfTestResult],
        body=SelfTestRun,
        refusals={404: "There is no self test of one of these names; none was run."},
    ),
)
