"""The part of the SQLite store that knows the security domain and the facts that are one of a set."""

from __future__ import annotations

import sqlite3

from vouchd.core import records
from vouchd.core.approval_facts import Approvals, approvals_record, read_approvals
from vouchd.core.facts import JoinToken, Member
from vouchd.core.signer_facts import Keyring, keyring_record, read_keyring
from vouchd.stores.rules import (
    changed_approvals,
    changed_keyring,
    no_member,
    no_token,
    require_member_change,
)
from vouchd.stores.sqlite.base import SqliteBase


class SqliteDomain(SqliteBase):
    """Keeps the contract of DomainStore."""

    def members(self) -> tuple[Member, ...]:
        """See DomainStore."""
        with self._database.reading() as db:
            return tuple(read_members(db).values())

    def put_member(self, member: Member, replaces: Member | None) -> None:
        """See DomainStore."""
        with self._changing() as change:
            db = change.db
            require_member_change(read_members(db), member, replaces)
            write_member(db, member)

    def remove_member(self, member_id: str) -> None:
        """See DomainStore."""
        with self._changing() as change:
            db = change.db
            if not db.execute("DELETE FROM member WHERE id = ?", (member_id,)).rowcount:
                raise no_member(member_id)

    def put_token(self, token: JoinToken) -> None:
        """See DomainStore."""
        fact = records.to_json(records.token_record(token))
        with self._changing() as change:
            db = change.db
            db.execute("INSERT OR REPLACE INTO join_token VALUES (?, ?, ?)", (token.digest, token.expires_at, fact))

    def token(self, digest: str) -> JoinToken | None:
        """See DomainStore."""
        with self._database.reading() as db:
            row = db.execute("SELECT fact FROM join_token WHERE digest = ?", (digest,)).fetchone()
        return records.from_json(row[0], records.read_token) if row else None

    def tokens(self) -> tuple[JoinToken, ...]:
        """See DomainStore."""
        with self._database.reading() as db:
            rows = db.execute("SELECT fact FROM join_token ORDER BY expires_at, digest").fetchall()
        return tuple(records.from_json(fact, records.read_token) for (fact,) in rows)

    def drop_tokens(self) -> None:
        """See DomainStore."""
        with self._changing() as change:
            change.db.execute("DELETE FROM join_token")

    def take_token(self, digest: str, at: int) -> JoinToken:
        """See DomainStore."""
        with self._changing() as change:
            db = change.db
            row = db.execute(
                "DELETE FROM join_token WHERE digest = ? AND expires_at > ? RETURNING fact", (digest, at)
            ).fetchone()
            if row is None:
                raise no_token()
            return records.from_json(row[0], records.read_token)


def read_members(db: sqlite3.Connection) -> dict[str, Member]:
    """All members by id, ordered by it."""
    rows = db.execute("SELECT fact FROM member ORDER BY id").fetchall()
    members = (records.from_json(fact, records.read_member) for (fact,) in rows)
    return {member.id: member for member in members}


def write_member(db: sqlite3.Connection, member: Member) -> None:
    """Store the member in place of the one of its id."""
    fact = records.to_json(records.member_record(member))
    db.execute("INSERT OR REPLACE INTO member VALUES (?, ?)", (member.id, fact))


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
