"""Self tests: which there are, their newest results, a run on demand."""

from __future__ import annotations

from typing import Any

from vouchd.api import shapes
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import BOOLEAN, COUNT, MOMENT, TEXT, Schema, array, record, reference, text
from vouchd.service.permission import Action
from vouchd.service.selftests import SelfTestInfo, SelfTestResult

MAX_NAMES = 50
_CRITICAL: Schema = {"type": ["boolean", "null"], "description": "Whether critical in that order; null: not in it."}
SCHEMAS: dict[str, Schema] = {
    "SelfTest": record({"name": TEXT, "about": TEXT, "at_start": _CRITICAL, "on_demand": _CRITICAL, "place": COUNT}),
    "SelfTestResult": record(
        {
            "name": TEXT,
            "ok": BOOLEAN,
            "critical": BOOLEAN,
            "detail": TEXT,
            "hint": TEXT,
            "at": MOMENT,
            "milliseconds": COUNT,
            "trigger": TEXT,
        }
    ),
    "SelfTestRun": record({}, {"names": array(text(low=1, high=100), high=MAX_NAMES)}),
}


def _all(call: Call) -> list[dict[str, Any]]:
    return [_test(one) for one in call.services.self_tests().tests(call.caller)]


def _latest(call: Call) -> list[dict[str, Any]]:
    return [_result(one) for one in call.services.self_tests().latest(call.caller)]


def _run(call: Call) -> list[dict[str, Any]]:
    return [_result(one) for one in call.services.self_tests().run(call.body.get("names", ()), call.caller)]


def _test(one: SelfTestInfo) -> dict[str, Any]:
    return {
        "name": one.name,
        "about": one.about,
        "at_start": one.startup,
        "on_demand": one.on_demand,
        "place": one.place,
    }


def _result(one: SelfTestResult) -> dict[str, Any]:
    return {
        "name": one.name,
        "ok": one.ok,
        "critical": one.critical,
        "detail": one.detail,
        "hint": one.hint,
        "at": shapes.moment(one.at),
        "milliseconds": one.milliseconds,
        "trigger": one.trigger,
    }


_RESULTS = array(reference("SelfTestResult"))
OPERATIONS = (
    Operation(
        "GET",
        "/selftests",
        "selftests.list",
        "All self tests, in the order in which they run on demand",
        Action.LIST_SELFTESTS,
        _all,
        array(reference("SelfTest")),
    ),
    Operation(
        "GET",
        "/selftests/results",
        "selftests.results",
        "The newest result of each self test since the start",
        Action.LIST_SELFTESTS,
        _latest,
        _RESULTS,
    ),
    Operation(
        "POST",
        "/selftests/run",
        "selftests.run",
        "Run the self tests of these names, or all in their order; a critical failure stops the answering",
        Action.RUN_SELFTESTS,
        _run,
        _RESULTS,
        body=reference("SelfTestRun"),
        refusals={404: "There is no self test of one of these names; none was run."},
    ),
)
