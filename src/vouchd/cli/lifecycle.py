"""`vouchd start`, `stop`, `restart` and `status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vouchd.cli import members as members_shown
from vouchd.cli import output, remote, told
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.client.admin import AdminClient
from vouchd.clock import SystemClock
from vouchd.cloning.verdicts import Verification, read_verification
from vouchd.errors import LifecycleError
from vouchd.instance import lifecycle
from vouchd.instance.hindrances import hindrances
from vouchd.instance.lifecycle import manager_command
from vouchd.instance.report import InstanceReport
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring

WaitSecondsOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait until it is ready.")]
NOT_RUNNING = 3  # as `systemctl status` has it


def start(
    instance: InstanceOption = DEFAULT_INSTANCE,
    timeout: WaitSecondsOption = lifecycle.START_SECONDS,
    json_output: JsonOption = False,
) -> None:
    """Start the instance in the background and wait until it answers.

    Example: vouchd start --instance /srv/vouchd
    """
    layout = Layout(instance.absolute())
    wiring.check_instance(layout, warn=output.warn)
    _show(lifecycle.start(layout, manager_command(layout), seconds=timeout), json_output)


def stop(
    instance: InstanceOption = DEFAULT_INSTANCE,
    timeout: WaitSecondsOption = lifecycle.STOP_SECONDS,
) -> None:
    """Stop the instance; requests under way are answered first.

    Example: vouchd stop --instance /srv/vouchd
    """
    layout = _existing(Layout(instance.absolute()))
    output.note("stopped" if lifecycle.stop(layout, seconds=timeout) else "was not running")


@remote.reachable
def restart(
    instance: InstanceOption = DEFAULT_INSTANCE,
    timeout: WaitSecondsOption = lifecycle.START_SECONDS,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Have the instance take on changed settings without dropping a request; start it when it does not run.

    Example: vouchd restart --instance /srv/vouchd
    """
    if asked:
        asked.post("restart", body={})
        output.record({"state": "restarting"}, json_output=json_output)
        return
    layout = Layout(instance.absolute())
    wiring.check_instance(layout, warn=output.warn)
    _show(lifecycle.restart(layout, manager_command(layout), seconds=timeout), json_output)


@remote.reachable
def status(
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Show whether the instance runs and what it serves; exit code 3 when it does not run.

    Example: vouchd status --json
    """
    if asked:
        _show_there(asked, json_output=json_output)
        return
    layout = _existing(Layout(instance.absolute()))
    now = lifecycle.status(layout)
    if now.report is None:
        state = "starting" if now.pid else "stopped"
        output.record({"state": state, "pid": now.pid}, json_output=json_output)
        raise typer.Exit(0 if now.pid else NOT_RUNNING)
    _show(now.report, json_output, read_verification(layout.verification))


def _show_there(asked: AdminClient, *, json_output: bool) -> None:
    """The same of an instance that was asked over its agent port."""
    found = asked.get("instance")
    fields, rows, members = told.instance_fields(found), told.served_rows(found), members_shown.seen_rows(asked)
    if json_output:
        output.as_json({**fields, "issuing_points": rows, "sources": found["sources"], "members": members})
        return
    output.record(fields, json_output=False)
    output.say("")
    output.records(rows, json_output=False, empty="no CRL yet; add one with `vouchd crl add FILE`")
    if members:
        output.say("")
        output.records(members, json_output=False)


def _existing(layout: Layout) -> Layout:
    if not layout.cs_cfg.exists():
        raise LifecycleError(
            f"{layout.root}: there is no instance",
            hint="name its folder with --instance DIR, or make one: vouchd create",
        )
    return layout


def _show(report: InstanceReport, json_output: bool, verification: Verification | None = None) -> None:
    points = [
        {
            "CA": point.label,
            "scope": point.scope_id,
            "CRL_number": point.crl_number,
            "revoked": point.entries,
            "this_update": output.when(point.this_update),
            "next_update": output.when(point.next_update),
        }
        for point in report.issuing_points
    ]
    state: dict[str, object] = {
        "state": "halted" if report.halted else "running" if report.acknowledged else "loading",
        "halted": report.halted or None,
        "pid": report.pid,
        "since": output.when(report.started_at),
        "OCSP": _url(report.ee),
        "health": _url(report.health),
        "agents": _url(report.agent, "https") if report.agent else None,
        "workers": len(report.workers),
        "worker_restarts": report.restarts,
        "store": report.store_error or "in reach",
        "not_verified": "; ".join(f"{one.label}: {one.why}" for one in report.unverified) or None,
        "damaged_indexes_made_again": report.index_repairs or None,
        "behind": ", ".join(report.behind) or None,
        "failing": "; ".join(f"{name}: {error}" for name, error in report.upkeep) or None,
    }
    kept = [asdict(one) for one in hindrances(report, SystemClock().now())]
    members = members_shown.reported_rows(report, verification)
    if json_output:
        output.as_json(
            {
                **state,
                "issuing_points": points,
                "sources": [state.shown() for state in report.sources],
                "members": members,
                "hindrances": kept,
            }
        )
        return
    output.fields({name.replace("_", " "): value for name, value in state.items()})
    output.say("")
    output.records(points, json_output=False, empty="no CRL yet; add one with `vouchd crl add FILE`")
    if kept:
        output.say("")
        output.table(["hindrance", "of", "why"], [list(one.values()) for one in kept])
    if members:
        output.say("")
        output.records(members, json_output=False, empty="")
    if report.sources:
        output.say("")
        output.table(
            ["source", "URL", "last success", "next attempt", "error"],
            [
                [
                    source.name,
                    source.url,
                    output.when(source.last_success or None),
                    output.when(source.next_attempt or None),
                    source.last_error or None,
                ]
                for source in report.sources
            ],
        )


def _url(address: tuple[str, int], scheme: str = "http") -> str:
    host, port = address
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
