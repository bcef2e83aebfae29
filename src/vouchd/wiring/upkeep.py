"""What the manager process does now and then, for the set and for itself, put together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

from vouchd.api.services import Services
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.client import connector
from vouchd.cloning.peers import Peers
from vouchd.cloning.replication import reconcile
from vouchd.cloning.replication_watch import ReplicationWatch
from vouchd.cloning.resealing import reseal
from vouchd.cloning.roles import settle
from vouchd.cloning.rotation import Rotation
from vouchd.cloning.verifying import Verifying
from vouchd.core.facts import Member
from vouchd.core.ports import ApprovalStore, Clock, Store
from vouchd.hardening import PROGRAM
from vouchd.instance.backups import read_backup_record, write_backup_record
from vouchd.instance.locking import ingest_lock
from vouchd.instance.report import WaitingApproval
from vouchd.processes.upkeep import Upkeep
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.wiring.cloning import PEER_SECONDS, following

_log = logging.getLogger(__name__)

_APPROVALS_SECONDS = 5.0
_BACKUP_LOOK_SECONDS = 60.0
_HEALTH_SECONDS = 15.0
_LAST_WORDS = 300
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
    yield Upkeep("users", _USERS_SECONDS, services.known_users.look, on_change=True)
    follow = following(services.layout, services.in_use, services.store, services.indexing, peers.master)
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
        connect = connector(layout, services.in_use.now, PEER_SECONDS)
        rotation = Rotation(layout, settings, store, seals, connect, services.clock)
        yield Upkeep("seals", _SEALS_SECONDS, lambda: bool(reseal(seals, store)), on_change=True)
        yield Upkeep("replication password", _ROTATION_SECONDS, rotation.look, on_change=True)


class ApprovalWatch:
    """What waits for a second agent, as it was when it was looked at last; a report has no time to ask the store."""

    def __init__(self, store: ApprovalStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: tuple[WaitingApproval, ...] = ()

    def look(self) -> bool:
        """Look; nothing that is served changes by it. Raises: StoreError."""
        self._waiting = tuple(
            WaitingApproval(one.id, one.operation, one.requester, one.expires_at)
            for one in self._store.approvals().waiting(self._clock.now())
        )
        return False

    def waiting(self) -> tuple[WaitingApproval, ...]:
        """It, oldest first."""
        return self._waiting

    @property
    def upkeep(self) -> Upkeep:
        """The look, with its rhythm."""
        return Upkeep("approvals", _APPROVALS_SECONDS, self.look, on_change=True)


def own_backups(layout: Layout, settings: Settings, clock: Clock) -> tuple[Upkeep, ...]:
    """The backups that the instance makes by itself, each in a process of its own: it takes memory, and starts a copy.

    What comes of it is in the record that the process writes; it keeps no revocation from being answered.
    """
    if not settings.backup.interval_seconds:
        return ()
    command = [*PROGRAM, "vouchd.cli.main", "backup", "--all", "--instance", str(layout.root)]
    foreign = ("NOTIFY_", "WATCHDOG_", "LISTEN_", "VOUCHD_")  # meant for this process

    def look() -> bool:
        last = read_backup_record(layout.backups).tried_at
        if last is not None and 0 <= clock.now() - last < settings.backup.interval_seconds:
            return False
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        done = subprocess.run(  # noqa: S603  our own program
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            words = " ".join(done.stderr.split())[-_LAST_WORDS:] or f"exit code {done.returncode}"
            _log.error("no backup: %s", words)
            record = read_backup_record(layout.backups)
            write_backup_record(
                layout.backups, replace(record, tried_at=record.tried_at or clock.now(), error=record.error or words)
            )
        return False

    return (Upkeep("backup", _BACKUP_LOOK_SECONDS, look),)


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
