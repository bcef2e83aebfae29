"""`vouchd crl quarantine`: CRLs that were valid but changed too much, and wait for a decision."""

from __future__ import annotations

import typer

from vouchd import wiring
from vouchd.cli import crlshow, output, serving
from vouchd.cli.authorities import ReferenceArgument
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, ScopeOption
from vouchd.cli.serving import WaitOption
from vouchd.core.facts import COMPLETE_SCOPE
from vouchd.instance.layout import Layout
from vouchd.ops.clock import SystemClock

app = typer.Typer(
    name="quarantine", no_args_is_help=True, help="CRLs held back because they gain or lose too many entries."
)


@app.command("list")
def list_(instance: InstanceOption = DEFAULT_INSTANCE, json_output: JsonOption = False) -> None:
    """List the CRLs that are held back, and why.

    Example: vouchd crl quarantine list
    """
    with wiring.services(Layout(instance.absolute())) as services:
        labels = services.labels()
        rows: list[dict[str, object]] = [
            {
                "CA": labels.get(held.issuing_point.authority_id, held.issuing_point.authority_id),
                "scope": held.issuing_point.scope_id,
                "CRL_number": held.record.crl_number,
                "this_update": output.when(held.record.this_update),
                "received_at": output.when(held.received_at),
                "origin": held.origin or None,
                "why": held.why,
            }
            for held in services.store.quarantined()
        ]
    output.records(rows, json_output=json_output, empty="no CRL is held back")


@app.command()
def release(
    reference: ReferenceArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    scope: ScopeOption = COMPLETE_SCOPE,
    wait: WaitOption = True,
    json_output: JsonOption = False,
) -> None:
    """Answer from the CRL that is held back: its change is right.

    Example: vouchd crl quarantine release "Example Root"
    """
    layout = Layout(instance.absolute())
    with wiring.services(layout) as services, services.ingest_lock():
        point = services.issuing_point(reference, scope)
        epoch = services.ingesting.release_quarantined(point, services.caller, SystemClock().now())
        labels = services.labels()
    served = serving.changed(layout, [epoch], wait=wait)
    output.record({**crlshow.epoch_row(epoch, labels), "served": served}, json_output=json_output)


@app.command()
def drop(
    reference: ReferenceArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    scope: ScopeOption = COMPLETE_SCOPE,
) -> None:
    """Forget the CRL that is held back: its change is wrong.

    Example: vouchd crl quarantine drop "Example Root"
    """
    with wiring.services(Layout(instance.absolute())) as services, services.ingest_lock():
        services.ingesting.drop_quarantined(services.issuing_point(reference, scope), services.caller)
    output.note("dropped")
