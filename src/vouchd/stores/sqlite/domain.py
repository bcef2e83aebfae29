"""The part of the SQLite store that knows the security domain."""

from __future__ import annotations

import sqlite3

from vouchd.core import records
from vouchd.core import records as setrecords
from vouchd.core.facts import JoinToken, Member
from vouchd.stores.rules import (
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
        fact = records.to_json(setrecords.token_record(token))
        with self._changing() as change:
            db = change.db
            db.execute("INSERT OR REPLACE INTO join_token VALUES (?, ?, ?)", (token.digest, token.expires_at, fact))

    def token(self, digest: str) -> JoinToken | None:
        """See DomainStore."""
        with self._database.reading() as db:
            row = db.execute("SELECT fact FROM join_token WHERE digest = ?", (digest,)).fetchone()
        return records.from_json(row[0], setrecords.read_token) if row else None

    def tokens(self) -> tuple[JoinToken, ...]:
        """See DomainStore."""
        with self._database.reading() as db:
            rows = db.execute("SELECT fact FROM join_token ORDER BY expires_at, digest").fetchall()
        return tuple(records.from_json(fact, setrecords.read_token) for (fact,) in rows)

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
            return records.from_json(row[0], setrecords.read_token)


def read_members(db: sqlite3.Connection) -> dict[str, Member]:
    """All members by id, ordered by it."""
    rows = db.execute("SELECT fact FROM member ORDER BY id").fetchall()
    members = (records.from_json(fact, setrecords.read_member) for (fact,) in rows)
    return {member.id: member for member in members}


def write_member(db: sqlite3.Connection, member: Member) -> None:
    """Store the member in place of the one of its id."""
    fact = records.to_json(setrecords.member_record(member))
    db.execute("INSERT OR REPLACE INTO member VALUES (?, ?)", (member.id, fact))
