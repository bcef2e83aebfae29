"""`vouchd alert`: what stands, who is told of it, and whether that works."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption

app = typer.Typer(
    name="alert", no_args_is_help=True, help="Alerts: what stands, who is told of it, and whether that works."
)
FAILED = 1


@app.command("list")
@reachable
def list_(
    instance: Instance,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Those that are over instead, the newest first.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """List the alerts that stand, the gravest first, and who is told of them.

    Example: vouchd alert list
    """
    if resolved:
        _list_resolved(instance, json_output=json_output)
        return
    alerts, carriers = instance.call("alerts.list"), instance.call("alerts.carriers")
    if json_output:
        output.as_json({"alerts": alerts, "carriers": carriers})
        return
    columns = ("severity", "condition", "subject", "since", "words")
    output.table(columns, [[one[name] or None for name in columns] for one in alerts], empty="no alert stands")
    for one in alerts:
        output.hint(f"{one['condition']}: {one['remedy']}; {one['page']}")
    if not carriers:
        output.warn("nobody is told", "add vouchd.alert.NAME.by to CS.cfg, see docs/operate/alerts.md")
    for one in carriers:
        output.note(f"{one['name']}: {one['where'] or one['problem']}, {one['waiting']} waiting{_last(one)}")


def _last(carrier: dict[str, Any]) -> str:
    if carrier["last_error"]:
        return f", failing since {carrier['failing_since']}: {carrier['last_error']}"
    return f", last delivery {carrier['last_delivery']}" if carrier["last_delivery"] else ""


def _list_resolved(instance: Instance, *, json_output: bool) -> None:
    alerts = instance.call("alerts.resolved")
    if json_output:
        output.as_json(alerts)
        return
    columns = ("condition", "subject", "since", "resolved", "words")
    output.table(columns, [[one[name] or None for name in columns] for one in alerts], empty="no alert was resolved")


@app.command("test")
@reachable
def try_out(
    instance: Instance,
    name: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Carriers; default: all.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Send a test message by each carrier of alerts; exit code 1 when one does not go out.

    Example: vouchd alert test
    """
    results = instance.call("alerts.test", body={"names": name or []})
    if json_output:
        output.as_json(results)
    else:
        columns = ("name", "ok", "milliseconds", "where")
        rows = [
            [one["name"], "yes" if one["ok"] else "NO", one["milliseconds"], one["where"] or None] for one in results
        ]
        output.table(columns, rows, empty="there is no carrier of alerts")
    for one in results:
        if not one["ok"]:
            output.note(one["problem"])
            output.hint(one["hint"])
    if not all(one["ok"] for one in results):
        raise typer.Exit(FAILED)
