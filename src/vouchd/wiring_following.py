"""Following put together: a client for each member, the task that takes over the master's facts, the other members."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from vouchd.cloning.client import Identity, PeerClient
from vouchd.core.facts import Epoch, Member
from vouchd.core.ports import AuditSink, Clock, Store
from vouchd.core.status import ServingState
from vouchd.cloning.registry import master_of
from vouchd.errors import NotFound, TryLater
from vouchd.cloning.following import Following, ForwardedIngesting
from vouchd.settings.layout import Layout
from vouchd.instance.locking import ingest_lock
from vouchd.cloning.membership import Membership
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.cloning.peers import Peers
from vouchd.settings.declared import Settings
from vouchd.cloning.verifying import Verifying
from vouchd.clock import SystemClock
from vouchd.instance.report import read_serving
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.stores.sqlite.store import SqliteStore

PEER_SECONDS = 4.0
VERIFY_SECONDS = 10.0


def connector(layout: Layout, settings: Settings, timeout_seconds: float = 15.0) -> Callable[[Member], PeerClient]:
    """What makes a client of a member, with this instance's subsystem certificate."""

    def connect(member: Member) -> PeerClient:
        files, password = settings.subsystem, read_passwords(layout.password_conf).get(INTERNAL, "")
        identity = Identity(files.certificate_file, files.key_file, password)
        return PeerClient(member.host, member.secure_port, member.tls_sha256, identity, timeout_seconds)

    return connect


def verifying(
    layout: Layout,
    settings: Settings,
    state: Callable[[], ServingState],
    others: Callable[[], Iterable[Member]],
) -> Verifying:
    """What compares this instance, which serves `state()`, with the other members."""
    connect = connector(layout, settings, VERIFY_SECONDS)

    def own_url() -> str:
        report = read_serving(layout.serving)
        return report.ee_url if report else ""

    return Verifying(state, own_url, others, connect, SystemClock(), layout.verification)


def ingesting(
    layout: Layout, settings: Settings, store: Store, indexing: Indexing, permission: Permission, audit: AuditSink
) -> Ingesting:
    """What takes CRLs in: here, or for an embedded clone at its master."""
    if not settings.of_set.master or not isinstance(store, SqliteStore):
        return Ingesting(store, indexing, permission, audit)
    connect = connector(layout, settings)

    def master() -> Member | None:
        return master_of(store.members())

    def to_master() -> PeerClient:
        found = master()
        if found is None:
            raise NotFound("the registry names no master", hint="vouchd clone promote makes one")
        if found.id == settings.member_id:
            raise TryLater("this instance is becoming the master", hint="if it stays so: vouchd restart")
        return connect(found)

    # Whoever takes a CRL in holds the lock already.
    following = Following(store, indexing, master, connect, nullcontext, settings.max_crl_bytes)
    return ForwardedIngesting(store, indexing, permission, audit, following, to_master)


def following(
    layout: Layout, settings: Settings, store: Store, indexing: Indexing, master: Callable[[], Member | None]
) -> Following | None:
    """What follows the master, None where this instance is no embedded clone."""
    return followed(layout, settings, store, indexing, master) if settings.of_set.master else None


def followed(
    layout: Layout, settings: Settings, store: Store, indexing: Indexing, master: Callable[[], Member | None]
) -> Following | None:
    """What takes over the facts of the master, None where a directory server brings them."""
    if not isinstance(store, SqliteStore):
        return None

    def lock() -> AbstractContextManager[None]:
        return ingest_lock(layout.ingest_lock)

    return Following(store, indexing, master, connector(layout, settings), lock, settings.max_crl_bytes)


def peers(
    layout: Layout,
    settings: Settings,
    store: Store,
    membership: Membership,
    epochs: Callable[[], Iterable[Epoch]],
    clock: Clock,
    behind: Iterable[str] = (),
) -> Peers:
    """What looks at the other members."""
    connect = connector(layout, settings, PEER_SECONDS)
    stale_seconds = settings.of_set.stale_seconds
    return Peers(membership.me, store.members, epochs, connect, clock, stale_seconds, behind=behind)
