"""The instance as it runs, or does not: its state, its figures; having it restart."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vouchd import __version__
from vouchd.api import shapes
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import (
    BOOLEAN,
    COUNT,
    MAYBE_MOMENT,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    MOMENT,
    TEXT,
    Schema,
    array,
    described,
    record,
    reference,
)
from vouchd.cloning.verdicts import VerifiedMember, read_verification
from vouchd.ee.counters import SIGNATURE_BUCKETS
from vouchd.errors import LifecycleError
from vouchd.instance.hindrances import hindrances
from vouchd.instance.report import InstanceReport, MemberReport, ServedPoint
from vouchd.service.permission import Action

STOPPED, STARTING, LOADING, RUNNING, HALTED = STATES = ("stopped", "starting", "loading", "running", "halted")
_COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}
_NUMBER: Schema = {"type": "number"}
SCHEMAS: dict[str, Schema] = {
    "Instance": record(
        {
            "state": described(
                {"type": "string", "enum": list(STATES)},
                "`loading`: not every worker answers from the newest manifest yet; `halted`: it answers tryLater only.",
            ),
            "halted": described(TEXT, "The self test that keeps it from answering; empty: it answers."),
            "version": TEXT,
            "pid": described(MAYBE_NUMBER, "The manager process."),
            "started_at": MAYBE_MOMENT,
            "manifest": described(COUNT, "The number of what is served; 0 before the first."),
            "up_to_date": described(BOOLEAN, "Every worker answers from that manifest."),
            "workers": COUNT,
            "worker_processes": array({"type": "integer"}),
            "workers_confined": described(COUNT, "Those that cannot open the instance's files."),
            "restarts": described(COUNT, "Worker processes that were started anew."),
            "refusals": described(COUNT, "Restarts of the instance that were refused since its start."),
            "refused": described(TEXT, "Why the last one was."),
            "store_error": described(TEXT, "Empty while the store can be reached."),
            "index_repairs": described(COUNT, "Index files that were damaged and made again."),
            "unverified": described(
                array(record({"authority": TEXT, "scope": TEXT, "label": TEXT, "why": TEXT})),
                "What the store holds and this member does not serve, because it could not verify it.",
            ),
            "hindrances": described(
                array(record({"cause": TEXT, "name": TEXT, "why": TEXT})), "What keeps revocations from being answered."
            ),
            "ocsp_port": COUNT,
            "ocsp": described(MAYBE_TEXT, "URL of the OCSP port."),
            "health": described(MAYBE_TEXT, "URL of the health port."),
            "agents": described(MAYBE_TEXT, "URL of the agent port; null while it is off."),
            "behind": described(array(TEXT), "CAs of which another member has had a newer CRL for too long."),
            "upkeep": described(array(record({"name": TEXT, "error": TEXT})), "The work for the set that fails."),
            "checks": array(record({"name": TEXT, "ok": BOOLEAN, "required": BOOLEAN, "detail": TEXT})),
            "issuing_points": array(reference("ServedPoint")),
            "sources": array({"type": "object"}),
            "members": described(array(reference("OtherMember")), "The other members of the set, as last seen."),
            "replication": {"anyOf": [reference("ReplicationState"), {"type": "null"}]},
        }
    ),
    "OtherMember": record(
        {
            "id": TEXT,
            "role": TEXT,
            "reachable": BOOLEAN,
            "seen_at": MAYBE_MOMENT,
            "clock_skew_seconds": {"type": "integer"},
            "error": TEXT,
            "lags": array(record({"authority": TEXT, "scope": TEXT, "seconds": {"type": "integer"}})),
            "compared": described(MAYBE_TEXT, "How it came out of the newest comparison."),
            "compared_at": MAYBE_MOMENT,
        }
    ),
    "ReplicationState": record(
        {
            "conflicts": COUNT,
            "stale_replicas": array({"type": "integer"}),
            "servers": array(record({"member": TEXT, "state": TEXT, "lag_seconds": MAYBE_NUMBER})),
        }
    ),
    "Restarting": record({"restarting": BOOLEAN, "started_at": MOMENT}),
    "ServedPoint": record(
        {
            "authority": TEXT,
            "label": TEXT,
            "scope": TEXT,
            "sequence": COUNT,
            "crl_number": MAYBE_NUMBER,
            "this_update": MOMENT,
            "next_update": MAYBE_MOMENT,
            "entries": COUNT,
            "index_bytes": COUNT,
        }
    ),
    "Statistics": record(
        {
            "at": MOMENT,
            "since": MOMENT,
            "answers": _COUNTS,
            "errors": _COUNTS,
            "cert_statuses": _COUNTS,
            "cache_hits": COUNT,
            "cache_misses": COUNT,
            "signatures": COUNT,
            "signature_seconds": _NUMBER,
            "signature_histogram": array(record({"up_to_seconds": {"type": ["number", "null"]}, "count": COUNT})),
            "gauges": {"type": "object", "additionalProperties": _NUMBER},
        }
    ),
}


def _instance(call: Call) -> dict[str, Any]:
    running = call.running
    try:
        report = running.report()
    except LifecycleError:  # stopped, or not ready
        return _silent(running.pid())
    return {
        "state": HALTED if report.halted else RUNNING if report.acknowledged else LOADING,
        "halted": report.halted,
        "version": __version__,
        "pid": report.pid,
        "started_at": shapes.moment(report.started_at),
        "manifest": report.version,
        "up_to_date": report.acknowledged,
        "workers": len(report.workers),
        "worker_processes": [worker.pid for worker in report.workers],
        "workers_confined": sum(worker.confined for worker in report.workers),
        "restarts": report.restarts,
        "refusals": report.refusals,
        "refused": report.refused,
        "store_error": report.store_error,
        "index_repairs": report.index_repairs,
        "unverified": [
            {"authority": one.authority_id, "scope": one.scope_id, "label": one.label, "why": one.why}
            for one in report.unverified
        ],
        "hindrances": [asdict(one) for one in hindrances(report, call.clock.now())],
        "ocsp_port": report.ee[1],
        "ocsp": _url(report.ee),
        "health": _url(report.health),
        "agents": _url(report.agent, "https") if report.agent else None,
        "behind": list(report.behind),
        "upkeep": [{"name": name, "error": error} for name, error in report.upkeep],
        "checks": [
            {"name": one.name, "ok": one.ok, "required": one.required, "detail": one.detail} for one in running.checks()
        ],
        "issuing_points": [_served(point) for point in report.issuing_points],
        "sources": [state.shown() for state in report.sources],
        "members": _others(call, report.members),
        "replication": _replication(report),
    }


def _silent(pid: int | None) -> dict[str, Any]:
    """The same of an instance that serves nothing."""
    lists = (
        "worker_processes",
        "behind",
        "upkeep",
        "checks",
        "issuing_points",
        "sources",
        "members",
        "unverified",
        "hindrances",
    )
    return {
        "state": STARTING if pid else STOPPED,
        "version": __version__,
        "pid": pid,
        "up_to_date": False,
        **dict.fromkeys(("halted", "refused", "store_error"), ""),
        **dict.fromkeys(
            (
                "manifest",
                "workers",
                "workers_confined",
                "restarts",
                "refusals",
                "index_repairs",
                "ocsp_port",
            ),
            0,
        ),
        **dict.fromkeys(("started_at", "ocsp", "health", "agents", "replication")),
        **{name: [] for name in lists},
    }


def _others(call: Call, members: tuple[MemberReport, ...]) -> list[dict[str, Any]]:
    verification = read_verification(call.layout.verification) if members else None
    verified = {one.id: one for one in verification.members} if verification else {}

    def compared(one: VerifiedMember | None) -> dict[str, Any]:
        at = verification.at if verification and one else None
        return {"compared": one.state if one else None, "compared_at": shapes.maybe_moment(at)}

    return [
        {
            "id": one.id,
            "role": one.role,
            "reachable": one.reachable,
            "seen_at": shapes.maybe_moment(one.seen_at),
            "clock_skew_seconds": one.skew_seconds,
            "error": one.error,
            "lags": [{"authority": lag[0], "scope": lag[1], "seconds": lag[2]} for lag in one.lags],
            **compared(verified.get(one.id)),
        }
        for one in members
    ]


def _replication(report: InstanceReport) -> dict[str, Any] | None:
    replication = report.replication
    if replication is None:
        return None
    return {
        "conflicts": replication.conflicts,
        "stale_replicas": list(replication.stale_replicas),
        "servers": [
            {"member": one.member, "state": one.state, "lag_seconds": one.lag_seconds} for one in replication.servers
        ],
    }


def _url(address: tuple[str, int], scheme: str = "http") -> str:
    host, port = address
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def _served(point: ServedPoint) -> dict[str, Any]:
    return {
        "authority": point.authority_id,
        "label": point.label,
        "scope": point.scope_id,
        "sequence": point.sequence,
        "crl_number": point.crl_number,
        "this_update": shapes.moment(point.this_update),
        "next_update": shapes.maybe_moment(point.next_update),
        "entries": point.entries,
        "index_bytes": point.index_bytes,
    }


def _statistics(call: Call) -> dict[str, Any]:
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "statistics")
    snapshot = call.running.snapshot()
    counters, buckets = snapshot.get("counters", {}), (*SIGNATURE_BUCKETS, None)
    histogram = counters.get("signature_counts", [0] * len(buckets))
    return {
        "at": shapes.moment(call.services.clock.now()),
        "since": shapes.moment(call.running.report().started_at),
        "answers": counters.get("answers", {}),
        "errors": counters.get("errors", {}),
        "cert_statuses": counters.get("cert_statuses", {}),
        "cache_hits": counters.get("cache_hits", 0),
        "cache_misses": counters.get("cache_misses", 0),
        "signatures": sum(histogram),
        "signature_seconds": counters.get("signature_seconds", 0.0),
        "signature_histogram": [
            {"up_to_seconds": bound, "count": count} for bound, count in zip(buckets, histogram, strict=False)
        ],
        "gauges": {name: value for name, value in snapshot.get("gauges", {}).items() if isinstance(value, int | float)},
    }


def _restart(call: Call) -> dict[str, Any]:
    call.services.permission.allow(call.caller, Action.RESTART, "instance")
    started_at = call.running.report().started_at
    call.running.restart()
    return {"restarting": True, "started_at": shapes.moment(started_at)}


OPERATIONS = (
    Operation(
        "GET",
        "/instance",
        "instance.get",
        "What the instance serves now, with its readiness checks",
        Action.READ_STATISTICS,
        _instance,
        reference("Instance"),
    ),
    Operation(
        "GET",
        "/statistics",
        "instance.statistics",
        "Figures of all workers together since the start",
        Action.READ_STATISTICS,
        _statistics,
        reference("Statistics"),
    ),
    Operation(
        "POST",
        "/restart",
        "instance.restart",
        "Restart with the settings and certificates that are there now; nothing is dropped",
        Action.RESTART,
        _restart,
        reference("Restarting"),
        status=202,
        refusals={
            409: "A setting, a certificate or a critical self test keeps it from restarting; it goes on as it was."
        },
    ),
)
