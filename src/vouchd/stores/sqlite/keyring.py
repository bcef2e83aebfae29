"""The part of the SQLite store that knows the signers of the set."""

from __future__ import annotations

import sqlite3

from vouchd.core import records
from vouchd.core.signer_facts import Keyring, keyring_record, read_keyring
from vouchd.stores.rules import changed_keyring
from vouchd.stores.sqlite.base import SqliteBase


class SqliteKeyring(SqliteBase):
    """Keeps the contract of KeyringStore."""

    def keyring(self) -> Keyring:
        """See KeyringStore."""
        with self._database.reading() as db:
            return stored_keyring(db)

    def put_keyring(self, keyring: Keyring, replaces: Keyring) -> None:
        """See KeyringStore."""
        with self._changing() as change:
            write_keyring(change.db, changed_keyring(stored_keyring(change.db), keyring, replaces))


def stored_keyring(db: sqlite3.Connection) -> Keyring:
    """The keyring as it is stored."""
    row = db.execute("SELECT fact FROM keyring").fetchone()
    return records.from_json(row[0], read_keyring) if row else Keyring()


def write_keyring(db: sqlite3.Connection, keyring: Keyring) -> None:
    """Store it in place of the one there."""
    db.execute("INSERT OR REPLACE INTO keyring VALUES (1, ?)", (records.to_json(keyring_record(keyring)),))
