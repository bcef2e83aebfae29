"""The default status store: one SQLite file, no set-up. The schema is in schema/."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from vouchd.core import records
from vouchd.core.facts import Authority, Epoch, IssuingPointId, QuarantinedCRL, User
from vouchd.errors import NotFound
from vouchd.pkix.der import Buffer
from vouchd.stores.rules import (
    NO_HIGH_WATER,
    HighWater,
    crl_hashes,
    mark_after,
    no_authority,
    no_issuing_point,
    no_user,
    require_administrator,
    require_next,
    require_user_change,
)
from vouchd.stores.sqlite.base import put_documents, require_document
from vouchd.stores.sqlite.domain import SqliteDomain
from vouchd.stores.sqlite.keyring import SqliteKeyring
from vouchd.stores.sqlite.mirror import SqliteMirror

# What all parts of the SQLite store stand on: the database, a change as one transaction, documents.


# The part of the SQLite store that knows the security domain.


class SqliteStore(SqliteDomain, SqliteKeyring, SqliteMirror):
    """Keeps the contracts of all the stores in the file `path`, for several threads and processes.

    Raises: StoreUnavailable; StoreError when the file is not ours or of a newer version.
    """

    def revision(self) -> int:
        """See StatusStore."""
        with self._database.reading() as db:
            return int(db.execute("SELECT number FROM revision").fetchone()[0])

    def authorities(self) -> tuple[Authority, ...]:
        """See StatusStore."""
        with self._database.reading() as db:
            rows = db.execute("SELECT fact FROM authority ORDER BY label, id").fetchall()
        return tuple(records.from_json(fact, records.read_authority) for (fact,) in rows)

    def put_authority(self, authority: Authority, documents: Mapping[str, Buffer] | None = None) -> None:
        """See StatusStore."""
        fact = records.to_json(records.authority_record(authority))
        issued_serials = authority.policy.issued_serials
        with self._changing() as db:
            put_documents(db, documents or {}, *([issued_serials] if issued_serials else []))
            # Not INSERT OR REPLACE: that would delete the row and, with it, the authority's epochs.
            db.execute(
                "INSERT INTO authority VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET label = excluded.label, issued_serials = excluded.issued_serials, fact = excluded.fact",
                (authority.id, authority.label, issued_serials, fact),
            )

    def remove_authority(self, authority_id: str) -> None:
        """See StatusStore."""
        with self._changing() as db:
            _require_authority(db, authority_id)
            db.execute("DELETE FROM authority WHERE id = ?", (authority_id,))

    def epochs(self) -> tuple[Epoch, ...]:
        """See StatusStore."""
        with self._database.reading() as db:
            rows = db.execute("SELECT fact FROM epoch ORDER BY authority_id, scope_id").fetchall()
        return tuple(records.from_json(fact, records.read_epoch) for (fact,) in rows)

    def commit_epoch(self, epoch: Epoch, documents: Mapping[str, Buffer]) -> None:
        """See StatusStore."""
        point = epoch.issuing_point
        key = (point.authority_id, point.scope_id)
        fact = records.to_json(records.epoch_record(epoch))
        hashes = crl_hashes(epoch)
        with self._changing() as db:
            _require_authority(db, point.authority_id)
            row = db.execute("SELECT fact FROM epoch WHERE authority_id = ? AND scope_id = ?", key).fetchone()
            current = records.from_json(row[0], records.read_epoch) if row else None
            require_next(epoch, current.sequence if current else 0)
            put_documents(db, documents, *hashes)
            db.execute(
                "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?, ?, ?)",
                (*key, epoch.sequence, epoch.base.sha256, epoch.delta and epoch.delta.sha256, fact),
            )
            number, this_update = mark_after(_high_water(db, point), epoch, current)
            db.execute(
                "INSERT OR REPLACE INTO high_water VALUES (?, ?, ?, ?)",
                (*key, None if number is None else str(number), this_update),
            )
            db.execute(
                "DELETE FROM quarantine WHERE authority_id = ? AND scope_id = ? AND document IN (?, ?)",
                (*key, hashes[0], hashes[-1]),
            )

    def retire(self, authority: Authority, scope_id: str) -> None:
        """See StatusStore."""
        key = (authority.id, scope_id)
        with self._changing() as db:
            _require_authority(db, authority.id)
            gone = db.execute("DELETE FROM epoch WHERE authority_id = ? AND scope_id = ?", key).rowcount
            gone += db.execute("DELETE FROM quarantine WHERE authority_id = ? AND scope_id = ?", key).rowcount
            if not gone:
                raise no_issuing_point(scope_id)
            fact = records.to_json(records.authority_record(authority))
            db.execute("UPDATE authority SET fact = ? WHERE id = ?", (fact, authority.id))

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
        with self._database.reading() as db:
            rows = db.execute("SELECT fact FROM quarantine ORDER BY received_at, authority_id, scope_id").fetchall()
        return tuple(records.from_json(fact, records.read_quarantined) for (fact,) in rows)

    def put_quarantined(self, crl: QuarantinedCRL, document: Buffer) -> None:
        """See StatusStore."""
        point = crl.issuing_point
        fact = records.to_json(records.quarantined_record(crl))
        with self._changing() as db:
            _require_authority(db, point.authority_id)
            put_documents(db, {crl.record.sha256: document})
            db.execute(
                "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)",
                (point.authority_id, point.scope_id, crl.received_at, crl.record.sha256, fact),
            )

    def drop_quarantined(self, issuing_point: IssuingPointId) -> None:
        """See StatusStore."""
        with self._changing() as db:
            dropped = db.execute(
                "DELETE FROM quarantine WHERE authority_id = ? AND scope_id = ?",
                (issuing_point.authority_id, issuing_point.scope_id),
            )
            if not dropped.rowcount:
                raise NotFound("no CRL is held back for this issuing point")

    def users(self) -> tuple[User, ...]:
        """See IdentityStore."""
        with self._database.reading() as db:
            return tuple(_users(db).values())

    def put_user(self, user: User, replaces: User | None) -> None:
        """See IdentityStore."""
        fact = records.to_json(records.user_record(user))
        with self._changing() as db:
            require_user_change(_users(db), user, replaces)
            db.execute("INSERT OR REPLACE INTO user VALUES (?, ?)", (user.id, fact))

    def remove_user(self, user_id: str) -> None:
        """See IdentityStore."""
        with self._changing() as db:
            users = _users(db)
            if user_id not in users:
                raise no_user(user_id)
            require_administrator(users, {name: user for name, user in users.items() if name != user_id})
            db.execute("DELETE FROM user WHERE id = ?", (user_id,))

    def close(self) -> None:
        """See StatusStore."""
        self._database.close()

    def _chunks(self, sha256: str) -> Iterator[bytes]:
        with self._database.reading() as db:
            require_document(db, sha256)  # again: now it stays in sight until the last piece is read
            for (piece,) in db.execute("SELECT bytes FROM chunk WHERE sha256 = ? ORDER BY number", (sha256,)):
                yield piece


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
