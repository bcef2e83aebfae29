"""`vouchd crl history|diff`: former CRLs that are kept, and what differs between two CRLs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from vouchd.cli import output
from vouchd.cli.authority import ReferenceArgument
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption, ScopeOption, read_large_input
from vouchd.cli.progress import working
from vouchd.errors import ConfigError, CRLRejected
from vouchd.files import write_new
from vouchd.pkix import pem
from vouchd.pkix.crl import MAX_CRL_BYTES, read_header
from vouchd.pkix.scope import COMPLETE_SCOPE

_MOST = 1000  # of one call


def register(app: typer.Typer) -> None:
    """Add the verbs to `vouchd crl`."""
    app.command()(history)
    app.command()(diff)


@reachable
def history(
    reference: ReferenceArgument,
    instance: Instance,
    crl: Annotated[
        str,
        typer.Argument(metavar="[CRL]", help="With --out: which one, by its number or the beginning of its SHA-256."),
    ] = "",
    scope: ScopeOption = COMPLETE_SCOPE,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the DER of that CRL into a new file.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """List the CRLs of an issuing point that are kept, the newest first, or write one of them into a file.

    Example: vouchd crl history "Example Root" 41 --out 41.crl
    """
    if bool(crl) is not bool(out):
        raise ConfigError("a CRL is written into a file", hint="give both: CRL, and --out FILE")
    if out is not None:
        write_new(out, instance.call("crl_history.download", reference, scope, crl), 0o644)
        return
    kept = instance.call("crl_history.list", reference, scope)
    if json_output:
        output.as_json(kept)
        return
    columns = ("number", "kind", "thisUpdate", "entries", "bytes", "SHA-256", "in use")
    output.table(columns, [_row(one["crl"], in_use=one["in_use"]) for one in kept])


def _row(crl: dict[str, Any], *, in_use: bool) -> list[object]:
    kind = "full" if crl["base_crl_number"] is None else f"delta on {crl['base_crl_number']}"
    use = "yes" if in_use else "no"
    return [crl["crl_number"], kind, crl["this_update"], crl["entries"], crl["bytes"], crl["sha256"][:16], use]


@reachable
def diff(
    before: Annotated[str, typer.Argument(metavar="CRL|FILE", help="The one CRL: a file, or with --of as kept.")],
    after: Annotated[str, typer.Argument(metavar="CRL|FILE", help="The other, likewise.")],
    instance: Instance,
    of: Annotated[
        str, typer.Option("--of", metavar="CA", help="Compare CRLs of that CA, by their numbers or SHA-256.")
    ] = "",
    scope: ScopeOption = COMPLETE_SCOPE,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Pass over so many of the serials.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=_MOST, help="Show at most so many of them.")] = 100,
    json_output: JsonOption = False,
) -> None:
    """Tell which serials came, went or are listed otherwise from one CRL to the other; exit code 1 when any did.

    Example: vouchd crl diff 41 42 --of "Example Root"
    """
    if of:
        name = "crl_history.difference"
        difference = instance.call(name, of, scope, before=before, after=after, skip=skip, limit=limit)
    else:
        with working("compare them", shown=not json_output):
            difference = _of_files(before, after, skip, limit)
    if json_output:
        output.as_json(difference)
    else:
        _show(difference, skip)
    if difference["came"] + difference["went"] + difference["changed"]:
        raise typer.Exit(1)


def _show(difference: dict[str, Any], skip: int) -> None:
    rows = [[one["change"], one["serial"], *_words(one["before"], one["after"])] for one in difference["changes"]]
    output.table(("change", "serial", "revoked", "reason"), rows)
    total = difference["came"] + difference["went"] + difference["changed"]
    output.note(
        f"{difference['entries_before']} entries before, {difference['entries_after']} after: "
        f"{difference['came']} came, {difference['went']} went, {difference['changed']} changed"
    )
    if (end := skip + len(rows)) < total:
        output.hint(f"{total - end} more: --skip {end}")


def _words(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    """When and why it is, or was, revoked; of an entry that changed both."""
    entries = [one for one in (before, after) if one is not None]
    return [" -> ".join(dict.fromkeys(one[name] for one in entries)) for name in ("revoked_at", "reason")]


def _of_files(before: str, after: str, skip: int, limit: int) -> Any:
    from vouchd.api import crl_history, shapes  # noqa: PLC0415  not for who asks an instance over the port
    from vouchd.api.model import plain  # noqa: PLC0415
    from vouchd.index.comparing import CRLState, compare_crls  # noqa: PLC0415

    states: list[CRLState] = []
    shown: list[shapes.CRL] = []
    for name in (before, after):
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file", hint="with --of CA: CRLs that an instance keeps")
        try:
            crl = pem.single(read_large_input(name, MAX_CRL_BYTES), pem.CRL_LABELS)
            header = read_header(crl)
        except (ValueError, CRLRejected) as error:
            raise CRLRejected(f"{name}: {error}", hint="give one CRL in DER or PEM") from error
        if header.is_delta:
            raise CRLRejected(f"{name}: a delta CRL says what changed already", hint="give two complete CRLs")
        states.append(CRLState(crl))
        shown.append(
            shapes.CRL(
                sha256=hashlib.sha256(crl).hexdigest(),
                bytes=len(crl),
                crl_number=header.crl_number,
                base_crl_number=None,
                this_update=shapes.moment(header.this_update),
                next_update=shapes.maybe_moment(header.next_update),
                entries=0,
            )
        )
    compared = compare_crls(*states, skip=skip, limit=limit)
    one, other = (
        msgspec.structs.replace(crl, entries=count)
        for crl, count in zip(shown, (compared.before, compared.after), strict=True)
    )
    return plain(crl_history.difference(one, other, compared))
