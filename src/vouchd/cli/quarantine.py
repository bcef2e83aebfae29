"""`vouchd crl quarantine`: CRLs that were valid but changed too much, and wait for a decision."""

from __future__ import annotations

import typer

from vouchd.cli import crl_shapes, output
from vouchd.cli.authority import ReferenceArgument
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption, ScopeOption
from vouchd.cli.serving import WaitOption, seconds_to_wait, warn_unserved
from vouchd.pkix.scope import COMPLETE_SCOPE

app = typer.Typer(
    name="quarantine", no_args_is_help=True, help="CRLs held back because they gain or lose too many entries."
)


@app.command("list")
@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the CRLs that are held back, and why.

    Example: vouchd crl quarantine list
    """
    labels = crl_shapes.labels(instance)
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


@app.command()
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
    output.record(crl_shapes.taken_rows(done, crl_shapes.labels(instance))[0], json_output=json_output)
    warn_unserved(instance, done["served"], wait=wait)


@app.command()
@reachable
def drop(reference: ReferenceArgument, instance: Instance, scope: ScopeOption = COMPLETE_SCOPE) -> None:
    """Forget the CRL that is held back: its change is wrong.

    Example: vouchd crl quarantine drop "Example Root"
    """
    instance.call("crls.drop", reference, scope)
    output.note("dropped")
