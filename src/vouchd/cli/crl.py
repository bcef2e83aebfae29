"""`vouchd crl`: the CRLs that an instance answers from, and how each is shown, as a line of a list or in full."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.cli import bulk, output
from vouchd.cli.authority import ReferenceArgument
from vouchd.cli.instance import Instance, all_authorities, all_issuing_points, reachable
from vouchd.cli.options import (
    STDIN,
    JsonOption,
    ScopeOption,
    read_input,
    read_large_input,
)
from vouchd.cli.progress import working
from vouchd.cli.serving import WaitOption, seconds_to_wait, warn_unserved
from vouchd.errors import ConfigError, CRLRejected, CRLStale, PermissionDenied, VouchdError, outcome
from vouchd.files import Spool, write_new
from vouchd.pkix import names as dn
from vouchd.pkix import pem
from vouchd.pkix.crl import MAX_CRL_BYTES, read_header
from vouchd.pkix.der import Buffer
from vouchd.pkix.scope import COMPLETE_SCOPE, Scope

app = typer.Typer(name="crl", no_args_is_help=True, help="The CRLs that an instance answers from.")
quarantine = typer.Typer(
    name="quarantine", no_args_is_help=True, help="CRLs held back because they gain or lose too many entries."
)
app.add_typer(quarantine)

Row = dict[str, object]
Shape = Mapping[str, Any]  # as the operations give it


@app.command()
@reachable
def step_back(
    reference: ReferenceArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why the older CRL is right; it stays with the CRL.")],
    instance: Instance,
    scope: ScopeOption = COMPLETE_SCOPE,
    wait: WaitOption = True,
    json_output: JsonOption = False,
) -> None:
    """Serve the older CRL that the store has in place of the newer one that is served, on all members of the set.

    No member goes back by itself: a store may be an old backup. The word is for this one step.

    Example: vouchd crl step-back "Example Root" --reason "CRL 9 was a mistake of the CA"
    """
    done = instance.call("older_crls.step_back", reference, scope, body={"reason": reason}, wait=seconds_to_wait(wait))
    output.record(point_fields(done["issuing_point"], labels_of(instance)), json_output=json_output)
    output.note(f"it is served in place of CRL {done['instead_of']['crl_number']}")
    warn_unserved(instance, done["served"], wait=wait)


@app.command()
@reachable
def add(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE|DIR...", help="CRLs, DER or PEM, full or delta, or folders of them; - is stdin."),
    ],
    instance: Instance,
    accept_lower_number: Annotated[
        bool,
        typer.Option("--accept-lower-number", help="Take it though its number is lower: that went up by mistake."),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="With it: what happened.")] = "",
    wait: WaitOption = True,
    json_output: JsonOption = False,
) -> None:
    """Take CRLs in, and wait until a running instance answers from them.

    Every file is tried, of folders too; the exit code is that of the first failure. A CRL that is held is none.

    Example: vouchd crl add root.crl
    """
    if accept_lower_number is not bool(reason):
        raise ConfigError("a lower number is taken for a reason", hint="give --accept-lower-number and --reason TEXT")
    if any(Path(name).is_dir() for name in files):
        if accept_lower_number:
            raise ConfigError("a lower number is taken of one CRL", hint="name its file")
        _add_folders(instance, files, wait=wait, json_output=json_output)
        return
    rows: list[dict[str, object]] = []
    failures: list[VouchdError] = []
    labels = labels_of(instance)
    for name in files:
        try:
            for crl in _crls(read_large_input(name, MAX_CRL_BYTES)):
                origin = "stdin" if name == STDIN else str(Path(name).absolute())
                more = {"reason": reason} if accept_lower_number else {}
                act = "crls.add_lower" if accept_lower_number else "crls.add"
                done = instance.call(act, body=crl, origin=origin, wait=seconds_to_wait(wait), **more)
                rows += taken_rows(done, labels)
                for one in done["notices"]:
                    output.warn(one["notice"], one["mend"])
                warn_unserved(instance, done["served"], wait=wait)
        except VouchdError as error:
            failures += [] if isinstance(error, CRLStale) and error.changes_nothing else [error]
            output.fail(type(error)(f"{name}: {error}", hint=error.hint))
    output.records(rows, json_output=json_output)
    if failures:
        raise typer.Exit(outcome(failures[0]).exit_code)


def _add_folders(instance: Instance, names: list[str], *, wait: bool, json_output: bool) -> None:
    files = [file for name in names for file in (bulk.files_of(Path(name)) if Path(name).is_dir() else [Path(name)])]
    tally = bulk.Tally(len(files))

    def read(file: Path) -> list[tuple[bytes, int]]:
        return [(bytes(crl), len(crl)) for crl in _crls(read_input(str(file), MAX_CRL_BYTES))]

    done, served = 0, True
    notices: dict[str, str] = {}
    for batch, last in bulk.batches(bulk.read_all(files, read, tally)):
        answer = _taken(instance, batch, seconds_to_wait(wait and last))
        for item, taken in zip(batch, answer["crls"], strict=True):
            if taken["unchanged"]:
                tally.unchanged += 1
            elif bulk.judged(item, taken["problem"], tally):
                tally.new += 1
        served = answer["served"]
        notices |= {one["mend"]: one["notice"] for one in answer["notices"]}
        done += len(batch)
        bulk.progress(done, "CRLs")
    for mend, notice in notices.items():
        output.warn(notice, mend)
    warn_unserved(instance, served, wait=wait)
    tally.finish(json_output=json_output)


def _taken(instance: Instance, batch: list[bulk.Item], seconds: int) -> Any:
    """The answer to a batch; a CRL that is too large for one is sent by itself."""
    if batch[0].size <= bulk.BATCH_BYTES:
        body = {"crls": [bulk.as_base64(item.body) for item in batch]}
        return instance.call("crls.add_all", body=body, origin=str(batch[0].file.absolute().parent), wait=seconds)
    try:
        done = instance.call("crls.add", body=batch[0].body, origin=str(batch[0].file.absolute()), wait=seconds)
    except VouchdError as error:
        unchanged = isinstance(error, CRLStale) and error.changes_nothing
        problem = {"title": str(error), "error": type(error).__name__, "hint": error.hint}
        return {"crls": [{"problem": problem, "unchanged": unchanged}], "served": True, "notices": []}
    return {**done, "crls": [{"problem": None, "unchanged": False}]}


def _crls(data: Buffer) -> Iterator[Buffer]:
    """The CRLs in a PEM file, which may hold several; anything else as it is."""
    if b"-----BEGIN" not in bytes(data[:65536]):
        yield data
        return
    try:
        blocks = list(pem.stored_blocks(data, pem.CRL_LABELS, Spool))
    except ValueError as error:
        raise CRLRejected(str(error)) from error
    if not blocks:
        raise CRLRejected("holds no CRL", hint="openssl crl -in FILE -noout -text reads one")
    yield from blocks


@app.command("list")
@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the CRLs in use, one line for each CRL issuing point.

    Example: vouchd crl list --json
    """
    labels = labels_of(instance)
    rows = [point_row(point, labels) for point in all_issuing_points(instance)]
    output.records(rows, json_output=json_output, empty="no CRL yet; add one with `vouchd crl add FILE`")


