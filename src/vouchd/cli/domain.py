"""`vouchd domain`: the security domain, who is in it, and who may join."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption, RenewOption
from vouchd.cloning.registry import LONGEST_TOKEN_SECONDS, TOKEN_SECONDS
from vouchd.files import PRIVATE, replace_file

app = typer.Typer(no_args_is_help=True, help="The security domain: who is in it, and who may join.")

_NONE = "no member; `vouchd clone prepare` makes this instance the master of a domain"


@app.command()
@reachable
def info(instance: Instance, json_output: JsonOption = False) -> None:
    """Show the domain, its master, and this instance as the others know it.

    Example: vouchd domain info
    """
    domain = instance.call("members.list")
    me = next((one for one in domain["members"] if one["id"] == domain["this_instance"]), None)
    fields = {
        "domain": domain["name"],
        "members": len(domain["members"]),
        "master": domain["master"],
        "this_instance": domain["this_instance"],
        "role": me and me["role"],
        "fingerprint": me and me["fingerprint"],
        "facts_in": domain["facts_in"],
    }
    output.record(fields, json_output=json_output)
    if not domain["members"]:
        output.hint("vouchd clone prepare makes this instance the master of a domain")


@app.command()
@reachable
def members(instance: Instance, json_output: JsonOption = False) -> None:
    """List the members of the domain: master and clones.

    Example: vouchd domain members --json
    """
    rows = [_row(member) for member in instance.call("members.list")["members"]]
    output.records(rows, json_output=json_output, empty=_NONE)


def _row(member: Mapping[str, Any]) -> dict[str, object]:
    directory = member["directory"] or {}
    return {
        "member": member["id"],
        "role": member["role"],
        "ee_port": member["ee_port"],
        "directory": directory.get("address"),
        "connection": directory.get("connection"),
        "replica_id": directory.get("replica_id"),
        "joined": member["joined_at"],
        "fingerprint": member["fingerprint"],
    }


@app.command()
@reachable
def token(
    instance: Instance,
    seconds: Annotated[
        int, typer.Option("--seconds", min=1, max=LONGEST_TOKEN_SECONDS, help="How long it is good.")
    ] = TOKEN_SECONDS,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it there (0600); default: show it.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Give a token with which one instance may join the domain, once. It is shown this once and kept nowhere.

    Example: vouchd domain token --seconds 900 --out join.token
    """
    issued = instance.call("cloning.issue_token", body={"seconds": seconds})
    if out is not None:
        replace_file(out, f"{issued['token']}\n".encode(), PRIVATE)
    summary = {"token": None if out else issued["token"], "file": str(out) if out else None}
    output.record(summary | {"good_until": issued["good_until"]}, json_output=json_output)


@app.command()
@reachable
def tokens(instance: Instance, json_output: JsonOption = False) -> None:
    """List the join tokens that are good still, each by the beginning of its SHA-256.

    Example: vouchd domain tokens
    """
    output.records(instance.call("cloning.list_tokens"), json_output=json_output, empty="no join token is good")


@app.command()
@reachable
def void(
    token: Annotated[str, typer.Argument(metavar="ID", help="Which token, as `vouchd domain tokens` shows it.")],
    instance: Instance,
) -> None:
    """Take a join token back: nobody joins with it any more.

    Example: vouchd domain void 4f2a91c07bd1e6f3
    """
    instance.call("cloning.void_token", token)
    output.note("void")


@app.command()
@reachable
def leave(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="HOST:PORT, or the host where it has one member.")],
    instance: Instance,
    renew: RenewOption = False,
    json_output: JsonOption = False,
) -> None:
    """Take a clone out of the domain, for one that is gone; `vouchd clone destroy` there does it and more.

    The other directory servers end their replication with its own.

    Example: vouchd domain leave ocsp3.example.org:8443 --renew
    """
    done = instance.call("cloning.remove", member, renew="true" if renew else "false")
    shown = done if json_output else {"left": done["left"]}
    output.record(shown, json_output=json_output)
    if renew:
        output.hint("those who stay renew what it knew: vouchd domain renewal shows how far they are")
        return
    for one in done["still_known"]:
        output.hint(f"where {done['left']} is in wrong hands, it still knows {one['what']}: {one['renewal']}")


@app.command()
@reachable
def renew(instance: Instance, json_output: JsonOption = False) -> None:
    """Renew what a member knew that was taken out: signers, and the own certificates of all who stay.

    It is done by itself, step by step; what it waits for `vouchd domain renewal` shows.

    Example: vouchd domain renew
    """
    _show_renewal(instance.call("cloning.renew"), json_output=json_output)


@app.command()
@reachable
def renewal(instance: Instance, json_output: JsonOption = False) -> None:
    """Show how far the renewal of the keys of the set is.

    Example: vouchd domain renewal
    """
    _show_renewal(instance.call("cloning.renewal"), json_output=json_output)


def _show_renewal(state: Mapping[str, Any], *, json_output: bool) -> None:
    rows = [
        {
            "step": one["name"],
            "state": "done" if one["done"] else "waits",
            "about": one["about"],
            "waits_for": ", ".join(one["waiting"]) or None,
        }
        for one in state["steps"]
    ]
    output.records(rows, json_output=json_output, empty="no key is being renewed because of a member that left")
