"""`vouchd clone destroy` and `promote`: a clone leaves its set, or becomes the master."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from vouchd.wiring import instance as wiring
from vouchd.cli import output
from vouchd.cli.clone.commands import MASTER_REFRESH_SECONDS, address_of
from vouchd.cloning.creation import journal_of
from vouchd.cli.lifecycle import manager_command
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.core.facts import Member
from vouchd.cloning.registry import find, master_of, require_leavable
from vouchd.errors import ConfigError, StoreUnavailable, VouchdError
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.instance.writing import write_values

_AWAY = "start its directory server, which may have CRLs that no other has; --force gives them up"


def destroy(
    instance: InstanceOption = DEFAULT_INSTANCE,
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", metavar="HEX", help="Of the master, where the registry here has none.")
    ] = "",
    master: Annotated[str, typer.Option("--master", metavar="URL", help="The master, likewise.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the instance's folder too, with its keys.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Give up what only its own directory server has, or that server.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Take a clone out of its set: registry, replication agreements, replica update vector; and stop it.

    Example: vouchd clone destroy --instance /srv/clone --remove
    """
    layout = Layout(instance.absolute())
    settings = read_settings(layout)
    own = settings.member_id
    members = _members(layout, force=force)
    for me in (member for member in members if member.id == own):
        require_leavable(me, members)  # before it is stopped
    if not members and not master:  # making it was cut short before the registry came
        kept = journal_of(layout).kept()
        master, fingerprint = kept.get("master", ""), kept.get("fingerprint", "")
    other = _other(members, own, master, fingerprint)
    if not force:
        wiring.require_replicated(layout, settings, members)
    lifecycle.stop(layout)
    if not force:
        wiring.require_replicated(layout, settings, members)  # what was acknowledged in the meantime
    if other is not None:
        client = wiring.connector(layout, settings)(other)
        if own in {member.id for member in client.info().members}:
            client.leave(own)
            output.note(f"{own} has left the domain")
    try:
        wiring.detach(layout, settings, output.note)
    except StoreUnavailable as error:
        if not force:
            raise
        output.warn(f"its agreements stay in its directory server: {error}")
    if remove:
        shutil.rmtree(layout.root)
    output.record({"left": own, "removed": str(layout.root) if remove else None}, json_output=json_output)


def promote(
    instance: InstanceOption = DEFAULT_INSTANCE,
    force: Annotated[bool, typer.Option("--force", help="The master is gone for good, or does not answer.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make this clone the master; the one before becomes a clone, now or when it comes back.

    Example: vouchd clone promote --instance /srv/clone
    """
    layout = Layout(instance.absolute())
    settings = read_settings(layout)
    own = settings.member_id
    with wiring.services(layout) as services:
        members = services.store.members()
        me, before = find(members, own), master_of(members)
        if before is not None and before.id != own:
            try:
                wiring.connector(layout, settings)(before).promote(own)
                output.note(f"{before.id} has stepped down")
            except VouchdError as error:
                if not force:
                    raise ConfigError(
                        f"the master {before.id} has not stepped down: {error}",
                        hint="if it is gone for good: vouchd clone promote --force",
                    ) from error
                output.warn(f"{before.id} was not asked: {error}", "it takes itself for a clone when it comes back")
        promoted = services.domain.promote(own, services.caller)
    write_values(layout, {"ocsp.store.defStore.refreshInSec": str(MASTER_REFRESH_SECONDS), "vouchd.clone.master": ""})
    if lifecycle.status(layout).pid is not None:
        lifecycle.restart(layout, manager_command(layout))
    output.record({"master": promoted.id, "term": promoted.term, "was": me.clone}, json_output=json_output)


def _members(layout: Layout, *, force: bool) -> tuple[Member, ...]:
    """The registry, empty where it is not here. Raises: StoreUnavailable, but not by force."""
    with wiring.services(layout) as services:
        try:
            return services.store.members()
        except VouchdError as error:
            if isinstance(error, StoreUnavailable) and not force:
                raise StoreUnavailable(str(error), hint=_AWAY) from error
            output.warn(f"the registry here cannot be read: {error}")
            return ()


def _other(members: tuple[Member, ...], own: str, master: str, fingerprint: str) -> Member | None:
    """A member to say goodbye to: the master if there is one."""
    if master:
        host, port = address_of(master)
        return Member(host, port, 0, "", clone=False, joined_at=0, tls_sha256=fingerprint)
    others = [member for member in members if member.id != own]
    return master_of(others) or next(iter(others), None)


def register(app: typer.Typer) -> None:
    """Mount these verbs."""
    for verb in (destroy, promote):
        app.command()(verb)
