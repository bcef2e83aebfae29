"""`vouchd source`: where CRLs are fetched from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption

app = typer.Typer(
    name="source", no_args_is_help=True, help="Where CRLs are fetched from, besides those that a CA sends."
)
FAILED = 1

SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name.")]
IntervalOption = Annotated[
    int | None, typer.Option("--interval", metavar="SECONDS", help="Ask it at least this often; default: 3600.")
]


@app.command("list")
@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the sources and how each does.

    Example: vouchd source list
    """
    sources = instance.call("sources.list")
    if json_output:
        output.as_json(sources)
        return
    output.records([_row(one) for one in sources], json_output=False, empty="no source; add one: vouchd source add")


@app.command()
@reachable
def add(
    source: SourceArgument,
    address: Annotated[
        str, typer.Argument(metavar="URL", help="http(s)://, file:// or a path, ldap(s)://HOST/DN?ATTRIBUTE.")
    ],
    instance: Instance,
    interval: IntervalOption = None,
    paused: Annotated[bool, typer.Option("--paused", help="Fetch only when asked to.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Have CRLs fetched from a source; a running instance begins at once.

    Example: vouchd source add root http://crl.example.org/root.crl --interval 600
    """
    body = {"name": source, "url": address, "paused": paused} | (
        {} if interval is None else {"interval_seconds": interval}
    )
    _show(instance.call("sources.add", body=body), json_output)


@app.command("set")
@reachable
def set_(
    source: SourceArgument,
    instance: Instance,
    address: Annotated[str | None, typer.Option("--address", metavar="URL", help="Where it fetches.")] = None,
    interval: IntervalOption = None,
    json_output: JsonOption = False,
) -> None:
    """Change where and how often a source fetches.

    Example: vouchd source set root --interval 300
    """
    body = {"url": address, "interval_seconds": interval}
    _show(instance.call("sources.change", source, body=body), json_output)


@app.command()
@reachable
def pause(source: SourceArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Fetch from a source no more until it is resumed; `vouchd source fetch` asks it all the same.

    Example: vouchd source pause root
    """
    _show(instance.call("sources.change", source, body={"paused": True}), json_output)


@app.command()
@reachable
def resume(source: SourceArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Have a paused source fetch again.

    Example: vouchd source resume root
    """
    _show(instance.call("sources.change", source, body={"paused": False}), json_output)


@app.command()
@reachable
def remove(source: SourceArgument, instance: Instance) -> None:
    """Take a source away; the CRLs that came from it stay.

    Example: vouchd source remove root
    """
    instance.call("sources.remove", source)
    output.say(f"removed {source}")


@app.command()
@reachable
def fetch(source: SourceArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Have the running instance ask a source now; exit code 1 when that failed.

    Example: vouchd source fetch root
    """
    answer = instance.call("sources.fetch", source)
    if json_output:
        output.as_json(answer)
    else:
        output.record(_row(answer), json_output=False)
    if answer["last_error"]:
        raise typer.Exit(FAILED)


def _row(source: Mapping[str, Any]) -> dict[str, object]:
    state = (
        "paused" if source["paused"] else "failing" if source["last_error"] else "good" if source["attempts"] else "-"
    )
    return {
        "source": source["name"],
        "state": state,
        "url": source["url"],
        "last success": output.when(source["last_success"] or None),
        "next attempt": None if source["paused"] else output.when(source["next_attempt"] or None),
        "taken": source["accepted"],
        "error": source["last_error"],
    }


def _show(settled: Mapping[str, Any], json_output: bool) -> None:
    if json_output:
        output.as_json(settled)
        return
    output.say(settled["diff"].rstrip() or f"{settled['name']} is just so already")
    if settled["restarting"]:
        output.note("the instance restarts with it")
