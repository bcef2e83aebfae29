"""`vouchd approval`: what one agent asked for and a second one has to approve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption

app = typer.Typer(
    name="approval", no_args_is_help=True, help="Four eyes: what waits for a second agent, approved or denied."
)
ApprovalArgument = Annotated[
    str, typer.Argument(metavar="ID", help="As `vouchd approval list` shows it, or 4 or more of its digits.")
]
Shape = Mapping[str, Any]  # as the operations give it
_SHORT = 8


@app.command("list")
@reachable
def list_(
    instance: Instance,
    every: Annotated[
        bool, typer.Option("--all", help="Those that were decided of late, or have expired, too.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """List what waits for a second agent.

    Example: vouchd approval list
    """
    shown = [one for one in instance.call("approvals.list") if every or one["state"] == "waiting"]
    if json_output:
        output.as_json(shown)
        return
    output.records([_row(one) for one in shown], json_output=False, empty="nothing waits for a second agent")


@app.command()
@reachable
def show(approval: ApprovalArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Show what was asked for, with all that will be done.

    Example: vouchd approval show 9f2c6a01
    """
    _show(instance.call("approvals.get", approval), json_output=json_output)


@app.command()
@reachable
def approve(approval: ApprovalArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Approve what another user has asked for: it is carried out, as it is shown. With --url and your certificate.

    Example: vouchd approval approve 9f2c6a01 --url https://ocsp.example.org:8443 --cert bob.pem
    """
    _decided(instance.call("approvals.approve", approval), json_output=json_output)


@app.command()
@reachable
def deny(approval: ApprovalArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Deny what another user has asked for, or take back what you have asked for: nothing is done.

    Example: vouchd approval deny 9f2c6a01
    """
    _decided(instance.call("approvals.deny", approval), json_output=json_output)


def _decided(approval: Shape, *, json_output: bool) -> None:
    output.effect(approval["id"][:_SHORT], approval["changes"])
    _show({name: value for name, value in approval.items() if name != "changes"}, json_output=json_output)


def _show(approval: Shape, *, json_output: bool) -> None:
    if json_output:
        output.as_json(approval)
        return
    shown = {name: value for name, value in approval.items() if name != "body"}
    output.fields({name.replace("_", " "): value if value != "" else None for name, value in shown.items()})
    if approval["body"]:
        output.say(approval["body"])


def _row(approval: Shape) -> dict[str, object]:
    return {
        "id": approval["id"][:_SHORT],
        "operation": approval["operation"],
        "of": approval["subject"] or None,
        "requester": approval["requester"],
        "requested_at": approval["requested_at"],
        "expires_at": approval["expires_at"],
        "state": approval["state"],
        "decided_by": approval["decided_by"],
    }
