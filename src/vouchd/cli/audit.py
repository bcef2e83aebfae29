"""`vouchd audit`: the audit log proved, shown and searched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from vouchd.wiring import instance as wiring
from vouchd.cli import output, remote, told
from vouchd.cli.auditproof import verify
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.errors import ConfigError
from vouchd.settings.layout import Layout
from vouchd.audit.chain import AuditRecord
from vouchd.audit.reading import MAX_LIMIT, AuditQuery
from vouchd.service.permission import Action

app = typer.Typer(name="audit", no_args_is_help=True, help="The audit log: who did what, and the proof of it.")
app.command("verify")(verify)

_SHOWN_DETAIL = 160
_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d")


@app.command()
@remote.reachable
def show(
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", help="The record's number, as `vouchd audit search` has it.")
    ],
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Show one record with all its detail; that it was looked at is recorded.

    Example: vouchd audit show 17
    """
    if asked:
        record = told.audit_record(asked.get("audit", str(number)))
    else:
        with wiring.services(Layout(instance.absolute())) as services:
            services.permission.allow(services.caller, Action.READ_AUDIT, f"record {number}")
            record = services.audit_reader.record(number)
    if json_output:
        output.as_json(_full(record))
        return
    output.record({**_full(record), "groups": ", ".join(record.groups), "detail": _detail(record)}, json_output=False)


@app.command()
@remote.reachable
def search(
    instance: InstanceOption = DEFAULT_INSTANCE,
    event: Annotated[str, typer.Option("--event", metavar="EVENT", help="Records of this event, as AUTHZ.")] = "",
    outcome: Annotated[str, typer.Option("--outcome", metavar="OUTCOME", help="success or failure.")] = "",
    caller: Annotated[str, typer.Option("--caller", metavar="NAME", help="Records of this user or source.")] = "",
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="Found in caller, origin or detail.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="UTC: 2026-11-24 or 2026-11-24T06:30Z.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="UTC, included.")] = "",
    before: Annotated[
        int | None, typer.Option("--before", metavar="NUMBER", help="Records below it: next page.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_LIMIT, help="At most so many.")] = 50,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Search all files of the log, newest record first; that it was searched is recorded.

    Example: vouchd audit search --event AUTHZ --outcome failure --since 2026-11-01
    """
    query = AuditQuery(event, outcome, caller, text, _moment(since), _moment(until), before)
    if asked:
        found = told.audit_records(asked, query, limit)
    else:
        with wiring.services(Layout(instance.absolute())) as services:
            services.permission.allow(services.caller, Action.READ_AUDIT, "search")
            found = list(services.audit_reader.search(query, limit=limit))
    rows = [_full(record) if json_output else _row(record) for record in found]
    output.records(rows, json_output=json_output, empty="no record is like that")


def _row(record: AuditRecord) -> dict[str, object]:
    return {
        "number": record.seq,
        "time": output.when(record.time),
        "event": record.event,
        "outcome": record.outcome,
        "caller": record.caller,
        "origin": record.origin,
        "detail": _detail(record)[:_SHOWN_DETAIL],
    }


def _full(record: AuditRecord) -> dict[str, object]:
    return {
        "number": record.seq,
        "time": output.when(record.time),
        "event": record.event,
        "outcome": record.outcome,
        "caller": record.caller,
        "groups": list(record.groups),
        "origin": record.origin,
        "detail": dict(record.detail),
        "previous": record.previous,
        "hash": record.hash,
    }


def _detail(record: AuditRecord) -> str:
    return " ".join(f"{name}={value!r}" for name, value in record.detail.items())


def _moment(text: str) -> int | None:
    """POSIX seconds of a moment in UTC, None for no text. Raises: ConfigError."""
    for form in _FORMATS if text else ():
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    if text:
        raise ConfigError(f"{text[:100]!r} is not a time", hint="write 2026-11-24 or 2026-11-24T06:30Z, in UTC")
    return None
