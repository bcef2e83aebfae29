"""What the manager process does for the set now and then, put together."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator

from vouchd.api.services import Services
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.client import connector
from vouchd.cloning.peers import Peers
from vouchd.cloning.renewal import say_anew
from vouchd.cloning.replicas import ReplicationWatch
from vouchd.cloning.replication import reconcile
from vouchd.cloning.resealing import reseal
from vouchd.cloning.roles import settle
from vouchd.cloning.rotation import Rotation
from vouchd.cloning.verifying import Verifying
from vouchd.core.facts import Member
from vouchd.core.ports import Store
from vouchd.instance.locking import ingest_lock
from vouchd.processes.upkeep import Upkeep
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.wiring.cloning import PEER_SECONDS, following

_log = logging.getLogger(__name__)

_HEALTH_SECONDS = 15.0
_RECORD_SECONDS = 30.0
_ROLE_SECONDS = 1.0
_ROTATION_SECONDS = 5.0
_SEALS_SECONDS = 60.0
_SETTLE_SECONDS = 60.0
_TOPOLOGY_SECONDS = 30.0
_USERS_SECONDS = 60.0


def works_for_the_set(
    services: Services,
    peers: Peers,
    replication: ReplicationWatch | None,
    verifying: Verifying,
    seals: MemberSeals | None,
) -> Iterator[Upkeep]:
    """What is done again and again for the set; `seals` decide what is believed of a store that others write to."""
    settings = services.settings
    yield Upkeep("members", settings.of_set.peers_seconds, peers.look)
    yield Upkeep("role", _ROLE_SECONDS, lambda: _settle_role(services, peers), on_change=True)
    yield Upkeep("own record", _RECORD_SECONDS, lambda: _own_record(services))
    yield Upkeep("users", _USERS_SECONDS, services.known_users.look, on_change=True)
    follow = following(services.layout, settings, services.store, services.indexing, peers.master)
    if follow is not None:
        # On change too: a master that is back is followed as soon as it is seen, not when the pause is over.
        yield Upkeep("following", 0.0, follow.wait, on_change=True)
    yield from _works_of_a_directory(services, replication, seals)
    every = settings.of_set.verify_seconds
    if every:
        yield Upkeep("verification", every, lambda: verifying.again(every), at_start=False)


def _works_of_a_directory(
    services: Services, replication: ReplicationWatch | None, seals: MemberSeals | None
) -> Iterator[Upkeep]:
    """Agreements, tidiness, health; the facts sealed, and the password that servers write with the set's own."""
    layout, settings, store = services.layout, services.settings, services.store
    if settings.directory is not None:
        yield Upkeep("replication", _TOPOLOGY_SECONDS, lambda: _agreed(layout, settings, store), on_change=True)
        yield Upkeep("tidying", _SETTLE_SECONDS, lambda: _settled(layout, store))
    if replication is not None:
        yield Upkeep("replication health", _HEALTH_SECONDS, replication.look)
    if seals is not None:
        rotation = Rotation(layout, settings, store, seals, connector(layout, settings, PEER_SECONDS), services.clock)
        yield Upkeep("seals", _SEALS_SECONDS, lambda: bool(reseal(seals, store)), on_change=True)
        yield Upkeep("replication password", _ROTATION_SECONDS, rotation.look, on_change=True)


def _own_record(services: Services) -> bool:
    return say_anew(services.layout, services.settings, services.store, services.domain, services.caller)


def _agreed(layout: Layout, settings: Settings, store: Store) -> bool:
    reconcile(layout, settings, store.members())
    return False


def _settled(layout: Layout, store: Store) -> bool:
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    if isinstance(store, DirectoryStore):
        with ingest_lock(layout.ingest_lock):
            return bool(store.settle(time.time()))
    return False


def _settle_role(services: Services, peers: Peers) -> bool:
    """Have CS.cfg say the role that this instance has in the set, and restart with it; answers stay as they are."""

    def register(master: Member) -> None:
        services.domain.promote(master.id, services.caller, lambda member, _: member.appointment, master)

    if settle(services.layout, services.settings, peers.master(), register, _log.warning):
        os.kill(os.getpid(), signal.SIGHUP)
    return False
