"""What all parts of the SQLite store stand on: the database, and a change as one transaction.

A change costs what it changes: it names the CAs and issuing points whose facts are other ones (so `changes` finds them
by their revision), and the documents whose last use it may have ended (so no other one is looked at).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vouchd.core import records
from vouchd.core.facts import Authority, Epoch
from vouchd.core.key_history import issuer_names
from vouchd.pkix.der import Buffer
from vouchd.stores.rules import (
    CHUNK_BYTES,
    no_document,
)
from vouchd.stores.sqlite.database import BUSY_SECONDS, Database

_GARBAGE = """
DELETE FROM document
WHERE sha256 = ?
  AND NOT EXISTS (SELECT 1 FROM epoch WHERE base = sha256)
  AND NOT EXISTS (SELECT 1 FROM epoch WHERE delta = sha256)
  AND NOT EXISTS (SELECT 1 FROM former WHERE document = sha256)
  AND NOT EXISTS (SELECT 1 FROM quarantine WHERE document = sha256)
  AND NOT EXISTS (SELECT 1 FROM authority WHERE issued_serials = sha256)
"""
OF_AUTHORITY = ""  # in place of a scope, in `change`: the CA itself


class Transaction:
    """One change under way on `db`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._changed: set[tuple[str, str]] = set()
        self._loose: set[str] = set()

    def changed(self, authority_id: str, scope_id: str = OF_AUTHORITY) -> None:
        """The facts of the CA, or of its issuing point of that scope, are other ones now."""
        self._changed.add((authority_id, scope_id))

    def released(self, *documents: str | None) -> None:
        """These documents (SHA-256, hex) may have lost their last use."""
        self._loose.update(filter(None, documents))

    def put_documents(self, documents: Mapping[str, Buffer], *named: str) -> None:
        """Store the documents that are not there yet. Raises: NotFound when one that is `named` is not there then."""
        for sha256, document in documents.items():
            view = memoryview(document)
            inserted = self.db.execute("INSERT OR IGNORE INTO document VALUES (?, ?)", (sha256, view.nbytes))
            if inserted.rowcount:
                self.db.executemany("INSERT INTO chunk VALUES (?, ?, ?)", _pieces(sha256, view))
        self.released(*documents)
        for sha256 in named:
            require_document(self.db, sha256)

    def release_former(self, authority_id: str, scope_id: str) -> None:
        """The epoch of that issuing point goes, and with it what it names of former CRLs."""
        query = "SELECT document FROM former WHERE authority_id = ? AND scope_id = ?"
        self.released(*(document for (document,) in self.db.execute(query, (authority_id, scope_id)).fetchall()))

    def put_former(self, epoch: Epoch) -> None:
        """Note which former CRLs the epoch names, whose row is new."""
        point = epoch.issuing_point
        rows = [(point.authority_id, point.scope_id, crl.sha256) for crl in epoch.former]
        self.db.executemany("INSERT OR IGNORE INTO former VALUES (?, ?, ?)", rows)

    def put_authority(self, authority: Authority) -> None:
        """Store the CA in place of the one of its id, whose epochs stay, and the names under which it is found."""
        before = self.db.execute("SELECT issued_serials FROM authority WHERE id = ?", (authority.id,)).fetchone()
        self.released(*(before or ()))
        # Not INSERT OR REPLACE: that would delete the row and, with it, the authority's epochs.
        self.db.execute(
            "INSERT INTO authority VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET label = excluded.label, issued_serials = excluded.issued_serials, fact = excluded.fact",
            (
                authority.id,
                authority.label,
                authority.policy.issued_serials,
                records.to_json(records.authority_record(authority)),
            ),
        )
        put_names(self.db, authority)
        self.changed(authority.id)

    def remove_authority(self, authority_id: str) -> None:
        """Remove the CA with its epochs and the CRLs held back for it."""
        for query in (
            "SELECT scope_id, base, delta FROM epoch WHERE authority_id = ?",
            "SELECT scope_id, document, NULL FROM former WHERE authority_id = ?",
            "SELECT scope_id, document, NULL FROM quarantine WHERE authority_id = ?",
            "SELECT '', issued_serials, NULL FROM authority WHERE id = ?",
        ):
            for scope_id, *documents in self.db.execute(query, (authority_id,)).fetchall():
                self.changed(authority_id, scope_id)
                self.released(*documents)
        self.db.execute("DELETE FROM authority WHERE id = ?", (authority_id,))

    def finish(self) -> None:
        """Raise the revision, note what changed by it, and drop the documents that nothing names any more."""
        self.db.executemany(_GARBAGE, [(sha256,) for sha256 in self._loose])
        (number,) = self.db.execute("UPDATE revision SET number = number + 1 RETURNING number").fetchone()
        rows = [(*point, number) for point in self._changed]
        self.db.executemany("INSERT OR REPLACE INTO change VALUES (?, ?, ?)", rows)


class SqliteBase:
    """The database file `path`."""

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._database = Database(path, {5: _fill_names}, busy_seconds=busy_seconds)

    @contextmanager
    def _changing(self) -> Iterator[Transaction]:
        """One transaction that changes facts."""
        with self._database.writing() as db:
            transaction = Transaction(db)
            yield transaction
            transaction.finish()


def has_document(db: sqlite3.Connection, sha256: str) -> bool:
    """Whether the document is stored."""
    return db.execute("SELECT 1 FROM document WHERE sha256 = ?", (sha256,)).fetchone() is not None


def require_document(db: sqlite3.Connection, sha256: str) -> None:
    """Raise NotFound unless the document is stored."""
    if not has_document(db, sha256):
        raise no_document(sha256)


def put_names(db: sqlite3.Connection, authority: Authority) -> None:
    """Store the names under which CRLs for the CA may be issued, in place of those before."""
    db.execute("DELETE FROM issuer_name WHERE authority_id = ?", (authority.id,))
    names = [(name, authority.id) for name in issuer_names(authority)]
    db.executemany("INSERT INTO issuer_name VALUES (?, ?)", names)


def _fill_names(db: sqlite3.Connection) -> None:
    """For the CAs that an older version has stored."""
    for (fact,) in db.execute("SELECT fact FROM authority").fetchall():
        put_names(db, records.from_json(fact, records.read_authority))


def _pieces(sha256: str, view: memoryview) -> Iterator[tuple[str, int, memoryview]]:
    for number, start in enumerate(range(0, view.nbytes, CHUNK_BYTES)):
        yield sha256, number, view[start : start + CHUNK_BYTES]
