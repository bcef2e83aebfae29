"""The part of the SQLite store that knows the facts that are one of a set: its signers, and what waits for approval."""

from __future__ import annotations

import sqlite3

from vouchd.core import records
from vouchd.core.approval_facts import Approvals, approvals_record, read_approvals
from vouchd.core.signer_facts import Keyring, keyring_record, read_keyring
from vouchd.stores.rules import changed_approvals, changed_keyring
from vouchd.stores.sqlite.base import SqliteBase


class SqliteSetFacts(SqliteBase):
    """Keeps the contracts of KeyringStore and ApprovalStore."""

    def keyring(self) -> Keyring:
        """See KeyringStore."""
        with self._database.reading() as db:
            return stored_keyring(db)

    def put_keyring(self, keyring: Keyring, replaces: Keyring) -> None:
        """See KeyringStore."""
        with self._changing() as change:
            write_keyring(change.db, changed_keyring(stored_keyring(change.db), keyring, replaces))

    def approvals(self) -> Approvals:
        """See ApprovalStore."""
        with self._database.reading() as db:
            return stored_approvals(db)

    def put_approvals(self, approvals: Approvals, replaces: Approvals) -> None:
        """See ApprovalStore."""
        with self._changing() as change:
            write_approvals(change.db, changed_approvals(stored_approvals(change.db), approvals, replaces))


def stored_keyring(db: sqlite3.Connection) -> Keyring:
    """The keyring as it is stored."""
    row = db.execute("SELECT fact FROM keyring").fetchone()
    return records.from_json(row[0], read_keyring) if row else Keyring()


def write_keyring(db: sqlite3.Connection, keyring: Keyring) -> None:
    """Store it in place of the one there."""
    db.execute("INSERT OR REPLACE INTO keyring VALUES (1, ?)", (records.to_json(keyring_record(keyring)),))


def stored_approvals(db: sqlite3.Connection) -> Approvals:
    """What waits for approval, as it is stored."""
    row = db.execute("SELECT fact FROM approvals").fetchone()
    return records.from_json(row[0], read_approvals) if row else Approvals()


def write_approvals(db: sqlite3.Connection, approvals: Approvals) -> None:
    """Store them in place of those there."""
    db.execute("INSERT OR REPLACE INTO approvals VALUES (1, ?)", (records.to_json(approvals_record(approvals)),))
