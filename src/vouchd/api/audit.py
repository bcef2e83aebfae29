"""The audit log: search and single records, for Auditors."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from vouchd.api import shapes
from vouchd.api.model import SHA256, Moment, Origin, about
from vouchd.api.operation import Call, Operation
from vouchd.audit import chain, former
from vouchd.audit.search import AuditQuery
from vouchd.errors import BadInput
from vouchd.service.permission import Action

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
_MAX_SEQ = 2**62
_MAX_SKIP = 1_000_000
Time = Annotated[str, Meta(max_length=40, examples=["2026-11-24T05:41:44Z"], extra_json_schema={"format": "date-time"})]


class AuditRecord(Struct, frozen=True):
    """A record of the audit log."""

    seq: Annotated[int, about("Its number.", 1207)]
    time: Annotated[Moment, about("When it was written.")]
    event: Annotated[str, about("The event, as docs/operate/audit.md lists them.", "CONFIG_ROLE")]
    outcome: Annotated[str, about("`success` or `failure`.", "success")]
    caller: Annotated[str, about("The user.", "alice")]
    groups: Annotated[list[str], about("The groups that the user had then.", ["Auditors"])]
    origin: Annotated[Origin, about("Whence the user came.")]
    detail: Annotated[dict[str, str | int], about("What else is told of the event.", {"user": "bob"})]
    previous: Annotated[SHA256, about("The hash of the record before it.")]
    hash: Annotated[SHA256, about("The hash of this record, which the next one names.")]


class AuditPage(Struct, frozen=True):
    """Records of the audit log, newest first."""

    records: Annotated[list[AuditRecord], about("The records.")]
    next_before: Annotated[int | None, about("What to ask for with `before` next; null: there are no more.", 1107)]


class _Terms(Struct, frozen=True, forbid_unknown_fields=True):
    """What records of either log are searched for."""

    event: Annotated[str, Meta(max_length=80), about("Only this event.", "CONFIG_ROLE")] = ""
    outcome: Annotated[str, Meta(max_length=20), about("Only this outcome, `success` or `failure`.", "failure")] = ""
    since: Annotated[Time | UnsetType, about("Not before this time.")] = UNSET
    until: Annotated[Time | UnsetType, about("Not after this time.")] = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT), about("At most so many.", 10)] = DEFAULT_LIMIT


class AuditTerms(_Terms, frozen=True, forbid_unknown_fields=True):
    """What records are searched for."""

    caller: Annotated[str, Meta(max_length=200), about("Only this user.", "alice")] = ""
    text: Annotated[
        str, Meta(max_length=200), about("Only records with this in caller, origin or detail.", "Example Root")
    ] = ""
    before: Annotated[
        Annotated[int, Meta(ge=1, le=_MAX_SEQ)] | UnsetType, about("Only records of lower numbers.", 1107)
    ] = UNSET
    traffic: Annotated[bool, about("Also connections, log-ins and signatures of the log.")] = True


class FormerAuditRecord(Struct, frozen=True):
    """A record of the former log: as the Certificate System wrote it, which our chain does not prove."""

    file: Annotated[str, about("The file that it stands in.", "20261129T003658Z-1f0c5c2e9ab34d10.log")]
    line: Annotated[int, about("Where in it, counted from 1.", 17)]
    time: Annotated[Moment, about("When it was written.")]
    event: Annotated[str, about("The event, as it was called there.", "CONFIG_ROLE")]
    outcome: Annotated[str, about("`success` or `failure`.", "success")]
    caller: Annotated[str, about("The user there.", "ocspadmin")]
    detail: Annotated[dict[str, str], about("What else is told of the event.", {"Op": "list"})]
    text: Annotated[str, about("Its words.", "authorization success")]


class FormerAuditPage(Struct, frozen=True):
    """Records of the former log, newest first."""

    records: Annotated[list[FormerAuditRecord], about("The records.")]
    next_skip: Annotated[int | None, about("What to ask for with `skip` next; null: there are no more.", 100)]


class FormerAuditTerms(_Terms, frozen=True, forbid_unknown_fields=True):
    """What records of the former log are searched for."""

    caller: Annotated[str, Meta(max_length=200), about("Only this user.", "ocspadmin")] = ""
    text: Annotated[
        str, Meta(max_length=200), about("Only records with this in caller, detail or words.", "Example Root")
    ] = ""
    skip: Annotated[int, Meta(ge=0, le=_MAX_SKIP), about("Pass over so many of the newest.", 100)] = 0


def _query(terms: AuditTerms | FormerAuditTerms) -> AuditQuery:
    return AuditQuery(
        event=terms.event,
        outcome=terms.outcome,
        caller=terms.caller,
        text=terms.text,
        since=shapes.posix(terms.since, "since") if terms.since else None,
        until=shapes.posix(terms.until, "until") if terms.until else None,
    )


def _search(call: Call) -> AuditPage:
    terms: AuditTerms = call.query
    call.services.permission.allow(call.caller, Action.READ_AUDIT, "search")
    query = replace(_query(terms), before=terms.before or None, traffic=terms.traffic)
    records = call.services.audit_reader.search(query, limit=terms.limit)
    is_full = len(records) == terms.limit
    return AuditPage(records=[_shape(one) for one in records], next_before=records[-1].seq if is_full else None)


def _former(call: Call) -> FormerAuditPage:
    terms: FormerAuditTerms = call.query
    call.services.permission.allow(call.caller, Action.READ_AUDIT, "search of the former log")
    records = call.services.former_audit.search(_query(terms), skip=terms.skip, limit=terms.limit)
    following = terms.skip + len(records)
    is_last = len(records) < terms.limit or following > _MAX_SKIP
    return FormerAuditPage(records=[_former_shape(one) for one in records], next_skip=None if is_last else following)


def _former_shape(record: former.FormerRecord) -> FormerAuditRecord:
    return FormerAuditRecord(
        file=record.file,
        line=record.line,
        time=shapes.moment(record.time),
        event=record.event,
        outcome=record.outcome,
        caller=record.caller,
        detail=dict(record.detail),
        text=record.text,
    )


def _one(call: Call) -> AuditRecord:
    number = call.path["seq"]
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise BadInput("a record is named by its number")
    call.services.permission.allow(call.caller, Action.READ_AUDIT, f"record {number}")
    return _shape(call.services.audit_reader.record(int(number)))


def _shape(entry: chain.AuditRecord) -> AuditRecord:
    return AuditRecord(
        seq=entry.seq,
        time=shapes.moment(entry.time),
        event=entry.event,
        outcome=entry.outcome,
        caller=entry.caller,
        groups=list(entry.groups),
        origin=entry.origin,
        detail=dict(entry.detail),
        previous=entry.previous,
        hash=entry.hash,
    )


OPERATIONS = (
    Operation(
        "GET",
        "/audit",
        "audit.search",
        "Records of the audit log, newest first; the next page is asked for with before=next_before",
        Action.READ_AUDIT,
        _search,
        AuditPage,
        query=AuditTerms,
    ),
    Operation(
        "GET",
        "/audit/{seq}",
        "audit.get",
        "One record of the audit log",
        Action.READ_AUDIT,
        _one,
        AuditRecord,
    ),
    Operation(
        "GET",
        "/former-audit",
        "audit.former",
        "Records of the audit log of the Certificate System whose place this instance took, newest first",
        Action.READ_AUDIT,
        _former,
        FormerAuditPage,
        query=FormerAuditTerms,
    ),
)
