"""`vouchd selftest`: list and run the self tests of an instance, whether it runs or not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vouchd.cli import output, remote, told
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.instance import lifecycle
from vouchd.service.selftests import SelfTestInfo, SelfTestResult, halting
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring

app = typer.Typer(name="selftest", no_args_is_help=True, help="Self tests: what an instance stands on, tried out.")
FAILED = 1


@app.command("list")
@remote.reachable
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE, asked: remote.Asked = None, json_output: JsonOption = False
) -> None:
    """List the self tests in the order in which they run, each with its newest result.

    Example: vouchd selftest list
    """
    if asked:
        listed = [told.self_test(one) for one in asked.get("selftests")]
        latest = [told.self_test_result(one) for one in asked.get("selftests", "results")]
    else:
        with wiring.services(Layout(instance.absolute())) as services:
            tests = services.self_tests()
            listed, latest = list(tests.tests(services.caller)), list(tests.latest(services.caller))
    results = {result.name: result for result in latest}
    if json_output:
        output.as_json([{**asdict(one), "result": _result(results.get(one.name))} for one in listed])
        return
    output.records([_row(one, results.get(one.name)) for one in listed], json_output=False)


@app.command()
@remote.reachable
def run(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Self tests; default: the whole on-demand order.")
    ] = None,
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Run self tests; exit code 1 when one fails. A critical failure stops a running instance from answering.

    Example: vouchd selftest run OCSPCanary
    """
    layout = Layout(instance.absolute())
    if asked:
        results = [told.self_test_result(one) for one in asked.post("selftests", "run", body={"names": name or []})]
    else:
        with wiring.services(layout) as services:
            results = list(services.self_tests().run(name or [], services.caller))
    if json_output:
        output.as_json([_result(result) for result in results])
    else:
        output.records([_outcome(result) for result in results], json_output=False, empty="the order is empty")
    for result in results:
        if not result.ok:
            output.note(f"self test {result.name} failed: {result.detail}")
            output.hint(result.hint)
    if halting(results) and (asked or lifecycle.status(layout).pid):
        output.warn("the instance answers tryLater only", "mend it and run the self tests again")
    if not all(result.ok for result in results):
        raise typer.Exit(FAILED)


def _row(one: SelfTestInfo, result: SelfTestResult | None) -> dict[str, object]:
    return {
        "name": one.name,
        "at_start": _word(one.startup),
        "on_demand": _word(one.on_demand),
        "newest_result": None if result is None else _passed(result),
        "at": None if result is None else output.when(result.at),
        "about": one.about,
    }


def _outcome(result: SelfTestResult) -> dict[str, object]:
    return {
        "name": result.name,
        "result": _passed(result),
        "critical": "yes" if result.critical else "no",
        "ms": result.milliseconds,
        "detail": result.detail,
    }


def _result(result: SelfTestResult | None) -> dict[str, object] | None:
    return None if result is None else {**asdict(result), "at": output.when(result.at)}


def _passed(result: SelfTestResult) -> str:
    return "passed" if result.ok else "FAILED"


def _word(critical: bool | None) -> str | None:
    if critical is None:
        return None
    return "critical" if critical else "yes"
