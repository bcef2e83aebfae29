"""`vouchd clone status`: the set on one screen, as one of its members sees it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from typing import Any

import typer

from vouchd.cli import members as shown
from vouchd.cli import output, remote
from vouchd.cli.lifecycle import NOT_RUNNING
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.cli.told import Row
from vouchd.client.admin import AdminClient
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS
from vouchd.cloning.registry import master_of
from vouchd.cloning.verdicts import read_verification
from vouchd.errors import LifecycleError, NotFound, StoreUnavailable
from vouchd.instance import lifecycle
from vouchd.instance.report import InstanceReport, ReplicationReport
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring import instance as wiring

TROUBLED = 4  # exit code: something is not as it should be
_OF_THE_SET = frozenset({"members", "behind", "clocks", "replication", "verification", "upkeep"})
_TIMEOUT_SECONDS = 10
_MAX_BYTES = 1 << 20
_SHORT_ID = 16

Lag = tuple[str, str, str, int]  # member, CA, scope, seconds: see instance.report.MemberReport


@remote.reachable
def status(
    instance: InstanceOption = DEFAULT_INSTANCE, asked: remote.Asked = None, json_output: JsonOption = False
) -> None:
    """Show the set as this member sees it: master, members, clocks, which CRL each has, replication, what is wrong.

    Ends with 3 when the instance does not run, with 4 when something is not as it should be.

    Example: vouchd clone status
    """
    found = _there(asked) if asked else _here(Layout(instance.absolute()))
    troubles: list[Row] = found["troubles"]
    if json_output:
        output.as_json(found)
    else:
        parts = {"members", "issuing_points", "troubles"}
        output.fields({name.replace("_", " "): value for name, value in found.items() if name not in parts})
        output.say("")
        output.records(found["members"], json_output=False, empty="no other member")
        output.say("")
        points = [{**point, "differs": _words(point["differs"])} for point in found["issuing_points"]]
        output.records(points, json_output=False, empty="no CRL yet")
        for trouble in troubles:
            output.warn(f"{trouble['name']}: {trouble['detail']}")
    if troubles:
        raise typer.Exit(TROUBLED)


def _here(layout: Layout) -> dict[str, Any]:
    """Of the instance in that folder. Raises: LifecycleError when it does not run, NotFound when it is in no set."""
    settings = read_settings(layout)
    report = lifecycle.status(layout).report
    if report is None:
        output.warn("the instance does not run", "vouchd start")
        raise typer.Exit(NOT_RUNNING)
    masters = [member.id for member in report.members if member.role == "master"]
    is_clone = settings.refresh_seconds == CLONE_REFRESH_SECONDS
    me, master = settings.member_id, next(iter(masters), None)
    try:
        with wiring.services(layout) as services:
            known = services.domain.members(services.caller)
    except StoreUnavailable as error:  # then the others are known from what was seen of them
        output.warn(f"the registry cannot be read: {error}", error.hint)
    else:
        if me not in {member.id for member in known}:
            raise NotFound("this instance is in no security domain", hint="vouchd clone prepare makes it the master")
        found = master_of(known)
        master = found.id if found else None
        is_clone = me != master
    lags = ((one.id, *lag) for one in report.members for lag in one.lags)
    points = ((p.authority_id, p.scope_id, p.label, p.crl_number, p.this_update) for p in report.issuing_points)
    return {
        "domain": settings.of_set.domain,
        "this_instance": me,
        "role": "clone" if is_clone else "master",
        "master": master,
        "facts_in": "directory server" if settings.directory else "embedded store",
        "replication": _flow(report.replication),
        "members": _with_replication(report, shown.reported_rows(report, read_verification(layout.verification))),
        "issuing_points": _points(((*point, output.when(at)) for *point, at in points), lags),
        "troubles": _troubles(_checks(report.health)),
    }


def _there(asked: AdminClient) -> dict[str, Any]:
    """The same of an instance that was asked over its agent port."""
    domain, instance = asked.get("members"), asked.get("instance")
    if domain["this_instance"] is None:
        raise NotFound("that instance is in no security domain", hint="there: vouchd clone prepare")
    facts = shown.domain_fields(domain)
    seen = [(one["id"], one["seen"]) for one in domain["members"] if one["seen"]]
    lags = ((name, lag["authority"], lag["scope"], lag["seconds"]) for name, one in seen for lag in one["lags"])
    names = ("authority", "scope", "label", "crl_number", "this_update")
    points = (tuple(point[name] for name in names) for point in instance["issuing_points"])
    checks = {check["name"]: check for check in instance["checks"]}
    is_directory = domain["facts_in"] == "directory server"
    return {
        **{name: facts[name] for name in ("domain", "this_instance", "role", "master", "facts_in")},
        "replication": checks["replication"]["detail"] if is_directory and "replication" in checks else None,
        "members": shown.seen_rows(asked),
        "issuing_points": _points(points, lags),
        "troubles": _troubles(checks.values()),
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


def _flow(report: ReplicationReport | None) -> str | None:
    """How the directory servers replicate, in words."""
    if report is None:
        return None
    flowing = sum(server.state != "red" for server in report.servers)
    words = [f"flowing to {flowing} of {len(report.servers)}"]
    words += [f"conflicts: {report.conflicts}"] if report.conflicts else []
    words += [f"replica ids to be cleaned: {len(report.stale_replicas)}"] if report.stale_replicas else []
    return ", ".join(words)


def _with_replication(report: InstanceReport, rows: list[Row]) -> list[Row]:
    """The rows with the state of each member's directory server, where they have one."""
    if report.replication is None:
        return rows
    servers = {server.member: server for server in report.replication.servers}
    return [{**row, "replication": _server(servers, row["member"])} for row in rows]


def _server(servers: Mapping[str, Any], member: object) -> str | None:
    server = servers.get(str(member))
    if server is None:
        return None
    return server.state if not server.lag_seconds else f"{server.state}, {server.lag_seconds} s late"


def _checks(address: tuple[str, int]) -> list[dict[str, Any]]:
    """The readiness checks, from the health port of this host. Raises: LifecycleError."""
    connection = http.client.HTTPConnection(*address, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        found: list[dict[str, Any]] = json.loads(connection.getresponse().read(_MAX_BYTES))["checks"]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise LifecycleError("the health port does not answer", hint="vouchd status tells its address") from error
    finally:
        connection.close()
    return found


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
