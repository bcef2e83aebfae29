"""`vouchd selftest`: list and run the self tests of an instance, whether it runs or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vouchd.api.instance import HALTED
from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption

app = typer.Typer(name="selftest", no_args_is_help=True, help="Self tests: what an instance stands on, tried out.")
FAILED = 1


@app.command("list")
@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the self tests in the order in which they run, each with its newest result.

    Example: vouchd selftest list
    """
    tests, results = instance.call("selftests.list"), instance.call("selftests.results")
    latest = {result["name"]: result for result in results}
    if json_output:
        output.as_json([_full(test, latest.get(test["name"])) for test in tests])
        return
    output.records([_row(test, latest.get(test["name"])) for test in tests], json_output=False)


@app.command()
@reachable
def run(
    instance: Instance,
    name: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Self tests; default: the whole on-demand order.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run self tests; exit code 1 when one fails. A critical failure stops a running instance from answering.

    Example: vouchd selftest run OCSPCanary
    """
    results = instance.call("selftests.run", body={"names": name or []})
    if json_output:
        output.as_json(results)
    else:
        output.records([_outcome(result) for result in results], json_output=False, empty="the order is empty")
    failures = [result for result in results if not result["ok"]]
    for result in failures:
        output.note(f"self test {result['name']} failed: {result['detail']}")
        output.hint(result["hint"])
    if any(result["critical"] for result in failures) and instance.call("instance.get")["state"] == HALTED:
        output.warn("the instance answers tryLater only", "mend it and run the self tests again")
    if failures:
        raise typer.Exit(FAILED)


def _full(test: Mapping[str, Any], result: Mapping[str, Any] | None) -> dict[str, object]:
    order = {"startup": test["at_start"], "on_demand": test["on_demand"]}
    return {"name": test["name"], "about": test["about"], **order, "place": test["place"], "result": result}


def _row(test: Mapping[str, Any], result: Mapping[str, Any] | None) -> dict[str, object]:
    return {
        "name": test["name"],
        "at_start": _word(test["at_start"]),
        "on_demand": _word(test["on_demand"]),
        "newest_result": None if result is None else _passed(result),
        "at": None if result is None else result["at"],
        "about": test["about"],
    }


def _outcome(result: Mapping[str, Any]) -> dict[str, object]:
    return {
        "name": result["name"],
        "result": _passed(result),
        "critical": "yes" if result["critical"] else "no",
        "ms": result["milliseconds"],
        "detail": result["detail"],
    }


def _passed(result: Mapping[str, Any]) -> str:
    return "passed" if result["ok"] else "FAILED"


def _word(critical: bool | None) -> str | None:
    if critical is None:
        return None
    return "critical" if critical else "yes"
