"""`vouchd user`: who may come to the agent port, in which groups, with which certificates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from vouchd import wiring
from vouchd.cli import output, remote
from vouchd.cli.inputs import read_input
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.core.facts import Group, User
from vouchd.errors import ConfigError
from vouchd.instance import lifecycle
from vouchd.instance.layout import Layout
from vouchd.service.usercertificates import MAX_CERTIFICATE_BYTES, describe
from vouchd.wiring import Services

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

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


@app.command("list")
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE,
    url: remote.UrlOption = "",
    cert: remote.CertOption = None,
    key: remote.KeyOption = None,
    trust: remote.TrustOption = None,
    json_output: JsonOption = False,
) -> None:
    """List the users with their groups.

    Example: vouchd user list
    """
    if asked := remote.client(url, cert, key, trust):
        found = asked.get("users")
        if json_output:
            output.as_json(found)
        else:
            output.records(remote.user_rows(found), json_output=False)
        return
    with wiring.services(Layout(instance.absolute())) as services:
        users = services.users.users(services.caller)
    if json_output:
        output.as_json([_full(user) for user in users])
        return
    output.records([_row(user) for user in users], json_output=False, empty="no user; make one with `vouchd user add`")


@app.command()
def add(
    user: UserArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    name: Annotated[str, typer.Option("--name", help="Full name; default: the id.")] = "",
    group: Annotated[
        list[str] | None, typer.Option("--group", "-g", metavar="GROUP", help=f"{_GROUP}; repeatable.")
    ] = None,
    cert: Annotated[
        list[str] | None, typer.Option("--cert", metavar="FILE", help="A client certificate, PEM or DER; repeatable.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Make a user, who comes with a client certificate and may do what its groups may.

    Example: vouchd user add alice --name "Alice Example" --group agents --cert alice.pem
    """
    groups = [_group(word) for word in group or []]
    certificates = [read_input(file, MAX_CERTIFICATE_BYTES) for file in cert or []]

    def make(services: Services) -> User:
        return services.users.add(user, services.caller, full_name=name, groups=groups, certificates=certificates)

    _show(_changed(instance, make), json_output)


@app.command()
def remove(user: UserArgument, instance: InstanceOption = DEFAULT_INSTANCE) -> None:
    """Remove a user, who is refused from the next request on; the last administrator stays.

    Example: vouchd user remove alice
    """
    _changed(instance, lambda services: services.users.remove(user, services.caller))
    output.note("removed")


@app.command()
def enable(user: UserArgument, instance: InstanceOption = DEFAULT_INSTANCE, json_output: JsonOption = False) -> None:
    """Let a disabled user in again.

    Example: vouchd user enable alice
    """
    _show(_changed(instance, lambda found: found.users.set_enabled(user, found.caller, enabled=True)), json_output)


@app.command()
def disable(user: UserArgument, instance: InstanceOption = DEFAULT_INSTANCE, json_output: JsonOption = False) -> None:
    """Refuse a user from the next request on, without forgetting groups and certificates.

    Example: vouchd user disable alice
    """
    _show(_changed(instance, lambda found: found.users.set_enabled(user, found.caller, enabled=False)), json_output)


@app.command()
def groups(
    user: UserArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    add_: Annotated[list[str] | None, typer.Option("--add", metavar="GROUP", help=f"{_GROUP}; repeatable.")] = None,
    remove_: Annotated[
        list[str] | None, typer.Option("--remove", metavar="GROUP", help="Take the user out of it; repeatable.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Put a user into groups and take it out of others; without options show it.

    Example: vouchd user groups alice --add auditors --remove agents
    """
    added, removed = ({_group(word) for word in words or []} for words in (add_, remove_))
    if added & removed:
        raise ConfigError(f"group {min(added & removed)!s} both added and removed")

    def change(services: Services) -> User:
        found = services.users.find(user, services.caller)
        if not added and not removed:
            return found
        return services.users.set_groups(user, (found.groups | added) - removed, services.caller)

    _show(_changed(instance, change), json_output)


@app.command()
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
    json_output: JsonOption = False,
) -> None:
    """Register client certificates of a user and take others away, in this order; then show those it has.

    Example: vouchd user certs alice --add alice-2027.pem --remove 5f0c9a2e
    """
    certificates = [read_input(file, MAX_CERTIFICATE_BYTES) for file in add_ or []]

    def change(services: Services) -> User:
        for certificate in certificates:
            services.users.add_certificate(user, certificate, services.caller)
        for reference in remove_ or []:
            services.users.remove_certificate(user, reference, services.caller)
        return services.users.find(user, services.caller)

    found = _changed(instance, change)
    output.records(_certificates(found), json_output=json_output, empty=f"user {user} has no certificate")


def _changed(instance: Path, change: Callable[[Services], User]) -> User:
    layout = Layout(instance.absolute())
    with wiring.services(layout) as services:
        user = change(services)
    lifecycle.look_now(layout)
    return user


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
