"""The status store in a 389 Directory Server; entries and merge rules stand in docs/design/directory-store.md.

LDAP changes one entry atomically and no more, so every fact is committed by one modify operation of one entry: what it
needs besides (chunks of documents) is written before, what it makes superfluous is collected later.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vouchd.core import records
from vouchd.core.changes import Changes
from vouchd.core.facts import Authority, CRLRecord, DirectoryServer, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.core.ports import CA_KIND, Seals
from vouchd.directory.client_certificate import ClientIdentity
from vouchd.directory.connection import Change, Connection, Connections, Credentials, escaped
from vouchd.directory.schema import AUTHORITY, HIGH_WATER, HIGH_WATERS, QUARANTINED, ensure_containers
from vouchd.errors import AlreadyExists, NotFound, StoreConflict, StoreUnavailable
from vouchd.pkix import names
from vouchd.pkix.der import Buffer
from vouchd.stores.ldap.changes import EntryChanged, add, again, modify
from vouchd.stores.ldap.documents import ChunkedDocuments
from vouchd.stores.ldap.domain import DirectoryDomain, DirectorySetFacts
from vouchd.stores.ldap.entries import (
    CERTIFICATE,
    SMALL,
    Held,
    committed,
    crls_in_entry,
    entry_values,
    fact_of,
    highest,
    mark_value,
    mirrored,
    names_of,
    retired,
    scope_of,
    stands_in_entry,
)
from vouchd.stores.ldap.entry_judge import EntryJudge
from vouchd.stores.ldap.known_entries import KnownEntries
from vouchd.stores.ldap.persistent_search import watch
from vouchd.stores.ldap.removals import added, keep, kept
from vouchd.stores.ldap.settling import merge_conflicts, settle
from vouchd.stores.revision_cache import RevisionCache
from vouchd.stores.rules import (
    CHUNK_BYTES,
    HighWater,
    Unsealed,
    crl_hashes,
    keeping,
    no_authority,
    no_document,
    quarantine_order,
    require_next,
)

_ATTEMPTS = 5


class DirectoryStore(DirectoryDomain, DirectorySetFacts):
    """Keeps the contracts of all the stores, and of ChangeNotifier, below the server's suffix.

    Schema and containers must be there (directory/schema.py). May be used by several threads and processes.
    """

    def __init__(
        self,
        server: DirectoryServer,
        bind_dn: str,
        password: str,
        trust_file: Path | None = None,
        seals: Seals | None = None,
        identities: Callable[[], Sequence[ClientIdentity]] | None = None,
    ) -> None:
        """Connects when it is first used, so that an instance starts while its directory is away.

        `seals` decides what is believed of CAs, users, members, tokens, keyring and approvals; without it, all is.
        `identities` are bound with instead of the password.
        """
        connections = Connections(server, Credentials(bind_dn, password, identities), trust_file)
        super().__init__(connections, server.suffix, seals or Unsealed())
        self._documents = ChunkedDocuments(connections, server.suffix)
        self.use(self.seals)

    def over(self, seals: Seals) -> DirectoryStore:
        """The same directory as another judge sees it."""
        other = copy.copy(self)
        other.use(seals)
        return other

    def use(self, seals: Seals) -> None:
        """Have another judge decide what is believed."""
        self.seals = seals
        self._entries = KnownEntries(self._suffix, EntryJudge(seals, self._members))
        self._cache = RevisionCache(self.changes)

    def revision(self) -> int:
        """See StatusStore; the update sequence numbers of this server."""
        try:
            with self._connections.connection() as connection:
                return connection.last_usn()
        except StoreUnavailable:
            self._entries.doubt()
            raise

    def changes(self, since: int) -> Changes:
        """See StatusStore; of what changed before this process has looked first, all is told."""
        with self._connections.connection() as connection:
            self._look(connection)
            return self._entries.changes(connection, since)

    def authorities(self) -> tuple[Authority, ...]:
        """See StatusStore."""
        return self._cache.current().authorities

    def authority(self, authority_id: str) -> Authority | None:
        """See StatusStore."""
        return self._looked().authority(authority_id)

    def authorities_of(self, name_der: bytes) -> tuple[Authority, ...]:
        """See StatusStore."""
        named = (ca_entry.authority for ca_entry in self._looked().named(names.canonical(name_der)))
        return tuple(sorted(named, key=lambda authority: (authority.label, authority.id)))

    def put_authority(self, authority: Authority, documents: Mapping[str, Buffer] | None = None) -> None:
        """See StatusStore."""
        contents = documents or {}
        record = self.seals.seal(CA_KIND, authority.id, records.authority_record(authority))

        def put(connection: Connection) -> None:
            entries = self._look(connection)
            self._require_documents(contents, *filter(None, [authority.policy.issued_serials]))
            for sha256, document in contents.items():
                self._documents.put(connection, sha256, document)
            ca_entry = entries.doubted(authority.id) or entries.entry(authority.id)
            if ca_entry is None or ca_entry.gone:
                self._add(connection, authority, record)
                return
            changes = [
                *ca_entry.restamped(),
                Change("replace", AUTHORITY, (fact_of(record),)),
                Change("replace", CERTIFICATE, (authority.certificate_der,)),
            ]
            modify(connection, ca_entry.dn, changes)

        self._again(put)

    def put_authorities(self, authorities: Sequence[Authority]) -> None:
        """See StatusStore; one entry after the other."""
        for authority in authorities:
            self.put_authority(authority)

    def remove_authority(self, authority_id: str) -> None:
        """See StatusStore."""
        removal = self.seals.removal(CA_KIND, authority_id)
        seen = False

        def remove(connection: Connection) -> None:
            nonlocal seen
            entries = self._look(connection)
            entry = entries.doubted(authority_id) or entries.entry(authority_id)
            if seen and entry is None:
                return  # the server has made the change since, whose answer was lost
            ca_entry = _require(entry, authority_id)
            seen = True
            scopes = {epoch.issuing_point.scope_id for _, epoch in ca_entry.epochs}
            scopes |= {scope_of(mark) for mark in ca_entry.marks}
            points = [IssuingPointId(authority_id, scope) for scope in sorted(scopes)]
            self._keep_marks(connection, authority_id, {point: ca_entry.high_water(point) for point in points})
            # From here on it is no CA and gets no CRL whose mark would be lost; a deletion compares nothing itself.
            if not ca_entry.gone:
                changes = [*ca_entry.restamped(), Change("delete", AUTHORITY), *added(removal)]
                modify(connection, ca_entry.dn, changes)
            if removal is not None:
                keep(connection, self._suffix, [removal])
            with suppress(NotFound, StoreUnavailable):  # what is left is collected when the store is settled
                connection.delete(ca_entry.dn)

        self._again(remove)

    def ensure_containers(self) -> None:
        """Make the entries that hold others anew where somebody has deleted them."""
        with self._connections.connection() as connection:
            ensure_containers(connection, self._suffix)

    def removals(self) -> tuple[dict[str, Any], ...]:
        """What stands there of facts that are gone, believed or not."""
        with self._connections.connection() as connection:
            return kept(connection, self._suffix)

    def put_removal(self, removal: Mapping[str, Any]) -> None:
        """Have it stand there in place of what is said of the same fact."""
        self._again(lambda connection: keep(connection, self._suffix, [removal]))

    def epochs(self) -> tuple[Epoch, ...]:
        """See StatusStore."""
        return self._cache.current().epochs

    def epochs_of(self, authority_id: str) -> tuple[Epoch, ...]:
        """See StatusStore."""
        points = self._looked().points_of(authority_id)
        return tuple(epoch for point in sorted(points) if (epoch := points[point].epoch) is not None)

    def epoch(self, issuing_point: IssuingPointId) -> Epoch | None:
        """See StatusStore."""
        return self._looked().point(issuing_point).epoch

    def commit_epoch(self, epoch: Epoch, documents: Mapping[str, Buffer]) -> None:
        """See StatusStore."""

        def commit(connection: Connection) -> None:
            authority_id = epoch.issuing_point.authority_id
            ca_entry = _require_stored(self._look(connection).entry(authority_id), authority_id)
            current = ca_entry.epoch(epoch.issuing_point)
            require_next(epoch, current.sequence if current else 0)
            self._require_documents(documents, *crl_hashes(epoch))
            crls = self._document_changes(connection, ca_entry, epoch, documents)
            if epoch.renumbered > (current.renumbered if current else 0):
                self._forget_marks(connection, epoch.issuing_point)
            made = committed(ca_entry, keeping(epoch, lambda sha256: self._keeps(connection, sha256, documents)))
            modify(connection, ca_entry.dn, [*ca_entry.restamped(), *made, *crls, *mirrored(epoch)])

        self._again(commit)

    def commit_epochs(self, commits: Sequence[tuple[Epoch, Mapping[str, Buffer]]]) -> None:
        """See StatusStore; one entry after the other."""
        for epoch, documents in commits:
            self.commit_epoch(epoch, documents)

    def retire(self, authority: Authority, scope_id: str) -> None:
        """See StatusStore."""
        record = self.seals.seal(CA_KIND, authority.id, records.authority_record(authority))

        def retire(connection: Connection) -> None:
            entry = _require_stored(self._look(connection).entry(authority.id), authority.id)
            changes = [*entry.restamped(), *retired(entry, record, scope_id)]
            of_point = [epoch for _, epoch in entry.epochs if epoch.issuing_point.scope_id == scope_id]
            for attribute, sha256 in dict.fromkeys(crl for epoch in of_point for crl in crls_in_entry(epoch)):
                value = entry.crl(connection, sha256)
                changes += [Change("delete", attribute, (value,))] if value is not None else []
            modify(connection, entry.dn, changes)

        self._again(retire)

    def high_water(self, issuing_point: IssuingPointId) -> HighWater:
        """See StatusStore."""
        with self._connections.connection() as connection:
            kept = self._kept_marks(connection, issuing_point.authority_id)
            ca_entry = self._look(connection).entry(issuing_point.authority_id)
            now = [mark_value(issuing_point.scope_id, ca_entry.high_water(issuing_point))] if ca_entry else []
        return highest([*kept, *now], issuing_point.scope_id)

    def document(self, sha256: str) -> bytes:
        """See StatusStore."""
        return b"".join(self.document_chunks(sha256))

    def document_chunks(self, sha256: str) -> Iterator[bytes]:
        """See StatusStore."""
        with self._connections.connection() as connection:
            naming = self._look(connection).naming(sha256)
            if not naming:
                raise no_document(sha256)
            for ca_entry in naming:
                value = ca_entry.crl(connection, sha256)
                if value is not None:
                    return (value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES))
        return self._documents.chunks(sha256)

    def quarantined(self) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore."""
        return self._cache.current().quarantined

    def quarantined_of(self, authority_id: str) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore."""
        points = self._looked().points_of(authority_id).values()
        return tuple(sorted((one.quarantined for one in points if one.quarantined is not None), key=quarantine_order))

    def put_quarantined(self, crl: QuarantinedCRL, document: Buffer) -> None:
        """See StatusStore."""

        def put(connection: Connection) -> None:
            authority_id = crl.issuing_point.authority_id
            ca_entry = _require_stored(self._look(connection).entry(authority_id), authority_id)
            self._documents.put(connection, crl.record.sha256, document)
            fact = records.to_json(records.quarantined_record(crl)).encode()
            old = _held_back(ca_entry, crl.issuing_point)
            changes = [Change("delete", QUARANTINED, old)] if old else []
            modify(connection, ca_entry.dn, [*ca_entry.restamped(), *changes, Change("add", QUARANTINED, (fact,))])

        self._again(put)

    def drop_quarantined(self, issuing_point: IssuingPointId) -> None:
        """See StatusStore."""

        def drop(connection: Connection) -> None:
            ca_entry = self._look(connection).entry(issuing_point.authority_id)
            old = _held_back(ca_entry, issuing_point) if ca_entry and not ca_entry.gone else ()
            if ca_entry is None or not old:
                raise NotFound("no CRL is held back for this issuing point")
            modify(connection, ca_entry.dn, [*ca_entry.restamped(), Change("delete", QUARANTINED, old)])

        self._again(drop)

    def settle(self, now: float) -> int:
        """Tidy up after concurrent changes on several suppliers, and collect old documents; how much was done.

        What is answered is the same before and after: every reader takes the newest, and unites a CA that was added
        twice.
        """
        with self._connections.connection() as connection:
            return settle(connection, self._suffix, lambda: self._look(connection).stored(), self._documents, now)

    def notify(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See ChangeNotifier; a persistent search of this server."""
        return watch(self._connections, self._suffix, changed)

    def close(self) -> None:
        """See StatusStore."""
        self._connections.close()

    def _again(self, change: Callable[[Connection], None]) -> None:
        """See changes.again."""
        again(self._connections, change, self._entries.mistrust)

    def _looked(self) -> KnownEntries:
        with self._connections.connection() as connection:
            return self._look(connection)

    def _look(self, connection: Connection) -> KnownEntries:
        """All CAs. One that was added on two suppliers at one time is united first: neither half is the whole truth."""
        for _ in range(_ATTEMPTS):
            if not self._entries.look(connection):
                break
            merge_conflicts(connection, self._suffix)
        return self._entries

    def _add(self, connection: Connection, authority: Authority, record: Mapping[str, Any]) -> None:
        for each in names_of(authority):
            dn = f"cn={escaped(each)},{self._suffix}"
            try:
                return add(connection, dn, entry_values(each, authority, record))
            except AlreadyExists:  # a CA of the same name with another key; or this one, by another process
                rival = connection.read(dn, SMALL)
                if rival and rival.all(AUTHORITY) and Held.stored(rival).authority.id == authority.id:
                    raise EntryChanged(f"{authority.label} was added meanwhile") from None
        raise StoreConflict(f"{authority.label} is being added by another process", hint="try again")

    def _require_documents(self, documents: Mapping[str, Buffer], *wanted: str) -> None:
        for sha256 in wanted:
            if sha256 not in documents and not self._entries.naming(sha256):
                raise no_document(sha256)

    def _keeps(self, connection: Connection, sha256: str, documents: Mapping[str, Buffer]) -> bool:
        """Have that former CRL in chunks, whether or not it is a value of an entry now; whether it was still there."""
        if not self._documents.has(connection, sha256):
            try:
                document = documents[sha256] if sha256 in documents else self.document(sha256)
            except NotFound:
                return False
            self._documents.put(connection, sha256, document)
        return True

    def _document_changes(
        self, connection: Connection, ca_entry: Held, epoch: Epoch, documents: Mapping[str, Buffer]
    ) -> list[Change]:
        """Write the chunks that the epoch needs; the changes of the CRLs that stand in the entry itself."""
        for record in _crls(epoch):
            sha256 = record.sha256
            if stands_in_entry(epoch.issuing_point, record):
                continue
            if sha256 in documents:
                self._documents.put(connection, sha256, documents[sha256])
            elif not self._documents.has(connection, sha256):  # it is a value of an entry that may drop it
                self._documents.put(connection, sha256, self.document(sha256))
        changes = []
        for attribute, old, new in ca_entry.crls_changed(epoch):
            if new is not None:
                document = documents.get(new)
                value = self.document(new) if document is None else bytes(document)
                changes.append(Change("add", attribute, (value,)))
            gone = tuple(filter(None, (ca_entry.crl(connection, sha256) for sha256 in old)))
            if gone:
                changes.append(Change("delete", attribute, gone))
        return changes

    def _keep_marks(self, connection: Connection, authority_id: str, marks: Mapping[IssuingPointId, HighWater]) -> None:
        values = tuple(mark_value(point.scope_id, mark) for point, mark in marks.items())
        if not values:
            return
        dn = f"cn={authority_id},{HIGH_WATERS},{self._suffix}"
        try:
            connection.add(dn, {"objectClass": ["top", "vouchdMark"], "cn": [authority_id], HIGH_WATER: values})
        except AlreadyExists:
            known = self._kept_marks(connection, authority_id)
            new = tuple(value for value in values if value not in known)
            if new:
                connection.modify(dn, [Change("add", HIGH_WATER, new)])

    def _forget_marks(self, connection: Connection, point: IssuingPointId) -> None:
        """Take away the marks of a CA that was removed before, where an administrator has numbers lowered."""
        kept = self._kept_marks(connection, point.authority_id)
        gone = tuple(mark for mark in kept if scope_of(mark) == point.scope_id)
        if gone:
            dn = f"cn={point.authority_id},{HIGH_WATERS},{self._suffix}"
            connection.modify(dn, [Change("delete", HIGH_WATER, gone)])

    def _kept_marks(self, connection: Connection, authority_id: str) -> tuple[bytes, ...]:
        entry = connection.read(f"cn={authority_id},{HIGH_WATERS},{self._suffix}", [HIGH_WATER])
        return entry.all(HIGH_WATER) if entry else ()


def _require(ca_entry: Held | None, authority_id: str) -> Held:
    if ca_entry is None:
        raise no_authority(authority_id)
    return ca_entry


def _require_stored(ca_entry: Held | None, authority_id: str) -> Held:
    ca_entry = _require(ca_entry, authority_id)
    if ca_entry.gone:
        raise StoreConflict(
            f"the directory has lost {ca_entry.authority.label}, and no member has removed it",
            hint="`vouchd directory doubts --restore` puts it back",
        )
    return ca_entry


def _held_back(ca_entry: Held, point: IssuingPointId) -> tuple[bytes, ...]:
    return tuple(value for value, crl in ca_entry.quarantined if crl.issuing_point == point)


def _crls(epoch: Epoch) -> tuple[CRLRecord, ...]:
    return (epoch.base, epoch.delta) if epoch.delta else (epoch.base,)
