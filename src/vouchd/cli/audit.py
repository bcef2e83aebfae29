"""`vouchd audit`: the audit log proved, shown and searched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509

from vouchd.audit.former import FormerLog
from vouchd.audit.proof import Proof, prove
from vouchd.audit.search import MAX_LIMIT, AuditReader
from vouchd.audit.trust import Trust
from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_input
from vouchd.errors import AuditLogBroken, ConfigError
from vouchd.instance.certificates.places import AUDIT_SIGNING, find
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.pem import MAX_BUNDLE_BYTES, read_bundle
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

# `vouchd audit verify`: the proof that the audit log is as it was written.


def verify(
    log: Annotated[
        Path | None, typer.Argument(metavar="LOG", help="A log's file or folder elsewhere; default: the instance's.")
    ] = None,
    instance: InstanceOption = DEFAULT_INSTANCE,
    cert: Annotated[
        list[str] | None,
        typer.Option("--cert", metavar="FILE", help="Trust this signer, or signers of this CA; repeatable."),
    ] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Fail when a record is not signed yet.")] = False,
    expect: Annotated[
        str, typer.Option("--expect", metavar="NUMBER:HASH", help="Fail unless this record is there, as noted before.")
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Prove that the audit log is as it was written, or name the first line that is not.

    Reads the rotated files too. Trusts the instance's audit signing certificate and its CAs, or what --cert names.

    Example: vouchd audit verify copies/audit.jsonl --cert audit_signing.pem --signed
    """
    path = Layout(instance.absolute()).audit_log if log is None else log / "audit.jsonl" if log.is_dir() else log
    trusted = _certificates(cert) if cert or log is not None else _of_instance(Layout(instance.absolute()))
    proof = prove(path, Trust(trusted))
    output.record(_shown(proof), json_output=json_output)
    if proof.broken:
        broken = proof.broken
        raise AuditLogBroken(
            f"{broken.file}:{broken.line}: {broken.why}",
            hint="records before this line are proved; compare with a copy",
        )
    if not trusted and proof.signatures:
        output.warn(
            "whose signatures these are was not checked", "name the signer's certificate or its CA: --cert FILE"
        )
    if proof.repairs:
        numbers = ", ".join(map(str, proof.repairs[:20]))
        output.warn(f"damage at the end of the log was found when it was written on: record {numbers}")
    _check(path, proof, expect, signed=signed)
    _check_former(path)


def _check_former(path: Path) -> None:
    """The log of the program whose place was taken lies beside ours, which says what came of it."""
    former_log = FormerLog.beside(path)
    unlike = former_log.unlike(AuditReader(path))
    if unlike.changed:
        raise AuditLogBroken(
            f"{former_log.folder / unlike.changed[0]}: is not what was imported", hint="compare with a copy"
        )
    for names, words in ((unlike.lost, "was imported and is gone"), (unlike.unnamed, "no record tells of its import")):
        if names:
            output.warn(f"{former_log.folder}: {', '.join(names)}: {words}")


def _check(path: Path, proof: Proof, expect: str, *, signed: bool) -> None:
    if expect:
        number, _, digest = expect.partition(":")
        record = AuditReader(path).record(int(number)) if number.isdecimal() else None
        if record is None or record.hash != digest:
            raise AuditLogBroken(f"record {number[:20]} is not the one noted", hint="compare with a copy of the log")
    if not proof.unsigned:
        return
    words = f"{proof.unsigned} records, the newest, are not signed" if proof.signatures else "no record is signed"
    if signed:
        raise AuditLogBroken(words, hint="a running instance with an audit signing certificate signs within seconds")
    output.warn(words)


def _certificates(names: list[str] | None) -> list[x509.Certificate]:
    certificates: list[x509.Certificate] = []
    for name in names or []:
        try:
            certificates += read_bundle(read_input(name, MAX_BUNDLE_BYTES)).certificates
        except ValueError as error:
            raise ConfigError(f"{name}: {error}", hint="--cert wants certificates, PEM, DER or PKCS #7") from error
    return certificates


def _of_instance(layout: Layout) -> list[x509.Certificate]:
    """The certificate that signs the log with those above it, and the CAs that the instance answers for."""
    with wiring.services(layout) as services:
        signer = find(services.settings, AUDIT_SIGNING)
        authorities: Iterable[bytes] = [der for one in services.store.authorities() for der in one.certificates]
    own = [] if signer.certificate is None else [signer.certificate, *signer.chain]
    return [*own, *map(load_certificate, authorities)]


def _shown(proof: Proof) -> dict[str, object]:
    return {
        "intact": proof.broken is None,
        "files": proof.files,
        "records": proof.records,
        "first": proof.first,
        "newest": f"{proof.head.seq}:{proof.head.hash}",
        "signatures": proof.signatures,
        "signed_through": proof.signed_through,
        "signers": list(proof.signers),
        "unsigned": proof.unsigned,
    }


app = typer.Typer(name="audit", no_args_is_help=True, help="The audit log: who did what, and the proof of it.")
app.command("verify")(verify)