@app.command()
@reachable
def show(
    what: Annotated[str, typer.Argument(metavar="CA|FILE", help="A CA whose CRL is in use, or a CRL in a file.")],
    instance: Instance,
    scope: ScopeOption = COMPLETE_SCOPE,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write its DER into a new file.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Show a CRL in use, or one in a file that is not taken in yet.

    Example: vouchd crl show "Example Root" --out root.crl
    """
    if Path(what).is_file() and out is None:
        with working(f"read {Path(what).name}", shown=not json_output):
            shapes = [file_fields(bytes(crl)) for crl in _crls(read_input(what, MAX_CRL_BYTES))]
        for shape in shapes:
            output.record(shape, json_output=json_output)
        return
    point = instance.call("crls.get", what, scope)
    if out is not None:
        write_new(out, instance.call("crls.download", what, scope), 0o644)
    output.record(point_fields(point, labels_of(instance)), json_output=json_output)


@app.command()
@reachable
def retire(
    reference: ReferenceArgument,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="The issuing point, as `vouchd crl list` shows it.")],
    instance: Instance,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Let CRLs of that scope be taken again.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Take away an issuing point that will not come again; shown is what that changes.

    Example: vouchd crl retire "Example Root" 4f2a91c07b --yes
    """
    wait = seconds_to_wait(True)
    if undo:
        instance.call("retirement.restore", reference, scope, wait=wait)
        output.note("its CRLs are taken again")
        return
    change = instance.call("retirement.preview", reference, scope)
    output.record({name: value for name, value in change.items() if name != "authority"}, json_output=json_output)
    if change["lost"]:
        output.warn(f"up to {change['lost']} of these entries are in no other CRL: they are revoked no longer")
    if change["covered_before"] and not change["covered_after"]:
        output.warn("what the CRLs that are left do not list becomes unknown")
    if not yes and not typer.confirm("retire it?", err=True):
        raise typer.Exit(1)
    instance.call("retirement.retire", reference, scope, wait=wait)
    output.note("retired")


# CRLs that were valid but changed too much, and wait for a decision.


@quarantine.command("list")
@reachable
def list_held(instance: Instance, json_output: JsonOption = False) -> None:
    """List the CRLs that are held back, and why.

    Example: vouchd crl quarantine list
    """
    labels = labels_of(instance)
    rows = [
        {
            "CA": labels.get(waiting["authority"], waiting["authority"]),
            "scope": waiting["scope"],
            "CRL_number": waiting["crl"]["crl_number"],
            "this_update": waiting["crl"]["this_update"],
            "received_at": waiting["received_at"],
            "origin": waiting["origin"] or None,
            "why": waiting["why"],
        }
        for waiting in instance.call("crls.list_held")
    ]
    output.records(rows, json_output=json_output, empty="no CRL is held back")


@quarantine.command()
@reachable
def release(
    reference: ReferenceArgument,
    instance: Instance,
    scope: ScopeOption = COMPLETE_SCOPE,
    wait: WaitOption = True,
    json_output: JsonOption = False,
) -> None:
    """Answer from the CRL that is held back: its change is right. What it changes is said first.

    Example: vouchd crl quarantine release "Example Root"
    """
    for change in instance.call("crls.preview_held", reference, scope)["changes"]:
        lost, gained, before = (change[name] for name in ("lost", "gained", "before"))
        output.note(f"{change['label']}: {lost} of {before} entries lost, {gained} gained")
    done = instance.call("crls.release", reference, scope, wait=seconds_to_wait(wait))
    output.record(taken_rows(done, labels_of(instance))[0], json_output=json_output)
    warn_unserved(instance, done["served"], wait=wait)


@quarantine.command()
@reachable
def drop(reference: ReferenceArgument, instance: Instance, scope: ScopeOption = COMPLETE_SCOPE) -> None:
    """Forget the CRL that is held back: its change is wrong.

    Example: vouchd crl quarantine drop "Example Root"
    """
    instance.call("crls.drop", reference, scope)
    output.note("dropped")


def labels_of(instance: Instance) -> dict[str, str]:
    """Label by id of all CAs; none for a publisher, who may not list them."""
    try:
        return {one["id"]: one["label"] for one in all_authorities(instance)}
    except PermissionDenied:
        return {}


def point_row(point: Shape, names: Mapping[str, str]) -> Row:
    """One line about the CRL in use of an issuing point."""
    return {
        "CA": names.get(point["authority"], point["authority"]),
        "scope": point["scope"],
        "CRL_number": point["crl_number"],
        "kind": "delta" if point["delta"] else "full",
        "this_update": point["this_update"],
        "next_update": point["next_update"],
        "entries": point["entries"],
        "state": "expired" if point["expired"] else "fresh",
    }


def taken_rows(done: Shape, names: Mapping[str, str]) -> list[Row]:
    """The same for a CRL that was taken in just now, with whether it is served."""
    rows = [point_row(point, names) for point in done["issuing_points"]]
    return [
        {**{name: value for name, value in row.items() if name != "state"}, "served": done["served"]} for row in rows
    ]


def point_fields(point: Shape, names: Mapping[str, str]) -> Row:
    """All that is known of the CRL in use of an issuing point."""
    return {
        **point_row(point, names),
        "CA_id": point["authority"],
        "sequence": point["sequence"],
        "accepted_at": point["accepted_at"],
        "origin": point["origin"] or None,
        "lower_number_reason": point["lower_number_reason"] or None,
        **_crl_fields("base", point["base"]),
        **(_crl_fields("delta", point["delta"]) if point["delta"] else {}),
        "only": ", ".join(point["only"]) or None,
        "reasons": ", ".join(point["reasons"]) or None,
        "indirect": point["indirect"],
    }


def _crl_fields(which: str, crl: Shape) -> Row:
    return {
        f"{which}_number": crl["crl_number"],
        f"{which}_sha256": crl["sha256"],
        f"{which}_bytes": crl["bytes"],
        f"{which}_this_update": crl["this_update"],
        f"{which}_next_update": crl["next_update"],
    }


def _scope_fields(scope: Scope) -> Row:
    kinds = {"users": scope.only_user, "CAs": scope.only_ca, "attribute certificates": scope.only_attribute}
    reasons = scope.only_some_reasons
    return {
        "only": ", ".join(kind for kind, only in kinds.items() if only) or None,
        "reasons": ", ".join(sorted(reason.name.lower() for reason in reasons)) if reasons else None,
        "indirect": scope.indirect,
    }


def file_fields(crl: bytes) -> Row:
    """What the CRL in a file says of itself; nothing is verified. Raises: CRLRejected."""
    header = read_header(crl)
    return {
        "issuer": dn.readable(header.issuer_name_der),
        "CRL_number": header.crl_number,
        "delta_of": header.base_crl_number,
        "this_update": output.when(header.this_update),
        "next_update": output.when(header.next_update),
        "scope": header.point_scope_id,
        **_scope_fields(header.scope),
        "bytes": len(crl),
        "sha256": hashlib.sha256(crl).hexdigest(),
    }
