"""The agreements of one server made what the registry of the set says: one to every other member's server.

A full mesh: a change reaches every member in one step, and no member is needed for two others to meet. Each member
does its own server's part; agreements that are not ours are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vouchd.core.facts import DirectoryServer, Member
from vouchd.directory import replica
from vouchd.directory.config_entries import agreement_name
from vouchd.directory.connection import Connection


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was done: names of agreements."""

    made: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.made or self.changed or self.removed)


def peers_of(me: Member, members: Iterable[Member]) -> tuple[DirectoryServer, ...]:
    """The servers that the server of `me` replicates with, ordered by host and port."""
    if me.directory is None:
        return ()
    mine = (me.directory.host, me.directory.port)
    servers = {
        (one.directory.host, one.directory.port): one.directory
        for one in members
        if one.directory is not None and one.directory.replica_id is not None and one.id != me.id
    }
    servers.pop(mine, None)
    return tuple(servers[key] for key in sorted(servers) if servers[key].suffix.lower() == me.directory.suffix.lower())


def reconcile(
    connection: Connection, me: Member, members: Iterable[Member], replication_password: str, *, renew: bool = False
) -> Reconciled:
    """Make, mend and remove agreements of the server of `me` until they are what `members` say; nothing to do twice.

    Where `members` do not have `me`, nothing is done: a registry that has not arrived yet says nothing about the set.
    Raises: StoreUnavailable, ConfigError.
    """
    members = tuple(members)
    if me.directory is None or me.directory.replica_id is None or me.id not in {one.id for one in members}:
        return Reconciled()
    suffix = me.directory.suffix
    present = {one.name for one in replica.agreements(connection, suffix)}
    wanted = {agreement_name(peer): peer for peer in peers_of(me, members)}
    removed = tuple(name for name in sorted(present - wanted.keys()) if replica.remove(connection, suffix, name))
    touched = [
        name
        for name, peer in wanted.items()
        if replica.agree(connection, suffix, peer, replication_password, renew=renew)
    ]
    made = tuple(name for name in touched if name not in present)
    return Reconciled(made, tuple(name for name in touched if name in present), removed)