_SHOWN_DETAIL = 160
_PAGE_RECORDS = 1000

Record = Mapping[str, Any]  # of the log, as the operations give it
_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d")


@app.command()
@reachable
def show(
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", help="The record's number, as `vouchd audit search` has it.")
    ],
    instance: Instance,
    json_output: JsonOption = False,
) -> None:
    """Show one record with all its detail; that it was looked at is recorded.

    Example: vouchd audit show 17
    """
    record = instance.call("audit.get", str(number))
    if json_output:
        output.as_json(_full(record))
        return
    output.record(
        {**_full(record), "groups": ", ".join(record["groups"]), "detail": _detail(record)}, json_output=False
    )


EventOption = Annotated[str, typer.Option("--event", metavar="EVENT", help="Records of this event, as AUTHZ.")]
OutcomeOption = Annotated[str, typer.Option("--outcome", metavar="OUTCOME", help="success or failure.")]
SinceOption = Annotated[str, typer.Option("--since", metavar="TIME", help="UTC: 2026-11-24 or 2026-11-24T06:30Z.")]
UntilOption = Annotated[str, typer.Option("--until", metavar="TIME", help="UTC, included.")]


@app.command()
@reachable
def search(
    instance: Instance,
    event: EventOption = "",
    outcome: OutcomeOption = "",
    caller: Annotated[str, typer.Option("--caller", metavar="NAME", help="Records of this user or source.")] = "",
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="Found in caller, origin or detail.")] = "",
    since: SinceOption = "",
    until: UntilOption = "",
    before: Annotated[
        int | None, typer.Option("--before", metavar="NUMBER", help="Records below it: next page.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_LIMIT, help="At most so many.")] = 50,
    json_output: JsonOption = False,
) -> None:
    """Search all files of the log, newest record first; that it was searched is recorded.

    Example: vouchd audit search --event AUTHZ --outcome failure --since 2026-11-01
    """
    query = _query({"event": event, "outcome": outcome, "caller": caller, "text": text}, since, until)
    records: list[Record] = []
    while len(records) < limit:
        below = query if before is None else query | {"before": before}
        page = instance.call("audit.search", **below, limit=min(limit - len(records), _PAGE_RECORDS))
        records += page["records"]
        if (before := page["next_before"]) is None:
            break
    rows = [_full(record) if json_output else _row(record) for record in records]
    output.records(rows, json_output=json_output, empty="no record is like that")


def _query(words: Mapping[str, str], since: str, until: str) -> dict[str, Any]:
    """What is asked for, as the operations take it: only what was said."""
    times = {"since": _moment(since), "until": _moment(until)}
    return {name: value for name, value in (*words.items(), *times.items()) if value}


@app.command()
@reachable
def former(
    instance: Instance,
    event: EventOption = "",
    outcome: OutcomeOption = "",
    caller: Annotated[str, typer.Option("--caller", metavar="NAME", help="Records of this user.")] = "",
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="Found in caller, detail or words.")] = "",
    since: SinceOption = "",
    until: UntilOption = "",
    skip: Annotated[int, typer.Option("--skip", metavar="N", min=0, help="Pass over so many of the newest.")] = 0,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_PAGE_RECORDS, help="At most so many.")] = 50,
    json_output: JsonOption = False,
) -> None:
    """Search the log of the Certificate System whose place was taken, newest record first; that is recorded.

    What stands there is as `vouchd import audit` took it. Our chain proves that nobody changed it since, and not that
    it was true.

    Example: vouchd audit former --event CONFIG_ROLE --since 2026-11-01
    """
    query = _query({"event": event, "outcome": outcome, "caller": caller, "text": text}, since, until)
    records = instance.call("audit.former", **query, skip=skip, limit=limit)["records"]
    rows = records if json_output else [_former_row(one) for one in records]
    output.records(rows, json_output=json_output, empty="no record is like that; `vouchd import audit` brings them")


def _former_row(record: Record) -> dict[str, object]:
    names = ("time", "event", "outcome", "caller")
    detail = " ".join(filter(None, (_detail(record), record["text"])))
    return {**{name: record[name] for name in names}, "detail": detail[:_SHOWN_DETAIL]}


def _row(record: Record) -> dict[str, object]:
    names = ("time", "event", "outcome", "caller", "origin")
    return {
        "number": record["seq"],
        **{name: record[name] for name in names},
        "detail": _detail(record)[:_SHOWN_DETAIL],
    }


def _full(record: Record) -> dict[str, object]:
    return {"number": record["seq"], **{name: value for name, value in record.items() if name != "seq"}}


def _detail(record: Record) -> str:
    return " ".join(f"{name}={value!r}" for name, value in record["detail"].items())


def _moment(text: str) -> str | None:
    """RFC 3339 of a moment in UTC, None for no text. Raises: ConfigError."""
    for form in _FORMATS if text else ():
        try:
            return output.when(int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()))
        except ValueError:
            continue
    if text:
        raise ConfigError(f"{text[:100]!r} is not a time", hint="write 2026-11-24 or 2026-11-24T06:30Z, in UTC")
    return None
