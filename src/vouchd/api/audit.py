"""The audit log: search and single records, for Auditors."""

from __future__ import annotations

from typing import Any

from vouchd.api import shapes
from vouchd.api.operation import Call, Operation, Parameter
from vouchd.api.schema import MAYBE_NUMBER, MOMENT, TEXT, Schema, array, record, reference, text
from vouchd.audit.chain import AuditRecord
from vouchd.audit.search import AuditQuery
from vouchd.errors import BadInput
from vouchd.service.permission import Action

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
_MAX_SEQ = 2**62
_TIME: Schema = {"type": "string", "format": "date-time", "maxLength": 40}
SCHEMAS: dict[str, Schema] = {
    "AuditRecord": record(
        {
            "seq": {"type": "integer"},
            "time": MOMENT,
            "event": TEXT,
            "outcome": TEXT,
            "caller": TEXT,
            "groups": array(TEXT),
            "origin": TEXT,
            "detail": {"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
            "previous": TEXT,
            "hash": TEXT,
        }
    ),
    "AuditPage": record({"records": array(reference("AuditRecord")), "next_before": MAYBE_NUMBER}),
}


def _search(call: Call) -> dict[str, Any]:
    terms, limit = call.query, call.query.get("limit", DEFAULT_LIMIT)
    call.services.permission.allow(call.caller, Action.READ_AUDIT, "search")
    query = AuditQuery(
        event=terms.get("event", ""),
        outcome=terms.get("outcome", ""),
        caller=terms.get("caller", ""),
        text=terms.get("text", ""),
        since=shapes.posix(terms["since"], "since") if "since" in terms else None,
        until=shapes.posix(terms["until"], "until") if "until" in terms else None,
        before=terms.get("before"),
    )
    records = call.services.audit_reader.search(query, limit=limit)
    return {
        "records": [_shape(one) for one in records],
        "next_before": records[-1].seq if len(records) == limit else None,
    }


def _one(call: Call) -> dict[str, Any]:
    number = call.path["seq"]
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise BadInput("a record is named by its number")
    call.services.permission.allow(call.caller, Action.READ_AUDIT, f"record {number}")
    return _shape(call.services.audit_reader.record(int(number)))


def _shape(entry: AuditRecord) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "time": shapes.moment(entry.time),
        "event": entry.event,
        "outcome": entry.outcome,
        "caller": entry.caller,
        "groups": list(entry.groups),
        "origin": entry.origin,
        "detail": dict(entry.detail),
        "previous": entry.previous,
        "hash": entry.hash,
    }


_QUERY = (
    Parameter("event", text(high=80), "Only this event."),
    Parameter("outcome", text(high=20), "Only this outcome, `success` or `failure`."),
    Parameter("caller", text(high=200), "Only this user."),
    Parameter("text", text(high=200), "Only records with this in caller, origin or detail."),
    Parameter("since", _TIME, "Not before this time."),
    Parameter("until", _TIME, "Not after this time."),
    Parameter("before", {"type": "integer", "minimum": 1, "maximum": _MAX_SEQ}, "Only records of lower numbers."),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, f"At most so many; {DEFAULT_LIMIT}."),
)
OPERATIONS = (
    Operation(
        "GET",
        "/audit",
        "audit.search",
        "Records of the audit log, newest first; the next page is asked for with before=next_before",
        Action.READ_AUDIT,
        _search,
        reference("AuditPage"),
        query=_QUERY,
    ),
    Operation(
        "GET",
        "/audit/{seq}",
        "audit.get",
        "One record of the audit log",
        Action.READ_AUDIT,
        _one,
        reference("AuditRecord"),
    ),
)
