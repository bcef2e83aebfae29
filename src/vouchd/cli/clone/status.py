"""`vouchd clone status`: the set on one screen, as one of its members sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import typer

from vouchd.api.instance import STARTING, STOPPED
from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.lifecycle import NOT_RUNNING, seen_row
from vouchd.cli.options import JsonOption

TROUBLED = 4  # exit code: something is not as it should be
_OF_THE_SET = frozenset({"members", "behind", "clocks", "replication", "verification", "upkeep"})
_SHORT_ID = 16

Row = dict[str, object]
Lag = tuple[str, str, str, int]  # member, CA, scope, seconds: see instance.report.MemberReport


@reachable
def status(instance: Instance, json_output: JsonOption = False) -> None:
    """Show the set as this member sees it: master, members, clocks, which CRL each has, replication, what is wrong.

    Ends with 3 when the instance does not run, with 4 when something is not as it should be.

    Example: vouchd clone status
    """
    now = instance.call("instance.get")
    if now["state"] in {STOPPED, STARTING}:
        output.warn("the instance does not run", "vouchd start")
        raise typer.Exit(NOT_RUNNING)
    place = instance.call("members.place")
    if place["registry_error"]:  # then the others are known from what was seen of them
        output.warn(f"the registry cannot be read: {place['registry_error']}")
    shown = _shown(now, place)
    troubles: list[Row] = shown["troubles"]
    if json_output:
        output.as_json(shown)
    else:
        parts = {"members", "issuing_points", "troubles"}
        output.fields({name.replace("_", " "): value for name, value in shown.items() if name not in parts})
        output.say("")
        output.records(shown["members"], json_output=False, empty="no other member")
        output.say("")
        points = [{**point, "differs": _words(point["differs"])} for point in shown["issuing_points"]]
        output.records(points, json_output=False, empty="no CRL yet")
        for trouble in troubles:
            output.warn(f"{trouble['name']}: {trouble['detail']}")
    if troubles:
        raise typer.Exit(TROUBLED)


def _shown(now: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    lags = (
        (one["id"], lag["authority"], lag["scope"], lag["seconds"]) for one in now["members"] for lag in one["lags"]
    )
    names = ("authority", "scope", "label", "crl_number", "this_update")
    points = (tuple(point[name] for name in names) for point in now["issuing_points"])
    return {
        **{name: place[name] for name in ("domain", "this_instance", "role", "master", "facts_in")},
        "replication": _flow(now["replication"]),
        "members": _with_replication(now["replication"], [seen_row(one) for one in now["members"]]),
        "issuing_points": _points(points, lags),
        "troubles": _troubles(now["checks"]),
    }


def _points(points: Iterable[Iterable[Any]], lags: Iterable[Lag]) -> list[Row]:
    """Each issuing point with the members that do not have the CRL that is answered from here, and for how long."""
    differs: dict[tuple[str, str], dict[str, int]] = {}
    for member, authority, scope, seconds in lags:
        differs.setdefault((authority, scope), {})[member] = seconds
    rows: list[Row] = []
    for authority, scope, label, number, this_update in points:
        numbers = differs.pop((authority, scope), {})
        rows.append(_point(label, scope, number, this_update, numbers))
    rest = differs.items()  # of a CA that has no CRL here
    return rows + [_point(authority[:_SHORT_ID], scope, None, None, numbers) for (authority, scope), numbers in rest]


def _point(label: str, scope: str, number: int | None, this_update: str | None, differs: dict[str, int]) -> Row:
    return {"CA": label, "scope": scope, "CRL_number": number, "this_update": this_update, "differs": differs}


def _words(differs: object) -> str:
    """For how long which member has had another CRL: the sign tells which is older."""
    if not isinstance(differs, dict) or not differs:
        return "nowhere"
    return ", ".join(
        f"{member}: {'older' if seconds > 0 else 'newer'} for {abs(seconds)} s" for member, seconds in differs.items()
    )


def _flow(replication: Mapping[str, Any] | None) -> str | None:
    """How the directory servers replicate, in words."""
    if replication is None:
        return None
    servers, conflicts, stale = (replication[name] for name in ("servers", "conflicts", "stale_replicas"))
    flowing = sum(server["state"] != "red" for server in servers)
    words = [f"flowing to {flowing} of {len(servers)}"]
    words += [f"conflicts: {conflicts}"] if conflicts else []
    words += [f"replica ids to be cleaned: {len(stale)}"] if stale else []
    return ", ".join(words)


def _with_replication(replication: Mapping[str, Any] | None, rows: list[Row]) -> list[Row]:
    """The rows with the state of each member's directory server, where they have one."""
    if replication is None:
        return rows
    servers = {server["member"]: server for server in replication["servers"]}
    return [{**row, "replication": _server(servers.get(str(row["member"])))} for row in rows]


def _server(server: Mapping[str, Any] | None) -> str | None:
    if server is None:
        return None
    late = server["lag_seconds"]
    return f"{server['state']}, {late} s late" if late else str(server["state"])


def _troubles(checks: Iterable[Mapping[str, Any]]) -> list[Row]:
    """What is wrong with the set."""
    return [
        {"name": check["name"], "detail": check["detail"]}
        for check in checks
        if check["name"] in _OF_THE_SET and not check["ok"]
    ]


def register(app: typer.Typer) -> None:
    """Mount this verb."""
    app.command()(status)
