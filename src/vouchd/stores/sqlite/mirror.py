"""The part of the SQLite store that can be made equal to another store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from vouchd.core import records
from vouchd.core.facts import Authority, Epoch, Facts, IssuingPointId, QuarantinedCRL
from vouchd.core.records import Record
from vouchd.pkix.der import Buffer
from vouchd.stores.rules import NO_HIGH_WATER, lowered, merged, named_documents
from vouchd.stores.sqlite.base import SqliteBase, Transaction
from vouchd.stores.sqlite.domain import read_members, write_member
from vouchd.stores.sqlite.keyring import stored_keyring, write_keyring

T = TypeVar("T")


class SqliteMirror(SqliteBase):
    """Keeps the contract of MirrorStore."""

    def facts(self) -> Facts:
        """See MirrorStore."""
        with self._database.reading() as db:
            return Facts(
                authorities=_read(db, "SELECT fact FROM authority ORDER BY label, id", records.read_authority),
                epochs=_read(db, "SELECT fact FROM epoch ORDER BY authority_id, scope_id", records.read_epoch),
                quarantined=_read(
                    db,
                    "SELECT fact FROM quarantine ORDER BY received_at, authority_id, scope_id",
                    records.read_quarantined,
                ),
                high_water=tuple(_high_water(db)),
                users=_read(db, "SELECT fact FROM user ORDER BY id", records.read_user),
                members=tuple(read_members(db).values()),
                keyring=stored_keyring(db),
            )

    def lacking(self, facts: Facts) -> tuple[str, ...]:
        """See MirrorStore."""
        with self._database.reading() as db:
            digests = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM document")}
        return tuple(named_documents(facts) - digests)

    def adopt(self, facts: Facts, documents: Mapping[str, Buffer]) -> None:
        """See MirrorStore."""
        with self._changing() as change:
            db = change.db
            change.put_documents(documents, *named_documents(facts))
            fallen = lowered(facts.epochs, _read(db, "SELECT fact FROM epoch", records.read_epoch))
            marks = {point: (number, this_update) for point, number, this_update in _high_water(db)}
            _adopt_authorities(change, facts.authorities)
            _adopt_rows(change, "epoch", "base, delta", map(_epoch_row, facts.epochs))
            _adopt_rows(change, "quarantine", "document, NULL", map(_quarantine_row, facts.quarantined))
            for point, number, this_update in facts.high_water:
                known = marks.get(point, NO_HIGH_WATER)
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


def _adopt_authorities(change: Transaction, authorities: tuple[Authority, ...]) -> None:
    """Make the CAs these; one that is as it was is left alone."""
    ours = dict(change.db.execute("SELECT id, fact FROM authority").fetchall())
    for authority_id in ours.keys() - {authority.id for authority in authorities}:
        change.remove_authority(authority_id)
    for authority in authorities:
        if ours.get(authority.id) != records.to_json(records.authority_record(authority)):
            change.put_authority(authority)


def _adopt_rows(change: Transaction, table: str, documents: str, rows: Iterable[tuple[str | int | None, ...]]) -> None:
    """Make the rows of the table these, each with CA, scope and, last, its fact; `documents`: the columns of two."""
    theirs = {row[:2]: row for row in rows}
    query = f"SELECT authority_id, scope_id, fact, {documents} FROM {table}"  # noqa: S608  names of ours
    for authority_id, scope_id, fact, *gone in change.db.execute(query).fetchall():
        row = theirs.get((authority_id, scope_id))
        if row is not None and row[-1] == fact:
            del theirs[authority_id, scope_id]
            continue
        change.released(*gone)
        change.changed(authority_id, scope_id)
        change.db.execute(
            f"DELETE FROM {table} WHERE authority_id = ? AND scope_id = ?",  # noqa: S608
            (authority_id, scope_id),
        )
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


def _read(db: sqlite3.Connection, query: str, read: Callable[[Record], T]) -> tuple[T, ...]:
    return tuple(records.from_json(fact, read) for (fact,) in db.execute(query).fetchall())


def _high_water(db: sqlite3.Connection) -> Iterator[tuple[IssuingPointId, int | None, int]]:
    rows = db.execute(
        "SELECT authority_id, scope_id, crl_number, this_update FROM high_water ORDER BY authority_id, scope_id"
    ).fetchall()
    for authority_id, scope_id, number, this_update in rows:
        yield IssuingPointId(authority_id, scope_id), None if number is None else int(number), this_update


def _key(point: IssuingPointId) -> tuple[str, str]:
    return point.authority_id, point.scope_id
