"""`vouchd domain`: the security domain, who is in it, and who may join."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output, remote
from vouchd.cli.members import domain_fields, domain_row
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.cloning.leaving import still_known, take_out
from vouchd.cloning.registry import LONGEST_TOKEN_SECONDS, TOKEN_SECONDS, master_of
from vouchd.core.facts import Member
from vouchd.files import replace_file
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring

app = typer.Typer(no_args_is_help=True, help="The security domain: who is in it, and who may join.")

_NONE = "no member; `vouchd clone prepare` makes this instance the master of a domain"


@app.command()
@remote.reachable
def info(
    instance: InstanceOption = DEFAULT_INSTANCE, asked: remote.Asked = None, json_output: JsonOption = False
) -> None:
    """Show the domain, its master, and this instance as the others know it.

    Example: vouchd domain info
    """
    found = domain_fields(asked.get("members")) if asked else _info(Layout(instance.absolute()))
    output.record(found, json_output=json_output)
    if not found["members"]:
        output.hint("vouchd clone prepare makes this instance the master of a domain")


@app.command()
@remote.reachable
def members(
    instance: InstanceOption = DEFAULT_INSTANCE, asked: remote.Asked = None, json_output: JsonOption = False
) -> None:
    """List the members of the domain: master and clones.

    Example: vouchd domain members --json
    """
    if asked:
        rows = [domain_row(member) for member in asked.get("members")["members"]]
    else:
        with wiring.services(Layout(instance.absolute())) as services:
            found = services.domain.members(services.caller)
        rows = [_row(member, master_of(found)) for member in found]
    output.records(rows, json_output=json_output, empty=_NONE)


@app.command()
def token(
    instance: InstanceOption = DEFAULT_INSTANCE,
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
    layout = Layout(instance.absolute())
    with wiring.services(layout) as services:
        services.membership.require_me()
        services.membership.require_registrar()
        text, kept = services.domain.issue_token(services.caller, seconds)
    if out is not None:
        replace_file(out, f"{text}\n".encode(), 0o600)
    given = {"token": None if out else text, "file": str(out) if out else None}
    output.record(given | {"good_until": output.when(kept.expires_at)}, json_output=json_output)


@app.command()
def leave(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="HOST:PORT, or the host where it has one member.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    json_output: JsonOption = False,
) -> None:
    """Take a clone out of the domain, for one that is gone; `vouchd clone destroy` there does it and more.

    The other directory servers end their replication with its own.

    Example: vouchd domain leave ocsp3.example.org:8443
    """
    layout = Layout(instance.absolute())
    with wiring.services(layout) as services:
        retire = wiring.retiring(layout, services.settings, services.store)
        left = take_out(services.domain, services.membership, retire, member, services.caller)
        known = still_known(services.settings, left)
    lifecycle.look_now(layout)
    renewals = [{"what": one.what, "renewal": one.renewal} for one in known]
    output.record({"left": left.id} | ({"still_known": renewals} if json_output else {}), json_output=json_output)
    for one in known:
        output.hint(f"where {left.id} is in wrong hands, it still knows {one.what}: {one.renewal}")


def _info(layout: Layout) -> dict[str, object]:
    with wiring.services(layout) as services:
        members = services.domain.members(services.caller)
        me, settings = services.membership.me(), services.settings
    master = master_of(members)
    return {
        "domain": settings.of_set.domain,
        "members": len(members),
        "master": master.id if master else None,
        "this_instance": me.id if me else None,
        "role": _role(me, master) if me else None,
        "fingerprint": me.tls_sha256 if me else None,
        "facts_in": "directory server" if settings.directory else "embedded store",
    }


def _role(member: Member, master: Member | None) -> str:
    return "master" if member == master else "clone"


def _row(member: Member, master: Member | None) -> dict[str, object]:
    directory = member.directory
    return {
        "member": member.id,
        "role": _role(member, master),
        "ee_port": member.ee_port,
        "directory": f"{directory.host}:{directory.port}" if directory else None,
        "connection": directory.transport.value if directory else None,
        "replica_id": directory.replica_id if directory else None,
        "joined": output.when(member.joined_at),
        "fingerprint": member.tls_sha256,
    }
