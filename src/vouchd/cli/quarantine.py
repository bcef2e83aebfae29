"""`vouchd crl quarantine`: CRLs that were valid but changed too much, and wait for a decision."""

from __future__ import annotations

import typer

from vouchd.cli import crlshow, output, remote, serving, told
from vouchd.cli.ca.authorities import ReferenceArgument
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, ScopeOption
from vouchd.cli.serving import WaitOption
from vouchd.client.admin import AdminClient
from vouchd.clock import SystemClock
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring

app = typer.Typer(
    name="quarantine", no_args_is_help=True, help="CRLs held back because they gain or lose too many entries."
)


@app.command("list")
@remote.reachable
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE, asked: remote.Asked = None, json_output: JsonOption = False
) -> None:
    """List the CRLs that are held back, and why.

    Example: vouchd crl quarantine list
    """
    rows = _there(asked) if asked else _here(Layout(instance.absolute()))
    output.records(rows, json_output=json_output, empty="no CRL is held back")


def _there(asked: AdminClient) -> list[dict[str, object]]:
    names = told.labels(asked)
    return [told.quarantined_row(held, names) for held in asked.get("quarantine")]


def _here(layout: Layout) -> list[dict[str, object]]:
    with wiring.services(layout) as services:
        labels = services.labels()
        return [
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


@app.command()
@remote.reachable
def release(
    reference: ReferenceArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    scope: ScopeOption = COMPLETE_SCOPE,
    wait: WaitOption = True,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Answer from the CRL that is held back: its change is right.

    Example: vouchd crl quarantine release "Example Root"
    """
    if asked:
        found = asked.post("quarantine", asked.get("authorities", reference)["id"], scope, "release", body={})
        output.record(told.taken_rows(found, told.labels(asked))[0], json_output=json_output)
        return
    layout = Layout(instance.absolute())
    with wiring.services(layout) as services, services.ingest_lock():
        point = services.issuing_point(reference, scope)
        epoch = services.ingesting.release_quarantined(point, services.caller, SystemClock().now())
        labels = services.labels()
    served = serving.changed(layout, [epoch], wait=wait)
    output.record({**crlshow.epoch_row(epoch, labels), "served": served}, json_output=json_output)


@app.command()
@remote.reachable
def drop(
    reference: ReferenceArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    scope: ScopeOption = COMPLETE_SCOPE,
    asked: remote.Asked = None,
) -> None:
    """Forget the CRL that is held back: its change is wrong.

    Example: vouchd crl quarantine drop "Example Root"
    """
    if asked:
        asked.delete("quarantine", asked.get("authorities", reference)["id"], scope)
        output.note("dropped")
        return
    with wiring.services(Layout(instance.absolute())) as services, services.ingest_lock():
        services.ingesting.drop_quarantined(services.issuing_point(reference, scope), services.caller)
    output.note("dropped")
