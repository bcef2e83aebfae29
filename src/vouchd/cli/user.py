"""`vouchd user`: who may come to the agent port, in which groups, with which certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output, remote
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_leaf
from vouchd.cli.usersthere import NOBODY, UsersThere
from vouchd.core.facts import Caller, Group, User
from vouchd.errors import ConfigError
from vouchd.instance import lifecycle
from vouchd.service.usercertificates import describe
from vouchd.service.users import Users
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring

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
AnyUsers = Users | UsersThere

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


@app.command("list")
@remote.reachable
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """List the users with their groups.

    Example: vouchd user list
    """
    with _users(instance, asked) as (known, caller):
        users = known.users(caller)
    if json_output:
        output.as_json([_full(user) for user in users])
        return
    output.records([_row(user) for user in users], json_output=False, empty="no user; make one with `vouchd user add`")


@app.command()
@remote.reachable
def add(
    user: UserArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    name: Annotated[str, typer.Option("--name", help="Full name; default: the id.")] = "",
    group: Annotated[
        list[str] | None, typer.Option("--group", "-g", metavar="GROUP", help=f"{_GROUP}; repeatable.")
    ] = None,
    cert: Annotated[
        list[str] | None, typer.Option("--cert", metavar="FILE", help="Its client certificate, or a chain; repeatable.")
    ] = None,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Make a user, who comes with a client certificate and may do what its groups may.

    Example: vouchd user add alice --name "Alice Example" --group agents --cert alice.pem
    """
    groups = [_group(word) for word in group or []]
    certificates = [read_leaf(file) for file in cert or []]

    def make(users: AnyUsers, caller: Caller) -> User:
        return users.add(user, caller, full_name=name, groups=groups, certificates=certificates)

    _show(_changed(instance, asked, make), json_output)


@app.command()
@remote.reachable
def remove(user: UserArgument, instance: InstanceOption = DEFAULT_INSTANCE, asked: remote.Asked = None) -> None:
    """Remove a user, who is refused from the next request on; the last administrator stays.

    Example: vouchd user remove alice
    """
    _changed(instance, asked, lambda users, caller: users.remove(user, caller))
    output.note("removed")


@app.command()
@remote.reachable
def enable(
    user: UserArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Let a disabled user in again.

    Example: vouchd user enable alice
    """
    _set_enabled(instance, asked, user, json_output, enabled=True)


@app.command()
@remote.reachable
def disable(
    user: UserArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Refuse a user from the next request on, without forgetting groups and certificates.

    Example: vouchd user disable alice
    """
    _set_enabled(instance, asked, user, json_output, enabled=False)


@app.command()
@remote.reachable
def groups(
    user: UserArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    add_: Annotated[list[str] | None, typer.Option("--add", metavar="GROUP", help=f"{_GROUP}; repeatable.")] = None,
    remove_: Annotated[
        list[str] | None, typer.Option("--remove", metavar="GROUP", help="Take the user out of it; repeatable.")
    ] = None,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Put a user into groups and take it out of others; without options show it.

    Example: vouchd user groups alice --add auditors --remove agents
    """
    added, removed = ({_group(word) for word in words or []} for words in (add_, remove_))
    if added & removed:
        raise ConfigError(f"group {min(added & removed)!s} both added and removed")

    def change(users: AnyUsers, caller: Caller) -> User:
        found = users.find(user, caller)
        if not added and not removed:
            return found
        return users.set_groups(user, (found.groups | added) - removed, caller)

    _show(_changed(instance, asked, change), json_output)


@app.command()
@remote.reachable
def certs(
    user: UserArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    add_: Annotated[
        list[str] | None, typer.Option("--add", metavar="FILE", help="Let it in with this one too; repeatable.")
    ] = None,
    remove_: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="SHA256", help="The first 8 or more digits of its SHA-256; repeatable."),
    ] = None,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Register client certificates of a user and take others away, in this order; then show those it has.

    Example: vouchd user certs alice --add alice-2027.pem --remove 5f0c9a2e
    """
    certificates = [read_leaf(file) for file in add_ or []]

    def change(users: AnyUsers, caller: Caller) -> User:
        for certificate in certificates:
            users.add_certificate(user, certificate, caller)
        for reference in remove_ or []:
            users.remove_certificate(user, reference, caller)
        return users.find(user, caller)

    found = _changed(instance, asked, change)
    output.records(_certificates(found), json_output=json_output, empty=f"user {user} has no certificate")


@contextmanager
def _users(instance: Path, asked: remote.Asked) -> Iterator[tuple[AnyUsers, Caller]]:
    """The users there or here, and as whom they are asked for."""
    if asked:
        yield UsersThere(asked), NOBODY
        return
    with wiring.services(Layout(instance.absolute())) as services:
        yield services.users, services.caller


def _changed(instance: Path, asked: remote.Asked, change: Callable[[AnyUsers, Caller], User]) -> User:
    with _users(instance, asked) as (users, caller):
        user = change(users, caller)
    if not asked:
        lifecycle.look_now(Layout(instance.absolute()))
    return user


def _set_enabled(instance: Path, asked: remote.Asked, user: str, json_output: bool, *, enabled: bool) -> None:
    _show(
        _changed(instance, asked, lambda users, caller: users.set_enabled(user, caller, enabled=enabled)), json_output
    )


def _group(word: str) -> Group:
    """The group that `word` means: our short word for it, or the Certificate System's name."""
    found = WORDS.get(word.lower()) or next((group for group in Group if group.lower() == word.lower()), None)
    if found is None:
        raise ConfigError(f"no group is called {word!r}", hint=f"the groups are: {', '.join(WORDS)}")
    return found


def _show(user: User, json_output: bool) -> None:
    if json_output:
        output.as_json(_full(user))
    else:
        output.record(_row(user), json_output=False)


def _row(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "full_name": user.full_name,
        "groups": ", ".join(sorted(user.groups)) or None,
        "certificates": len(user.certificates),
        "enabled": "yes" if user.enabled else "no",
    }


def _full(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "full_name": user.full_name,
        "groups": sorted(user.groups),
        "certificates": _certificates(user),
        "enabled": user.enabled,
    }


def _certificates(user: User) -> list[dict[str, object]]:
    facts = [describe(der) for der in user.certificates]
    return [
        {
            "sha256": one.fingerprint,
            "subject": one.subject,
            "issuer": one.issuer,
            "serial": output.serial_text(one.serial),
            "not_after": output.when(one.not_after),
        }
        for one in facts
    ]
