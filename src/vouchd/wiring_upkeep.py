"""What the manager process does for the set now and then, put together."""

from __future__ import annotations

import logging
import os
import signal
import time

from vouchd.core.ports import Store
from vouchd.processes.upkeep import Upkeep
from vouchd.cloning.following import Following
from vouchd.settings.layout import Layout
from vouchd.instance.locking import ingest_lock
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS, own_member
from vouchd.cloning.peers import Peers
from vouchd.cloning.replicas import ReplicationWatch
from vouchd.settings.declared import Settings
from vouchd.cloning.verifying import Verifying
from vouchd.instance.writing import write_values
from vouchd.wiring.cloning import reconcile

_log = logging.getLogger(__name__)

_ROLE_SECONDS = 5.0
_TOPOLOGY_SECONDS = 30.0
_SETTLE_SECONDS = 60.0
_HEALTH_SECONDS = 15.0


def upkeep(
    layout: Layout,
    settings: Settings,
    store: Store,
    following: Following | None,
    peers: Peers,
    replication: ReplicationWatch | None,
    verifying: Verifying,
) -> tuple[Upkeep, ...]:
    """What the manager process does again and again for the set."""
    works = [Upkeep("members", settings.of_set.peers_seconds, peers.look)]
    works.append(Upkeep("role", _ROLE_SECONDS, lambda: step_down(layout, settings, peers), on_change=True))
    if following is not None:
        # On change too: a master that is back is followed as soon as it is seen, not when the pause is over.
        works.append(Upkeep("following", 0.0, following.wait, on_change=True))
    if settings.directory is not None:
        works.append(Upkeep("replication", _TOPOLOGY_SECONDS, lambda: _agreed(layout, settings, store), on_change=True))
        works.append(Upkeep("tidying", _SETTLE_SECONDS, lambda: _settled(layout, store)))
    if replication is not None:
        works.append(Upkeep("replication health", _HEALTH_SECONDS, replication.look))
    every = settings.of_set.verify_seconds
    if every:
        works.append(Upkeep("verification", every, lambda: verifying.again(every), at_start=False))
    return tuple(works)


def _agreed(layout: Layout, settings: Settings, store: Store) -> bool:
    reconcile(layout, settings, store.members())
    return False


def _settled(layout: Layout, store: Store) -> bool:
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    if isinstance(store, DirectoryStore):
        with ingest_lock(layout.ingest_lock):
            return bool(store.settle(time.time()))
    return False


def step_down(layout: Layout, settings: Settings, peers: Peers) -> bool:
    """Become a clone when the role of the master has moved while this instance thought that it had it.

    CS.cfg is changed and the instance restarts; nothing is answered differently meanwhile.
    """
    master = peers.master()
    is_clone = settings.refresh_seconds == CLONE_REFRESH_SECONDS
    if master is None or master.id == settings.member_id or is_clone or not settings.of_set.host:
        return False
    if master.tls_sha256 == own_member(settings).tls_sha256:
        return False  # it is this instance, under a name that it takes on with its next start
    values = {"ocsp.store.defStore.refreshInSec": str(CLONE_REFRESH_SECONDS)}
    if settings.directory is None:
        values["vouchd.clone.master"] = master.id
    write_values(layout, values)
    _log.warning("%s is the master now (term %d): this instance becomes its clone", master.id, master.term)
    os.kill(os.getpid(), signal.SIGHUP)
    return False
