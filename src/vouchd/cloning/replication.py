"""This member's directory server in the set: agreements made, mended and ended, servers filled, their health.

All of it is nothing to do for an embedded store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vouchd.cloning.directory_account import account_credentials
from vouchd.cloning.replication_watch import ReplicationWatch
from vouchd.core.facts import Caller, Member
from vouchd.core.ports import Clock, Store
from vouchd.errors import ConfigError, LifecycleError
from vouchd.settings.declared import DirectorySettings, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import REPLICATIONDB, read_passwords

if TYPE_CHECKING:  # they bring an LDAP library along, which commands start without
    from vouchd.directory.connection import Connection
    from vouchd.directory.health import ReplicationHealth


# How long a server is waited for that lacks changes: one that they are sent to, and one that is away for a moment. A
# server that met a busy one tries again after some seconds, and so often that a machine at its limit takes as many.
_ON_ITS_WAY_SECONDS = 60.0
_AWAY_SECONDS = 5.0


_POLL_SECONDS = 0.2


@contextmanager
def connected(layout: Layout, settings: Settings) -> Iterator[Connection]:
    """A connection with the instance's own account to its directory server. Raises: StoreUnavailable, ConfigError."""
    from vouchd.directory.connection import Connection  # noqa: PLC0415

    mine = _directory(settings)
    connection = Connection(mine.server, account_credentials(layout, mine, lambda: settings), mine.trust_file)
    try:
        yield connection
    finally:
        connection.close()


def _directory(settings: Settings) -> DirectorySettings:
    if settings.directory is None:
        raise ConfigError("this instance keeps its facts in a file, not in a directory server")
    return settings.directory


def replicating(layout: Layout, settings: Settings) -> Replicate:
    """What fills a member's directory server from this instance's, over its own account there."""

    def replicate(member: Member, _caller: Caller, say: Callable[[str], None]) -> None:
        from vouchd.directory import replica  # noqa: PLC0415  the embedded store starts without it

        peer, seconds_said = member.directory, -1
        if peer is None:
            raise ConfigError(f"{member.id} keeps its facts in a file, not in a directory server")

        def progress(_agreement: object, seconds: float) -> None:
            nonlocal seconds_said
            if int(seconds) > seconds_said:
                seconds_said = int(seconds)
                say(f"initialising for {seconds_said} s")

        password = read_passwords(layout.password_conf).get(REPLICATIONDB, "")
        with connected(layout, settings) as connection:
            say(f"agreement with {peer.host}:{peer.port}")
            replica.agree(connection, peer.suffix, peer, password, renew=True)
            replica.initialise(connection, peer.suffix, peer, progress)
            say("initialised")

    return replicate


def reconcile(layout: Layout, settings: Settings, members: Iterable[Member]) -> bool:
    """Make the agreements of this instance's directory server what the registry says; whether anything changed.

    Nothing to do for an embedded store. Raises: StoreError, ConfigError.
    """
    if settings.directory is None:
        return False
    from vouchd.directory import topology  # noqa: PLC0415  the embedded store starts without it

    everyone = tuple(members)
    me = next((member for member in everyone if member.id == settings.member_id), None)
    if me is None:
        return False
    password = read_passwords(layout.password_conf).get(REPLICATIONDB, "")
    with connected(layout, settings) as connection:
        return bool(topology.reconcile(connection, me, everyone, password))


def retiring(layout: Layout, settings: Settings, store: Store) -> Callable[[Member], None]:
    """What makes the directory servers of the set forget one whose instance has left the domain."""

    def retire(member: Member) -> None:
        if settings.directory is None or member.directory is None or member.directory.replica_id is None:
            return
        reconcile(layout, settings, store.members())
        from vouchd.directory import replica  # noqa: PLC0415

        with connected(layout, settings) as connection:
            replica.clean_ruv(connection, settings.directory.server.suffix, member.directory.replica_id)

    return retire


def replication_health(
    layout: Layout, settings: Settings, members: Iterable[Member], clock: Clock
) -> ReplicationHealth:
    """How this instance's directory server replicates with the others, which are asked.

    Raises: StoreError, ConfigError.
    """
    from vouchd.directory.health import health  # noqa: PLC0415  the embedded store starts without it
    from vouchd.directory.topology import peers_of  # noqa: PLC0415

    everyone, password = tuple(members), read_passwords(layout.password_conf).get(REPLICATIONDB, "")
    mine = _directory(settings)
    me = next((one for one in everyone if one.directory and one.directory.address == mine.server.address), None)
    peers = peers_of(me, everyone) if me else ()
    with connected(layout, settings) as connection:
        return health(connection, mine.server.suffix, peers, password, clock.now(), mine.trust_file)


def replication_watch(layout: Layout, settings: Settings, store: Store, clock: Clock) -> ReplicationWatch | None:
    """What looks at the replication of the directory servers, None for an embedded store."""
    if settings.directory is None:
        return None
    return ReplicationWatch(store.members, lambda members: replication_health(layout, settings, members, clock), clock)


def require_replicated(layout: Layout, settings: Settings, members: Iterable[Member]) -> None:
    """Return when the other directory servers of the set have every change made at this instance's.

    Nothing to do for an embedded store. Raises: LifecycleError when one has not in time; StoreError.
    """
    everyone = tuple(members)
    me = next((member for member in everyone if member.id == settings.member_id), None)
    if settings.directory is None or me is None:
        return
    from vouchd.directory.health import lacking  # noqa: PLC0415  the embedded store starts without it
    from vouchd.directory.topology import peers_of  # noqa: PLC0415

    mine, peers, began = settings.directory, peers_of(me, everyone), time.monotonic()
    password = read_passwords(layout.password_conf).get(REPLICATIONDB, "")
    with connected(layout, settings) as connection:
        while missing := lacking(connection, peers, mine.server.suffix, password, mine.trust_file):
            address, lack = min(missing.items(), key=lambda one: one[1].on_its_way)
            if time.monotonic() - began > (_ON_ITS_WAY_SECONDS if lack.on_its_way else _AWAY_SECONDS):
                raise LifecycleError(
                    f"CRLs that this instance acknowledged may be nowhere else yet: {address}: {lack.why}",
                    hint="mend the replication (vouchd directory status); --force gives up what the others lack",
                )
            time.sleep(_POLL_SECONDS)


def detach(layout: Layout, settings: Settings, say: Callable[[str], None]) -> None:
    """End the replication of this instance's directory server: its agreements, and its id at all others.

    Nothing to do for an embedded store. Raises: StoreError, ConfigError.
    """
    if settings.directory is None:
        return
    from vouchd.directory import replica  # noqa: PLC0415  the embedded store starts without it

    suffix = settings.directory.server.suffix
    with connected(layout, settings) as connection:
        for agreement in replica.agreements(connection, suffix):
            replica.remove(connection, suffix, agreement.name)
            say(f"ended the agreement with {agreement.host}:{agreement.port}")


Replicate = Callable[[Member, Caller, Callable[[str], None]], None]
