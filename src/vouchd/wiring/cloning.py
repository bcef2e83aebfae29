"""The set put together: the directory server of this instance, and what a member does for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from vouchd.clock import SystemClock
from vouchd.cloning.client import PeerClient, connector
from vouchd.cloning.following import Following, ForwardedIngesting, followed
from vouchd.cloning.membership import Membership, effective_settings
from vouchd.cloning.peers import Peers
from vouchd.cloning.registry import master_of
from vouchd.cloning.verifying import Verifying
from vouchd.cloning.verifying_master import ComparedMaster
from vouchd.cloning.watermark import Epochs, Watermark
from vouchd.core.facts import Member
from vouchd.core.ports import AuditSink, ChangeNotifier, Clock, Store
from vouchd.core.status import ServingState
from vouchd.errors import NotFound, TryLater
from vouchd.instance.certificates.in_use import CertificatesInUse
from vouchd.instance.certificates.tokens import responders_on_tokens
from vouchd.instance.refusals import Refusals
from vouchd.instance.report import read_report
from vouchd.service.arrivals import Retention
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.settings import cs_cfg
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import CERTSYSTEM, read_passwords
from vouchd.stores.sqlite.store import SqliteStore
from vouchd.wiring.tracing import open_tracing

if TYPE_CHECKING:
    from vouchd.directory.foreign import ForeignPoint


def notifier_of(store: Store) -> ChangeNotifier | None:
    """The store where it tells of changes by itself."""
    return store if isinstance(store, ChangeNotifier) else None


# Following put together: a client for each member, the task that takes over the master's facts, the other members.

PEER_SECONDS = 4.0
VERIFY_SECONDS = 10.0


def verifying(
    layout: Layout,
    in_use: CertificatesInUse,
    state: Callable[[], ServingState],
    others: Callable[[], Iterable[Member]],
) -> Verifying:
    """What compares this instance, which serves `state()`, with the other members."""
    settings, connect = in_use.now(), connector(layout, in_use.now, VERIFY_SECONDS)

    def own_url() -> str:
        report = read_report(layout.serving)
        return report.ee_url if report else ""

    def in_effect() -> dict[str, str]:
        return effective_settings(cs_cfg.read(layout.active_cs_cfg))

    return Verifying(
        state,
        own_url,
        others,
        connect,
        SystemClock(),
        layout.verification,
        in_effect,
        lambda: responders_on_tokens(settings),
        partial(compared_master, layout, settings),
    )


def compared_master(layout: Layout, settings: Settings, state: Callable[[], ServingState]) -> ComparedMaster | None:
    """What compares with the Certificate System that this instance is a clone of, None where it is none."""
    followed = settings.certsystem
    if not (followed.url and followed.responder):
        return None
    # Here, because they are of no use to who has no directory server.
    from vouchd.directory.connection import Connection, Credentials, server_of  # noqa: PLC0415
    from vouchd.directory.foreign import foreign_points  # noqa: PLC0415

    def points() -> Iterator[ForeignPoint]:
        server = server_of(followed.url, start_tls=followed.start_tls)
        password = read_passwords(layout.password_conf).get(CERTSYSTEM, "")
        connection = Connection(server, Credentials(followed.bind_dn, password), followed.trust_file)
        try:
            yield from foreign_points(connection, server.suffix)
        finally:
            connection.close()

    return ComparedMaster(followed.responder, points, state())


def ingesting(
    layout: Layout,
    in_use: CertificatesInUse,
    store: Store,
    indexing: Indexing,
    permission: Permission,
    audit: AuditSink,
) -> Ingesting:
    """What takes CRLs in: here, or for an embedded clone at its master."""
    settings = in_use.now()
    if not settings.of_set.master or not isinstance(store, SqliteStore):
        retention = Retention(settings.former_crls, settings.former_crl_bytes)
        return Ingesting(
            store, indexing, permission, audit, Refusals(layout.refused).note, retention, open_tracing(settings)
        )
    connect = connector(layout, in_use.now)

    def master() -> Member | None:
        return master_of(store.members())

    def to_master() -> PeerClient:
        named = master()
        if named is None:
            raise NotFound("the registry names no master", hint="vouchd clone promote makes one")
        if named.id == settings.member_id:
            raise TryLater("this instance is becoming the master", hint="if it stays so: vouchd restart")
        return connect(named)

    # Whoever takes a CRL in holds the lock already.
    following = Following(store, indexing, master, connect, nullcontext, settings.max_crl_bytes)
    return ForwardedIngesting(store, indexing, permission, audit, following, to_master)


def following(
    layout: Layout, in_use: CertificatesInUse, store: Store, indexing: Indexing, master: Callable[[], Member | None]
) -> Following | None:
    """What follows the master, None where this instance is no embedded clone."""
    return followed(layout, in_use, store, indexing, master) if in_use.now().of_set.master else None


def peers(
    layout: Layout,
    in_use: CertificatesInUse,
    store: Store,
    membership: Membership,
    epochs: Callable[[], Epochs],
    clock: Clock,
    watermark: Watermark,
) -> Peers:
    """What looks at the other members."""
    connect = connector(layout, in_use.now, PEER_SECONDS)
    return Peers(membership.me, store.members, epochs, connect, clock, watermark, users=store.users)
