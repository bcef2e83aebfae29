"""The set put together: the directory server of this instance, and what a member does for the others."""

from __future__ import annotations

from collections.abc import Callable

from vouchd.core.facts import Caller, Member
from vouchd.core.ports import MirrorStore, Store
from vouchd.errors import ConfigError
from vouchd.http.agent import Replicate
from vouchd.instance.layout import Layout
from vouchd.instance.passwords import INTERNALDB, REPLICATIONDB, read_passwords
from vouchd.instance.settings import Settings
from vouchd.stores.sqlite import SqliteStore


def mirror_of(store: Store) -> MirrorStore | None:
    """The store where others can follow it, None where a directory replicates by itself."""
    return store if isinstance(store, SqliteStore) else None


def replicating(layout: Layout, settings: Settings) -> Replicate:
    """What fills a member's directory server from this instance's, over its own account there."""

    def replicate(member: Member, _caller: Caller, say: Callable[[str], None]) -> None:
        from vouchd.directory import replication  # noqa: PLC0415  the embedded store starts without it
        from vouchd.directory.connection import Connection, Credentials  # noqa: PLC0415

        mine, peer = settings.directory, member.directory
        if mine is None or peer is None:
            raise ConfigError("both members must keep their facts in a directory server")
        passwords = read_passwords(layout.password_conf)
        credentials = Credentials(mine.bind_dn, passwords.get(INTERNALDB, ""))
        connection = Connection(mine.server, credentials, mine.trust_file)
        try:
            say(f"agreement with {peer.host}:{peer.port}")
            suffix = mine.server.suffix
            replication.agree(connection, suffix, peer, passwords.get(REPLICATIONDB, ""), renew=True)
            say("initialising")
            told = -1

            def progress(_agreement: object, seconds: float) -> None:
                nonlocal told
                if int(seconds) > told:
                    told = int(seconds)
                    say(f"initialising for {told} s")

            replication.initialise(connection, suffix, peer, progress)
            say("initialised")
        finally:
            connection.close()

    return replicate
