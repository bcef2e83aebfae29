"""The running instance: its state, its figures."""

from __future__ import annotations

from typing import Any

from vouchd import __version__
from vouchd.api import told
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import BOOLEAN, COUNT, MAYBE_MOMENT, MAYBE_NUMBER, MOMENT, TEXT, Schema, array, record, reference
from vouchd.ee.counters import SIGNATURE_BUCKETS
from vouchd.instance.report import ServedPoint
from vouchd.service.permission import Action

_COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}
_NUMBER: Schema = {"type": "number"}
SCHEMAS: dict[str, Schema] = {
    "Instance": record(
        {
            "version": TEXT,
            "started_at": MOMENT,
            "manifest": COUNT,
            "up_to_date": BOOLEAN,
            "workers": COUNT,
            "restarts": COUNT,
            "store_error": TEXT,
            "ocsp_port": COUNT,
            "checks": array(record({"name": TEXT, "ok": BOOLEAN, "required": BOOLEAN, "detail": TEXT})),
            "issuing_points": array(reference("ServedPoint")),
            "sources": array({"type": "object"}),
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
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "instance")
    running = call.services.running

    async def look() -> tuple[Any, Any]:
        return running.report(), running.checks()

    report, checks = call.wait(look())
    return {
        "version": __version__,
        "started_at": told.moment(report.started_at),
        "manifest": report.version,
        "up_to_date": report.acknowledged,
        "workers": len(report.workers),
        "restarts": report.restarts,
        "store_error": report.store_error,
        "ocsp_port": report.ee[1],
        "checks": [{"name": one.name, "ok": one.ok, "required": one.required, "detail": one.detail} for one in checks],
        "issuing_points": [_served(point) for point in report.issuing_points],
        "sources": [state.shown() for state in report.sources],
    }


def _served(point: ServedPoint) -> dict[str, Any]:
    return {
        "authority": point.authority_id,
        "label": point.label,
        "scope": point.scope_id,
        "sequence": point.sequence,
        "crl_number": point.crl_number,
        "this_update": told.moment(point.this_update),
        "next_update": told.maybe_moment(point.next_update),
        "entries": point.entries,
        "index_bytes": point.index_bytes,
    }


def _statistics(call: Call) -> dict[str, Any]:
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "statistics")
    snapshot = call.wait(call.services.running.snapshot())
    counters, buckets = snapshot.get("counters", {}), (*SIGNATURE_BUCKETS, None)
    histogram = counters.get("signature_counts", [0] * len(buckets))
    return {
        "at": told.moment(call.services.clock.now()),
        "since": told.moment(call.services.running.started_at),
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
    started_at = call.services.running.started_at
    call.wait(call.services.running.restart())
    return {"restarting": True, "started_at": told.moment(started_at)}


OPERATIONS = (
    Operation(
        "GET",
        "/instance",
        "getInstance",
        "What the instance serves now, with its readiness checks",
        Action.READ_STATISTICS,
        _instance,
        reference("Instance"),
    ),
    Operation(
        "GET",
        "/statistics",
        "getStatistics",
        "Figures of all workers together since the start",
        Action.READ_STATISTICS,
        _statistics,
        reference("Statistics"),
    ),
    Operation(
        "POST",
        "/restart",
        "restartInstance",
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
