"""`vouchd start`, `stop`, `restart` and `status`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vouchd.api.instance import STARTING, STOPPED
from vouchd.cli import output
from vouchd.cli.instance import Folder, Instance, opened, reachable, start_folder
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.errors import ClientError, LifecycleError, RestartRefused
from vouchd.instance import lifecycle
from vouchd.instance.unconfigured import is_being_set_up
from vouchd.settings.layout import Layout

WaitSecondsOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait until it is ready.")]
NOT_RUNNING = 3  # as `systemctl status` has it
_SHOWN_POINTS = 100  # of issuing points; what follows them is not to scroll away
_POLL_SECONDS = 0.05


def start(
    instance: InstanceOption = DEFAULT_INSTANCE,
    timeout: WaitSecondsOption = lifecycle.START_SECONDS,
    json_output: JsonOption = False,
) -> None:
    """Start the instance in the background and wait until it answers.

    Of one that is being set up this opens the wizard, again and with another PIN.

    Example: vouchd start --instance /srv/vouchd
    """
    layout = Layout(instance.absolute())
    if is_being_set_up(layout):
        from vouchd.cli.setup import show_wizard  # noqa: PLC0415  it brings the wizard along
        from vouchd.wiring.setup import start_wizard  # noqa: PLC0415  likewise

        show_wizard(layout, start_wizard(layout), json_output)
        return
    start_folder(layout, timeout)
    with opened(str(layout.root)) as started:
        _show(started.call("instance.get"), json_output)


def stop(
    instance: InstanceOption = DEFAULT_INSTANCE,
    timeout: WaitSecondsOption = lifecycle.STOP_SECONDS,
) -> None:
    """Stop the instance; requests under way are answered first.

    Example: vouchd stop --instance /srv/vouchd
    """
    layout = Layout(instance.absolute())
    lifecycle.require_instance(layout)
    stopped = _stop_wizard(layout)
    output.note("stopped" if lifecycle.stop(layout, seconds=timeout) or stopped else "was not running")


def _stop_wizard(layout: Layout) -> bool:
    """End the wizard of an instance that is being set up; whether it was open."""
    if not is_being_set_up(layout):
        return False
    from vouchd.wiring.setup import stop_wizard  # noqa: PLC0415  it brings the wizard along

    return stop_wizard(layout)


@reachable
def restart(
    instance: Instance,
    timeout: WaitSecondsOption = lifecycle.START_SECONDS,
    json_output: JsonOption = False,
) -> None:
    """Have the instance take on changed settings without dropping a request; start it when it does not run.

    Example: vouchd restart --instance /srv/vouchd
    """
    before = instance.call("instance.get")
    if before["state"] == STOPPED and isinstance(instance, Folder):
        instance.start(timeout)
        _show(instance.call("instance.get"), json_output)
        return
    _show(restarted(instance, before, seconds=timeout), json_output)


def restarted(
    instance: Instance, before: Mapping[str, Any], *, seconds: float = lifecycle.START_SECONDS
) -> Mapping[str, Any]:
    """What the instance, which was as `before`, is after a restart. Raises: LifecycleError when it has refused."""
    instance.call("instance.restart")
    former, until = set(before["worker_processes"]), time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            now = instance.call("instance.get")
        except ClientError:  # its agent port is about to open again
            now = before
        if now["refusals"] > before["refusals"]:
            raise RestartRefused(f"not restarted: {now['refused']}", hint="it goes on as it was; mend it, try again")
        if now["state"] == STOPPED:
            raise LifecycleError("the instance ended instead of restarting", hint="see its log, or: vouchd start")
        if now["up_to_date"] and not former & set(now["worker_processes"]):
            return now  # type: ignore[no-any-return]
        time.sleep(_POLL_SECONDS)
    raise LifecycleError(f"the instance has not restarted after {seconds:.0f} seconds", hint="see its log")


@reachable
def status(instance: Instance, json_output: JsonOption = False) -> None:
    """Show whether the instance runs and what it serves; exit code 3 when it does not run.

    Example: vouchd status --json
    """
    report = instance.call("instance.get")
    if report["state"] in {STOPPED, STARTING}:
        state = report["state"]
        if state == STOPPED and isinstance(instance, Folder) and is_being_set_up(instance.layout):
            state = "being set up"
        output.record({"state": state, "pid": report["pid"]}, json_output=json_output)
        raise typer.Exit(NOT_RUNNING if report["state"] == STOPPED else 0)
    _show(report, json_output)


def _show(report: Mapping[str, Any], json_output: bool) -> None:
    points = [
        {
            "CA": point["label"],
            "scope": point["scope"],
            "CRL_number": point["crl_number"],
            "revoked": point["entries"],
            "this_update": point["this_update"],
            "next_update": point["next_update"],
        }
        for point in report["issuing_points"]
    ]
    state: dict[str, object] = {
        "state": report["state"],
        "halted": report["halted"] or None,
        "starting": _starting(report),
        "pid": report["pid"],
        "since": report["started_at"],
        "OCSP": report["ocsp"],
        "health": report["health"],
        "agents": report["agents"],
        "workers": report["workers"],
        "workers_not_confined": (report["workers"] - report["workers_confined"]) or None,
        "worker_restarts": report["restarts"],
        "store": report["store_error"] or "in reach",
        "not_verified": "; ".join(f"{one['label']}: {one['why']}" for one in report["unverified"]) or None,
        "damaged_indexes_made_again": report["index_repairs"] or None,
        "behind": ", ".join(report["behind"]) or None,
        "failing": "; ".join(f"{one['name']}: {one['error']}" for one in report["upkeep"]) or None,
        "renews_itself": "; ".join(map(_renewal, report["renewals"])) or None,
    }
    kept = report["hindrances"]
    members, sources = [seen_row(one) for one in report["members"]], report["sources"]
    if json_output:
        output.as_json({**state, "issuing_points": points, "sources": sources, "members": members, "hindrances": kept})
        return
    output.fields({name.replace("_", " "): value for name, value in state.items()})
    output.say("")
    output.records(points[:_SHOWN_POINTS], json_output=False, empty="no CRL yet; add one with `vouchd crl add FILE`")
    if len(points) > _SHOWN_POINTS:
        output.say(f"… and {len(points) - _SHOWN_POINTS} more: vouchd crl list, or --json")
    if kept:
        output.say("")
        output.table(["hindrance", "of", "why"], [[one["cause"], one["name"], one["why"]] for one in kept])
    if members:
        output.say("")
        output.records(members, json_output=False)
    if sources:
        output.say("")
        output.table(["source", "URL", "last success", "next attempt", "error"], [_source(one) for one in sources])


def _starting(report: Mapping[str, Any]) -> str | None:
    """How many CAs are proved since the start, as long as not all are."""
    proved, of = report["proved"], report["to_prove"]
    return f"{proved:,} of {of:,} CAs proved" if proved < of else None


def _renewal(renewal: Mapping[str, Any]) -> str:
    """When a certificate renews itself, and what is in the way."""
    trouble = renewal["error"] or renewal["waiting"]
    return f"{renewal['name']} {renewal['due_at'] or ''} ({renewal['by']}{': ' + trouble if trouble else ''})"


def seen_row(member: Mapping[str, Any]) -> dict[str, object]:
    """One line about another member, as it was seen last."""
    return {
        "member": member["id"],
        "role": member["role"],
        "reachable": member["reachable"],
        "last_seen": member["seen_at"],
        "differs_for": max((abs(lag["seconds"]) for lag in member["lags"]), default=0),
        "clock_differs": member["clock_skew_seconds"],
        "error": member["error"] or None,
        "compared": member["compared"],
        "compared_at": member["compared_at"],
    }


def _source(source: Mapping[str, Any]) -> list[object]:
    times = [output.when(source.get(name) or None) for name in ("last_success", "next_attempt")]
    return [source.get("name"), source.get("url"), *times, source.get("last_error") or None]
