"""`vouchd directory doubts`: what the directory has of CAs, users and members, and this member does not believe."""

from __future__ import annotations

from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring


def doubts(
    instance: InstanceOption = DEFAULT_INSTANCE,
    restore: Annotated[
        bool, typer.Option("--restore", help="Put what is believed in place of it, take away what nobody believed.")
    ] = False,
    believe: Annotated[
        str, typer.Option("--believe", metavar="NAME", help="Believe what the directory has of this one, and seal it.")
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Show what the directory has of CAs, users and members, and this member does not believe: no member sealed it.

    Users are the master's to settle. The audit log of each member tells when it saw what.

    Example: vouchd directory doubts --restore
    """
    layout = Layout(instance.absolute())
    with wiring.services(layout) as services:
        settlement = wiring.doubt_settlement(services)
        if believe:
            doubt = settlement.believe(believe, services.caller)
            output.note(f"{doubt.kind} {doubt.identifier} is believed as the directory has it")
        if restore:
            output.note(f"{settlement.restore(services.caller)} records are as they were believed")
        left = settlement.doubts(services.caller)
    if believe or restore:
        lifecycle.look_now(layout)
    rows = [{"kind": one.kind, "name": one.identifier, "why": one.why, "sealed_by": one.by or None} for one in left]
    output.records(rows, json_output=json_output, empty="all that the directory has is believed")


def register(app: typer.Typer) -> None:
    """Mount this verb."""
    app.command()(doubts)
