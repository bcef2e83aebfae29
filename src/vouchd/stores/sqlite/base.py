"""What all parts of the SQLite store stand on: the database, a change as one transaction, documents."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vouchd.pkix.der import Buffer
from vouchd.stores.rules import (
    CHUNK_BYTES,
    no_document,
)
from vouchd.stores.sqlite.database import BUSY_SECONDS, Database

_GARBAGE = """
DELETE FROM document
WHERE NOT EXISTS (SELECT 1 FROM epoch WHERE base = sha256)
  AND NOT EXISTS (SELECT 1 FROM epoch WHERE delta = sha256)
  AND NOT EXISTS (SELECT 1 FROM quarantine WHERE document = sha256)
  AND NOT EXISTS (SELECT 1 FROM authority WHERE issued_serials = sha256)
"""


class SqliteBase:
    """The database file `path`."""

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._database = Database(path, busy_seconds=busy_seconds)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that changes facts: it raises the revision and drops the documents that nothing names."""
        with self._database.writing() as db:
            yield db
            db.execute(_GARBAGE)
            db.execute("UPDATE revision SET number = number + 1")


def require_document(db: sqlite3.Connection, sha256: str) -> None:
    """Raise NotFound unless the document is stored."""
    if not db.execute("SELECT 1 FROM document WHERE sha256 = ?", (sha256,)).fetchone():
        raise no_document(sha256)


def put_documents(db: sqlite3.Connection, documents: Mapping[str, Buffer], *named: str) -> None:
    """Store the documents that are not there yet. Raises: NotFound when one that is `named` is not there then."""
    for sha256, document in documents.items():
        view = memoryview(document)
        inserted = db.execute("INSERT OR IGNORE INTO document VALUES (?, ?)", (sha256, view.nbytes))
        if inserted.rowcount:
            db.executemany("INSERT INTO chunk VALUES (?, ?, ?)", _pieces(sha256, view))
    for sha256 in named:
        require_document(db, sha256)


def _pieces(sha256: str, view: memoryview) -> Iterator[tuple[str, int, memoryview]]:
    for number, start in enumerate(range(0, view.nbytes, CHUNK_BYTES)):
        yield sha256, number, view[start : start + CHUNK_BYTES]
