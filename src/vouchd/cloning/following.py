"""Following a master without a directory: its facts are made ours, by long poll over its agent port.

How it works. The master gives its facts (CAs, epochs, users, members) a version. The clone asks with the version that
it has taken over; the master answers as soon as its own is another one, or not at all within `WAIT_SECONDS`, and then
it is asked again. So a change arrives in the time of one answer, and nothing is sent while nothing happens. What comes
is what the master holds now of all that changed since that version, so one CRL costs one issuing point; the whole where
the clone has no version of this run of the master: after a start of either, of another master, after a failure. A clone
that was restored from a backup has none, and is right after the next answer, whatever it had before. Documents (CRLs,
lists of serials) are named by their SHA-256 and fetched when they are not here, all over one connection.

Why it is right:

1. *What can be checked is checked again here*: that each document has its hash, that each CRL is signed by a key of its
   CA, and that the facts say of it what it says itself. The master is believed in what only it can know: which CAs
   there are, by which policies, and who may come.
2. *Nobody goes back.* Of an issuing point where ours is of a newer CRL, ours stays (`_never_older`): a master that was
   restored from a backup takes no clone back with it.
3. *One step.* Index files are written before the facts are taken over, and the facts in one transaction; the manifest
   that the workers answer from is made of what the store has then. Killed anywhere, the clone has the facts before or
   the facts after, and asks again with the version that belongs to them, or with none.
4. *One writer.* `_alone` and the lock of the instance are held from the comparison with ours to the taking over, so a
   CRL that is taken in at the same moment (`ForwardedIngesting`) comes before or after, never between.
5. *Who the master is* is said by the believed registry (`cloning/appointment`), and it answers to the fingerprint that
   is pinned there. A version counts for the member that gave it: of another master all facts are asked for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from vouchd.cloning.client import News, PeerClient, connector
from vouchd.core import key_history
from vouchd.core.acceptance import judge_issuer
from vouchd.core.changes import Concerned
from vouchd.core.facts import Authority, Caller, CRLRecord, Epoch, Facts, Member, is_newer_crl
from vouchd.core.ports import AuditSink, MirrorStore, StatusStore, Store
from vouchd.errors import LifecycleError, NotFound, VouchdError
from vouchd.instance.certificates.in_use import CertificatesInUse
from vouchd.instance.locking import ingest_lock
from vouchd.pkix import certs
from vouchd.pkix.crl import read_header
from vouchd.pkix.der import Buffer
from vouchd.pkix.textual import ObjectSource
from vouchd.service.arrivals import Received, recipients
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Action, Permission
from vouchd.settings.layout import Layout
from vouchd.stores.sqlite.store import SqliteStore

_log = logging.getLogger(__name__)

WAIT_SECONDS = 25.0


class Following:
    """Takes over the facts of the master that `master()` names; `connect` makes a client of it."""

    def __init__(
        self,
        store: SqliteStore,
        indexing: Indexing,
        master: Callable[[], Member | None],
        connect: Callable[[Member], PeerClient],
        lock: Callable[[], AbstractContextManager[None]],
        max_document_bytes: int,
    ) -> None:
        self._store = store
        self._indexing = indexing
        self._master = master
        self._connect = connect
        self._lock = lock
        self._max_bytes = max_document_bytes
        self._alone = threading.Lock()
        self._followed: tuple[str, str] = ("", "")  # member id, version of its facts

    def wait(self) -> bool:
        """Wait for a change at the master and take it over; whether there was one. Raises: VouchdError."""
        return self._step(WAIT_SECONDS)

    def catch_up(self) -> bool:
        """Take over what the master has now. Raises: VouchdError."""
        return self._step(0.0)

    def _step(self, seconds: float) -> bool:
        master = self._master()
        if master is None:
            raise NotFound("the registry names no master to follow", hint="vouchd clone promote makes one")
        client = self._connect(master)
        followed = self._followed
        member_id, after = followed
        news = client.state(after if member_id == master.id else "", seconds)
        if news is None:
            return False
        return self._take_over(client, news, followed, master) or self._step(0.0) or True

    def _take_over(self, client: PeerClient, news: News, followed: tuple[str, str], master: Member) -> bool:
        """Make what the master tells ours; False when what it was asked with has been followed by more since."""
        version, facts, concerned = news
        with self._alone, self._lock():
            if concerned is not None and self._followed != followed:
                return False
            by_id = self._authorities(facts, concerned)
            facts = replace(facts, epochs=tuple(_never_older(facts, by_id, self._ours(concerned))))
            lacking = self._store.lacking(facts)
            documents = dict(zip(lacking, client.documents(lacking, self._max_bytes), strict=True))
            self._check(facts, by_id, documents)
            self._build(facts, by_id, documents)
            self._store.adopt(facts, documents, concerned)
            self._followed = (master.id, version)
        return True

    def _authorities(self, facts: Facts, concerned: Concerned | None) -> dict[str, Authority]:
        """The CAs by id as they are going to be: those that the master tells of, and of others ours."""
        by_id = {authority.id: authority for authority in facts.authorities}
        if concerned is not None:
            for authority_id in {point.authority_id for point in concerned.points} - concerned.authorities:
                ours = self._store.authority(authority_id)
                if ours is not None:
                    by_id[authority_id] = ours
        return by_id

    def _ours(self, concerned: Concerned | None) -> tuple[Epoch, ...]:
        """Our epochs of the issuing points that are told of."""
        if concerned is None:
            return self._store.epochs()
        return tuple(filter(None, map(self._store.epoch, sorted(concerned.points))))

    def _check(self, facts: Facts, by_id: Mapping[str, Authority], documents: Mapping[str, bytes]) -> None:
        """Raise unless each new CRL is signed by its CA, and is what the facts say.

        Raises: CRLRejected, LifecycleError.
        """
        for known in facts.authorities:
            if not all(key_history.is_named(known, certs.name_and_key(one)[0]) for one in known.certificates):
                raise LifecycleError(f"the master told of a CA {known.id} with the certificate of another one")
        for epoch in facts.epochs:
            authority = by_id.get(epoch.issuing_point.authority_id)
            if authority is None:
                raise LifecycleError("the master told of a CRL of a CA that it does not tell of")
            for record in filter(None, (epoch.base, epoch.delta)):
                if record.sha256 in documents:
                    _require_signed(documents[record.sha256], authority)
                    _require_same(documents[record.sha256], record, epoch)

    def _build(self, facts: Facts, by_id: Mapping[str, Authority], documents: Mapping[str, bytes]) -> None:
        for epoch in facts.epochs:
            if {epoch.base.sha256, epoch.delta.sha256 if epoch.delta else ""} & documents.keys():
                self._build_one(by_id[epoch.issuing_point.authority_id], epoch, documents)

    def _build_one(self, authority: Authority, epoch: Epoch, documents: Mapping[str, bytes]) -> None:
        def document(record: CRLRecord) -> Buffer:
            fetched = documents.get(record.sha256)
            return self._indexing.document(record) if fetched is None else fetched

        self._indexing.build(authority, epoch, document)


def _never_older(facts: Facts, known: Mapping[str, Authority], ours: tuple[Epoch, ...]) -> Iterator[Epoch]:
    """The epochs of the facts; of issuing points where ours is of a newer CRL, ours."""
    theirs = {epoch.issuing_point: epoch for epoch in facts.epochs}
    for epoch in ours:
        point = epoch.issuing_point
        # Only the CRL counts: of one CRL that was accepted twice the master's acceptance is everyone's.
        if point.authority_id not in known or point.scope_id in known[point.authority_id].retired_scopes:
            continue
        if point not in theirs or is_newer_crl(epoch, theirs[point]):
            _log.warning("the master has an older CRL of %s than this clone, which keeps its own", point.authority_id)
            theirs[point] = epoch
    yield from theirs.values()


def _require_same(crl: bytes, record: CRLRecord, epoch: Epoch) -> None:
    """Raise unless the CRL has the times, number and scope that the facts give it. Raises: LifecycleError."""
    header = read_header(crl)
    said = (record.this_update, record.next_update, record.crl_number, epoch.issuing_point.scope_id)
    if said != (header.this_update, header.next_update, header.crl_number, header.point_scope_id):
        raise LifecycleError(f"the master told of a CRL {record.sha256} what it does not say itself")


def _require_signed(crl: bytes, authority: Authority) -> None:
    header = read_header(crl)
    for recipient in recipients(header, [authority]):
        judge_issuer(crl, header, recipient.issuers)


class ForwardedIngesting(Ingesting):
    """Takes CRLs in at the master, and then what became of them here; the master decides, its verdict is ours."""

    def __init__(
        self,
        store: StatusStore,
        indexing: Indexing,
        permission: Permission,
        audit: AuditSink,
        following: Following,
        connect: Callable[[], PeerClient],
    ) -> None:
        super().__init__(store, indexing, permission, audit)
        self._facts = store
        self._rights = permission
        self._following = following
        self._connect_master = connect

    def accept_crl(self, crl: ObjectSource, origin: str, caller: Caller, at: int) -> tuple[Epoch, ...]:
        """See Ingesting. Raises: also ClientError when the master cannot be asked; nothing was changed then."""
        arrival = Received.of(crl, origin, at)
        self._rights.allow(caller, Action.ADD_CRL, arrival.sha256)
        self._connect_master().add_crl(arrival.crl)
        self._following.catch_up()
        return self._epochs(arrival)

    def accept_all(
        self, crls: Sequence[tuple[Buffer, str]], caller: Caller, at: int
    ) -> list[tuple[Epoch, ...] | VouchdError]:
        """See Ingesting; the master is asked for each, and what became of them is taken over at once."""
        self._rights.allow(caller, Action.ADD_CRL, f"{len(crls)} CRLs")
        arrivals: list[Received | VouchdError] = []
        for crl, origin in crls:
            try:
                arrival = Received.of(crl, origin, at)
                self._connect_master().add_crl(arrival.crl)
                arrivals.append(arrival)
            except VouchdError as error:
                arrivals.append(error)
        self._following.catch_up()
        return [self._epochs(one) if isinstance(one, Received) else one for one in arrivals]

    def _epochs(self, arrival: Received) -> tuple[Epoch, ...]:
        """Those of the CAs that the CRL is for, as they are here now."""
        named = self._facts.authorities_of(arrival.header.issuer_name_der)
        ids = dict.fromkeys(one.authority.id for one in recipients(arrival.header, named))
        return tuple(epoch for authority_id in ids for epoch in self._facts.epochs_of(authority_id))


def mirror_of(store: Store) -> MirrorStore | None:
    """The store where others can follow it, None where a directory replicates by itself."""
    return store if isinstance(store, SqliteStore) else None


def followed(
    layout: Layout, in_use: CertificatesInUse, store: Store, indexing: Indexing, master: Callable[[], Member | None]
) -> Following | None:
    """What takes over the facts of the master, None where a directory server brings them."""
    if not isinstance(store, SqliteStore):
        return None

    def lock() -> AbstractContextManager[None]:
        return ingest_lock(layout.ingest_lock)

    return Following(store, indexing, master, connector(layout, in_use.now), lock, in_use.now().max_crl_bytes)
