"""The default status store: one SQLite file, no set-up. The schema is in schema/."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vouchd.core import records
from vouchd.core.changes import NEVER, Changes, PointFacts
from vouchd.core.facts import Authority, Epoch, IssuingPointId, QuarantinedCRL, User
from vouchd.core.records import Record
from vouchd.errors import NotFound
from vouchd.pkix import names
from vouchd.pkix.der import Buffer
from vouchd.stores.revision_cache import RevisionCache
from vouchd.stores.rules import (
    NO_HIGH_WATER,
    HighWater,
    crl_hashes,
    keeping,
    mark_after,
    no_authority,
    no_issuing_point,
    no_user,
    require_administrator,
    require_next,
    require_user_change,
)
from vouchd.stores.sqlite.base import Transaction, has_document, require_document
from vouchd.stores.sqlite.database import BUSY_SECONDS
from vouchd.stores.sqlite.domain import SqliteDomain, SqliteSetFacts
from vouchd.stores.sqlite.mirror import SqliteMirror

T = TypeVar("T")

_CHANGED_AUTHORITIES = """
SELECT authority_id, fact FROM change LEFT JOIN authority ON id = authority_id WHERE revision > ? AND scope_id = ''
"""
_CHANGED_POINTS = """
SELECT c.authority_id, c.scope_id, e.fact, q.fact
FROM change c
LEFT JOIN epoch e ON (e.authority_id, e.scope_id) = (c.authority_id, c.scope_id)
LEFT JOIN quarantine q ON (q.authority_id, q.scope_id) = (c.authority_id, c.scope_id)
WHERE c.revision > ? AND c.scope_id <> ''
"""


class SqliteStore(SqliteDomain, SqliteSetFacts, SqliteMirror):
    """Keeps the contracts of all the stores in the file `path`, for several threads and processes.

    Raises: StoreUnavailable; StoreError when the file is not ours or of a newer version.
    """

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        super().__init__(path, busy_seconds=busy_seconds)
        self._cache = RevisionCache(self._changed_since)

    def copy(self, path: Path) -> None:
        """Write all that is stored now to a new database file (0600), in one consistent view."""
        self._database.copy(path)

    def revision(self) -> int:
        """See StatusStore."""
        with self._database.reading() as db:
            return int(db.execute("SELECT number FROM revision").fetchone()[0])

    def changes(self, since: int) -> Changes:
        """See StatusStore."""
        return self._cache.changes(since)

    def _changed_since(self, since: int) -> Changes:
        with self._database.reading() as db:
            (revision,) = db.execute("SELECT number FROM revision").fetchone()
            whole = not 0 <= since <= revision
            after = NEVER if whole else since
            authorities = {
                authority_id: records.from_json(fact, records.read_authority) if fact else None
                for authority_id, fact in db.execute(_CHANGED_AUTHORITIES, (after,)).fetchall()
            }
            points = {
                IssuingPointId(authority_id, scope_id): PointFacts(
                    records.from_json(epoch, records.read_epoch) if epoch else None,
                    records.from_json(quarantined, records.read_quarantined) if quarantined else None,
                )
                for authority_id, scope_id, epoch, quarantined in db.execute(_CHANGED_POINTS, (after,)).fetchall()
            }
        return Changes(revision, authorities, points, whole)

    def authorities(self) -> tuple[Authority, ...]:
        """See StatusStore."""
        return self._cache.current().authorities

    def authority(self, authority_id: str) -> Authority | None:
        """See StatusStore."""
        return self._one("SELECT fact FROM authority WHERE id = ?", (authority_id,), records.read_authority)

    def authorities_of(self, name_der: bytes) -> tuple[Authority, ...]:
        """See StatusStore."""
        query = "SELECT fact FROM issuer_name JOIN authority ON id = authority_id WHERE name = ? ORDER BY label, id"
        return self._some(query, (names.canonical(name_der),), records.read_authority)

    def put_authority(self, authority: Authority, documents: Mapping[str, Buffer] | None = None) -> None:
        """See StatusStore."""
        issued_serials = authority.policy.issued_serials
        with self._changing() as change:
            change.put_documents(documents or {}, *([issued_serials] if issued_serials else []))
            change.put_authority(authority)

    def put_authorities(self, authorities: Sequence[Authority]) -> None:
        """See StatusStore."""
        with self._changing() as change:
            for authority in authorities:
                serials = authority.policy.issued_serials
                change.put_documents({}, *([serials] if serials else []))
                change.put_authority(authority)

    def remove_authority(self, authority_id: str) -> None:
        """See StatusStore."""
        with self._changing() as change:
            _require_authority(change.db, authority_id)
            change.remove_authority(authority_id)

    def epochs(self) -> tuple[Epoch, ...]:
        """See StatusStore."""
        return self._cache.current().epochs

    def epochs_of(self, authority_id: str) -> tuple[Epoch, ...]:
        """See StatusStore."""
        query = "SELECT fact FROM epoch WHERE authority_id = ? ORDER BY scope_id"
        return self._some(query, (authority_id,), records.read_epoch)

    def epoch(self, issuing_point: IssuingPointId) -> Epoch | None:
        """See StatusStore."""
        query = "SELECT fact FROM epoch WHERE authority_id = ? AND scope_id = ?"
        return self._one(query, (issuing_point.authority_id, issuing_point.scope_id), records.read_epoch)

    def commit_epoch(self, epoch: Epoch, documents: Mapping[str, Buffer]) -> None:
        """See StatusStore."""
        self.commit_epochs([(epoch, documents)])

    def commit_epochs(self, commits: Sequence[tuple[Epoch, Mapping[str, Buffer]]]) -> None:
        """See StatusStore."""
        with self._changing() as change:
            for epoch, documents in commits:
                _commit(change, epoch, documents)

    def retire(self, authority: Authority, scope_id: str) -> None:
        """See StatusStore."""
        key = (authority.id, scope_id)
        with self._changing() as change:
            _require_authority(change.db, authority.id)
            change.release_former(*key)
            gone = change.db.execute(
                "DELETE FROM epoch WHERE authority_id = ? AND scope_id = ? RETURNING base, delta", key
            ).fetchall()
            gone += _drop_quarantined(change.db, key)
            if not gone:
                raise no_issuing_point(scope_id)
            change.released(*(document for row in gone for document in row))
            change.put_authority(authority)
            change.changed(*key)

    def high_water(self, issuing_point: IssuingPointId) -> HighWater:
        """See StatusStore."""
        with self._database.reading() as db:
            return _high_water(db, issuing_point)

    def document(self, sha256: str) -> bytes:
        """See StatusStore."""
        return b"".join(self.document_chunks(sha256))

    def document_chunks(self, sha256: str) -> Iterator[bytes]:
        """See StatusStore."""
        with self._database.reading() as db:
            require_document(db, sha256)
        return self._chunks(sha256)

    def quarantined(self) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore."""
        return self._cache.current().quarantined

    def quarantined_of(self, authority_id: str) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore."""
        query = "SELECT fact FROM quarantine WHERE authority_id = ? ORDER BY received_at, scope_id"
        return self._some(query, (authority_id,), records.read_quarantined)

    def put_quarantined(self, crl: QuarantinedCRL, document: Buffer) -> None:
        """See StatusStore."""
        point = crl.issuing_point
        key = (point.authority_id, point.scope_id)
        fact = records.to_json(records.quarantined_record(crl))
        with self._changing() as change:
            _require_authority(change.db, point.authority_id)
            change.put_documents({crl.record.sha256: document})
            change.released(*(sha256 for (sha256,) in _drop_quarantined(change.db, key)))
            change.db.execute(
                "INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)", (*key, crl.received_at, crl.record.sha256, fact)
            )
            change.changed(*key)

    def drop_quarantined(self, issuing_point: IssuingPointId) -> None:
        """See StatusStore."""
        key = (issuing_point.authority_id, issuing_point.scope_id)
        with self._changing() as change:
            dropped = _drop_quarantined(change.db, key)
            if not dropped:
                raise NotFound("no CRL is held back for this issuing point")
            change.released(*(sha256 for (sha256,) in dropped))
            change.changed(*key)

    def users(self) -> tuple[User, ...]:
        """See IdentityStore."""
        with self._database.reading() as db:
            return tuple(_users(db).values())

    def put_user(self, user: User, replaces: User | None) -> None:
        """See IdentityStore."""
        fact = records.to_json(records.user_record(user))
        with self._changing() as change:
            db = change.db
            require_user_change(_users(db), user, replaces)
            db.execute("INSERT OR REPLACE INTO user VALUES (?, ?)", (user.id, fact))

    def remove_user(self, user_id: str) -> None:
        """See IdentityStore."""
        with self._changing() as change:
            db = change.db
            users = _users(db)
            if user_id not in users:
                raise no_user(user_id)
            require_administrator(users, {name: user for name, user in users.items() if name != user_id})
            db.execute("DELETE FROM user WHERE id = ?", (user_id,))

    def close(self) -> None:
        """See StatusStore."""
        self._database.close()

    def _one(self, query: str, values: tuple[str, ...], read: Callable[[Record], T]) -> T | None:
        return next(iter(self._some(query, values, read)), None)

    def _some(self, query: str, values: tuple[str | bytes, ...], read: Callable[[Record], T]) -> tuple[T, ...]:
        with self._database.reading() as db:
            rows = db.execute(query, values).fetchall()
        return tuple(records.from_json(fact, read) for (fact,) in rows)

    def _chunks(self, sha256: str) -> Iterator[bytes]:
        with self._database.reading() as db:
            require_document(db, sha256)  # again: now it stays in sight until the last piece is read
            for (piece,) in db.execute("SELECT bytes FROM chunk WHERE sha256 = ? ORDER BY number", (sha256,)):
                yield piece


def _commit(change: Transaction, epoch: Epoch, documents: Mapping[str, Buffer]) -> None:
    db, point, hashes = change.db, epoch.issuing_point, crl_hashes(epoch)
    key = (point.authority_id, point.scope_id)
    _require_authority(db, point.authority_id)
    row = db.execute("SELECT fact FROM epoch WHERE authority_id = ? AND scope_id = ?", key).fetchone()
    current = records.from_json(row[0], records.read_epoch) if row else None
    require_next(epoch, current.sequence if current else 0)
    change.put_documents(documents, *hashes)
    change.release_former(*key)
    kept = keeping(epoch, lambda sha256: has_document(db, sha256))
    fact = records.to_json(records.epoch_record(kept))
    db.execute(
        "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?, ?, ?)",
        (*key, epoch.sequence, epoch.base.sha256, epoch.delta and epoch.delta.sha256, fact),
    )
    change.put_former(kept)
    number, this_update = mark_after(_high_water(db, point), epoch, current)
    db.execute(
        "INSERT OR REPLACE INTO high_water VALUES (?, ?, ?, ?)",
        (*key, None if number is None else str(number), this_update),
    )
    db.execute(
        "DELETE FROM quarantine WHERE authority_id = ? AND scope_id = ? AND document IN (?, ?)",
        (*key, hashes[0], hashes[-1]),
    )
    change.released(*(crl_hashes(current) if current else ()))
    change.changed(*key)


def _drop_quarantined(db: sqlite3.Connection, key: tuple[str, str]) -> list[tuple[str, ...]]:
    """Drop the CRL held back for the issuing point; its document, if there was one."""
    return db.execute(
        "DELETE FROM quarantine WHERE authority_id = ? AND scope_id = ? RETURNING document", key
    ).fetchall()


def _users(db: sqlite3.Connection) -> dict[str, User]:
    rows = db.execute("SELECT fact FROM user ORDER BY id").fetchall()
    users = (records.from_json(fact, records.read_user) for (fact,) in rows)
    return {user.id: user for user in users}


def _require_authority(db: sqlite3.Connection, authority_id: str) -> None:
    if not db.execute("SELECT 1 FROM authority WHERE id = ?", (authority_id,)).fetchone():
        raise no_authority(authority_id)


def _high_water(db: sqlite3.Connection, point: IssuingPointId) -> HighWater:
    row = db.execute(
        "SELECT crl_number, this_update FROM high_water WHERE authority_id = ? AND scope_id = ?",
        (point.authority_id, point.scope_id),
    ).fetchone()
    if row is None:
        return NO_HIGH_WATER
    number, this_update = row
    return None if number is None else int(number), this_update
