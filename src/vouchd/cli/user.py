"""`vouchd user`: who may come to the agent port, in which groups, with which certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.certificate_files import read_leaf
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption
from vouchd.core.facts import Group
from vouchd.errors import ConfigError
from vouchd.pkix.pem import as_pem

app = typer.Typer(name="user", no_args_is_help=True, help="Who may come to the agent port, and what each may do.")

WORDS = {
    "administrators": Group.ADMINISTRATORS,
    "agents": Group.AGENTS,
    "auditors": Group.AUDITORS,
    "trusted-managers": Group.TRUSTED_MANAGERS,
    "domain-administrators": Group.DOMAIN_ADMINISTRATORS,
    "ocsp-administrators": Group.OCSP_ADMINISTRATORS,
}
_GROUP = "|".join(WORDS)
User = Mapping[str, Any]  # as the operations give it

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


@app.command("list")
@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the users with their groups.

    Example: vouchd user list
    """
    users = instance.call("users.list")
    if json_output:
        output.as_json([_full(user) for user in users])
        return
    output.records([_row(user) for user in users], json_output=False, empty="no user; make one with `vouchd user add`")


@app.command()
@reachable
def add(
    user: UserArgument,
    instance: Instance,
    name: Annotated[str, typer.Option("--name", help="Full name; default: the id.")] = "",
    group: Annotated[
        list[str] | None, typer.Option("--group", "-g", metavar="GROUP", help=f"{_GROUP}; repeatable.")
    ] = None,
    cert: Annotated[
        list[str] | None, typer.Option("--cert", metavar="FILE", help="Its client certificate, or a chain; repeatable.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Make a user, who comes with a client certificate and may do what its groups may.

    Example: vouchd user add alice --name "Alice Example" --group agents --cert alice.pem
    """
    body = {
        "id": user,
        "full_name": name,
        "groups": [str(_group(word)) for word in group or []],
        "certificates": [as_pem(read_leaf(file)) for file in cert or []],
    }
    _show_changed(instance.call("users.add", body=body), json_output)


@app.command()
@reachable
def remove(user: UserArgument, instance: Instance) -> None:
    """Remove a user, who is refused from the next request on; the last administrator stays.

    Example: vouchd user remove alice
    """
    instance.call("users.remove", user)
    output.note("removed")


@app.command()
@reachable
def enable(user: UserArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Let a disabled user in again.

    Example: vouchd user enable alice
    """
    _show_changed(instance.call("users.change", user, body={"enabled": True}), json_output)


@app.command()
@reachable
def disable(user: UserArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Refuse a user from the next request on, without forgetting groups and certificates.

    Example: vouchd user disable alice
    """
    _show_changed(instance.call("users.change", user, body={"enabled": False}), json_output)


@app.command()
@reachable
def groups(
    user: UserArgument,
    instance: Instance,
    add_: Annotated[list[str] | None, typer.Option("--add", metavar="GROUP", help=f"{_GROUP}; repeatable.")] = None,
    remove_: Annotated[
        list[str] | None, typer.Option("--remove", metavar="GROUP", help="Take the user out of it; repeatable.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Put a user into groups and take it out of others; without options show it.

    Example: vouchd user groups alice --add auditors --remove agents
    """
    added, removed = ({str(_group(word)) for word in words or []} for words in (add_, remove_))
    if added & removed:
        raise ConfigError(f"group {min(added & removed)!s} both added and removed")
    account = instance.call("users.get", user)
    if added or removed:
        wanted = sorted((set(account["groups"]) | added) - removed)
        account = instance.call("users.change", user, body={"groups": wanted})
        output.effect(user, account["changes"])
    _show(account, json_output)


@app.command()
@reachable
def certs(
    user: UserArgument,
    instance: Instance,
    add_: Annotated[
        list[str] | None, typer.Option("--add", metavar="FILE", help="Let it in with this one too; repeatable.")
    ] = None,
    remove_: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="SHA256", help="The first 8 or more digits of its SHA-256; repeatable."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Register client certificates of a user and take others away, in this order; then show those it has.

    Example: vouchd user certs alice --add alice-2027.pem --remove 5f0c9a2e
    """
    certificates = [read_leaf(file) for file in add_ or []]
    for certificate in certificates:
        account = instance.call("users.add_certificate", user, body={"certificate": as_pem(certificate)})
        output.effect(user, account["changes"])
    for reference in remove_ or []:
        instance.call("users.remove_certificate", user, reference)
    account = instance.call("users.get", user)
    output.records(_certificates(account), json_output=json_output, empty=f"user {user} has no certificate")


def _group(word: str) -> Group:
    """The group that `word` means: our short word for it, or the Certificate System's name."""
    group = WORDS.get(word.lower()) or next((one for one in Group if one.lower() == word.lower()), None)
    if group is None:
        raise ConfigError(f"no group is called {word!r}", hint=f"the groups are: {', '.join(WORDS)}")
    return group


def _show_changed(user: User, json_output: bool) -> None:
    output.effect(user["id"], user["changes"])
    _show(user, json_output)


def _show(user: User, json_output: bool) -> None:
    if json_output:
        output.as_json(_full(user))
    else:
        output.record(_row(user), json_output=False)


def _row(user: User) -> dict[str, object]:
    return {
        "id": user["id"],
        "full_name": user["full_name"],
        "groups": ", ".join(user["groups"]) or None,
        "certificates": len(user["certificates"]),
        "enabled": "yes" if user["enabled"] else "no",
    }


def _full(user: User) -> dict[str, object]:
    names = ("id", "full_name", "groups")
    return {
        **{name: user[name] for name in names},
        "certificates": _certificates(user),
        "enabled": user["enabled"],
    }


def _certificates(user: User) -> list[dict[str, object]]:
    names = ("sha256", "subject", "issuer", "serial", "not_after")
    return [{name: one[name] for name in names} for one in user["certificates"]]
