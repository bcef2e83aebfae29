"""The part of the SQLite store that can be made equal to another store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from vouchd.core import records
from vouchd.core.changes import NEVER, Concerned
from vouchd.core.facts import Authority, Epoch, Facts, IssuingPointId, QuarantinedCRL
from vouchd.core.records import Record
from vouchd.pkix.der import Buffer
from vouchd.stores.rules import NO_HIGH_WATER, lowered, merged, named_documents
from vouchd.stores.sqlite.base import OF_AUTHORITY, SqliteBase, Transaction
from vouchd.stores.sqlite.domain import (
    read_members,
    stored_approvals,
    stored_keyring,
    write_approvals,
    write_keyring,
    write_member,
)

T = TypeVar("T")


class SqliteMirror(SqliteBase):
    """Keeps the contract of MirrorStore."""

    def facts(self) -> Facts:
        """See MirrorStore."""
        return self.facts_since(NEVER)[1]

    def facts_since(self, revision: int) -> tuple[int, Facts, Concerned | None]:
        """See MirrorStore."""
        with self._database.reading() as db:
            (now,) = db.execute("SELECT number FROM revision").fetchone()
            whole = not 0 <= revision <= now
            after = (NEVER if whole else revision,)
            facts = Facts(
                authorities=_read(db, _AUTHORITIES, records.read_authority, after),
                epochs=_read(db, _EPOCHS, records.read_epoch, after),
                quarantined=_read(db, _QUARANTINED, records.read_quarantined, after),
                high_water=tuple(_marks(db.execute(_MARKS, after))),
                users=_read(db, "SELECT fact FROM user ORDER BY id", records.read_user),
                members=tuple(read_members(db).values()),
                keyring=stored_keyring(db),
                approvals=stored_approvals(db),
            )
            changed = db.execute("SELECT authority_id, scope_id FROM change WHERE revision > ?", after).fetchall()
        points = frozenset(IssuingPointId(*row) for row in changed if row[1] != OF_AUTHORITY)
        authorities = frozenset(authority_id for authority_id, scope_id in changed if scope_id == OF_AUTHORITY)
        return now, facts, None if whole else Concerned(authorities, points)

    def lacking(self, facts: Facts) -> tuple[str, ...]:
        """See MirrorStore."""
        with self._database.reading() as db:
            query = "SELECT 1 FROM document WHERE sha256 = ?"
            return tuple(one for one in named_documents(facts) if not db.execute(query, (one,)).fetchone())

    def adopt(self, facts: Facts, documents: Mapping[str, Buffer], concerned: Concerned | None = None) -> None:
        """See MirrorStore."""
        with self._changing() as change:
            db = change.db
            change.put_documents(documents, *named_documents(facts))
            points = {epoch.issuing_point for epoch in facts.epochs}
            epochs = _of_points(db, "SELECT authority_id, scope_id, fact FROM epoch", points)
            fallen = lowered(facts.epochs, [records.from_json(fact, records.read_epoch) for _, _, fact in epochs])
            _adopt_authorities(change, facts.authorities, None if concerned is None else concerned.authorities)
            of = None if concerned is None else concerned.points
            _adopt_rows(change, "epoch", "base, delta", map(_epoch_row, facts.epochs), of)
            for epoch in facts.epochs:
                change.put_former(epoch)
            _adopt_rows(change, "quarantine", "document, NULL", map(_quarantine_row, facts.quarantined), of)
            for point, number, this_update in facts.high_water:
                rows = db.execute(f"{_ALL_MARKS} {_OF_POINT}", _key(point))
                known = next(((high, update) for _, high, update in _marks(rows)), NO_HIGH_WATER)
                mark = merged(NO_HIGH_WATER if point in fallen else known, (number, this_update))
                if mark != known:
                    row = (*_key(point), None if mark[0] is None else str(mark[0]), mark[1])
                    db.execute("INSERT OR REPLACE INTO high_water VALUES (?, ?, ?, ?)", row)
                    change.changed(*_key(point))
            for table in ("user", "member"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608  names of ours
            for user in facts.users:
                db.execute("INSERT INTO user VALUES (?, ?)", (user.id, records.to_json(records.user_record(user))))
            for member in facts.members:
                write_member(db, member)
            write_keyring(db, facts.keyring)
            write_approvals(db, facts.approvals)


_OF_POINT = "WHERE authority_id = ? AND scope_id = ?"
_ALL_MARKS = "SELECT authority_id, scope_id, crl_number, this_update FROM high_water"
_CHANGED = "JOIN change USING (authority_id, scope_id) WHERE revision > ?"
_AUTHORITIES = """
SELECT fact FROM authority JOIN change ON authority_id = id AND scope_id = '' WHERE revision > ? ORDER BY label, id
"""
_EPOCHS = f"SELECT fact FROM epoch {_CHANGED} ORDER BY authority_id, scope_id"  # noqa: S608  text of ours
_QUARANTINED = f"SELECT fact FROM quarantine {_CHANGED} ORDER BY received_at, authority_id, scope_id"  # noqa: S608
_MARKS = f"{_ALL_MARKS} {_CHANGED} ORDER BY authority_id, scope_id"


def _of_points(db: sqlite3.Connection, query: str, points: Iterable[IssuingPointId] | None) -> list[tuple[Any, ...]]:
    """The rows of these issuing points, None: of all."""
    if points is None:
        return db.execute(query).fetchall()
    return [row for point in points for row in db.execute(f"{query} {_OF_POINT}", _key(point))]


def _adopt_authorities(
    change: Transaction, authorities: tuple[Authority, ...], concerned: frozenset[str] | None
) -> None:
    """Make the CAs these, of all or of those ids; one that is as it was is left alone."""
    query = "SELECT id, fact FROM authority"
    if concerned is None:
        ours = dict(change.db.execute(query).fetchall())
    else:
        ours = dict(row for each in concerned for row in change.db.execute(f"{query} WHERE id = ?", (each,)))
    for authority_id in ours.keys() - {authority.id for authority in authorities}:
        change.remove_authority(authority_id)
    for authority in authorities:
        if ours.get(authority.id) != records.to_json(records.authority_record(authority)):
            change.put_authority(authority)


def _adopt_rows(
    change: Transaction,
    table: str,
    documents: str,
    rows: Iterable[tuple[str | int | None, ...]],
    points: frozenset[IssuingPointId] | None,
) -> None:
    """Make the rows of these points, None: of all, these; each has CA, scope and, last, its fact.

    `documents`: the columns of two documents that a row names.
    """
    theirs = {row[:2]: row for row in rows}
    query = f"SELECT authority_id, scope_id, fact, {documents} FROM {table}"  # noqa: S608  names of ours
    for authority_id, scope_id, fact, *gone in _of_points(change.db, query, points):
        row = theirs.get((authority_id, scope_id))
        if row is not None and row[-1] == fact:
            del theirs[authority_id, scope_id]
            continue
        change.released(*gone)
        change.release_former(str(authority_id), str(scope_id))
        change.changed(str(authority_id), str(scope_id))
        change.db.execute(f"DELETE FROM {table} {_OF_POINT}", (authority_id, scope_id))  # noqa: S608
    for (authority_id, scope_id), row in theirs.items():
        change.changed(str(authority_id), str(scope_id))
        change.db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608


def _epoch_row(epoch: Epoch) -> tuple[str | int | None, ...]:
    fact = records.to_json(records.epoch_record(epoch))
    return (
        *_key(epoch.issuing_point),
        epoch.sequence,
        epoch.base.sha256,
        epoch.delta.sha256 if epoch.delta else None,
        fact,
    )


def _quarantine_row(crl: QuarantinedCRL) -> tuple[str | int | None, ...]:
    fact = records.to_json(records.quarantined_record(crl))
    return (*_key(crl.issuing_point), crl.received_at, crl.record.sha256, fact)


def _read(
    db: sqlite3.Connection, query: str, read: Callable[[Record], T], values: tuple[int, ...] = ()
) -> tuple[T, ...]:
    return tuple(records.from_json(fact, read) for (fact,) in db.execute(query, values).fetchall())


def _marks(rows: Iterable[tuple[str, str, str | None, int]]) -> Iterator[tuple[IssuingPointId, int | None, int]]:
    for authority_id, scope_id, number, this_update in rows:
        yield IssuingPointId(authority_id, scope_id), None if number is None else int(number), this_update


def _key(point: IssuingPointId) -> tuple[str, str]:
    return point.authority_id, point.scope_id
