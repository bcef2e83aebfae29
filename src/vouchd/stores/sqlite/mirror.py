"""The part of the SQLite store that can be made equal to another store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from vouchd.core import records
from vouchd.core.facts import Authority, Epoch, Facts, IssuingPointId, QuarantinedCRL
from vouchd.core.records import Record
from vouchd.pkix.der import Buffer
from vouchd.stores.rules import NO_HIGH_WATER, lowered, merged, named_documents
from vouchd.stores.sqlite.base import SqliteBase, put_documents
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
        with self._changing() as db:
            put_documents(db, documents, *named_documents(facts))
            ours = _read(db, "SELECT fact FROM epoch", records.read_epoch)
            fallen = lowered(facts.epochs, ours)
            marks = {point: (number, this_update) for point, number, this_update in _high_water(db)}
            for table in ("epoch", "quarantine", "authority", "user", "member"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608  names of ours
            db.executemany("INSERT INTO authority VALUES (?, ?, ?, ?)", map(_authority_row, facts.authorities))
            db.executemany("INSERT INTO epoch VALUES (?, ?, ?, ?, ?, ?)", map(_epoch_row, facts.epochs))
            db.executemany("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)", map(_quarantine_row, facts.quarantined))
            for point, number, this_update in facts.high_water:
                high, update = merged(
                    NO_HIGH_WATER if point in fallen else marks.get(point, NO_HIGH_WATER), (number, this_update)
                )
                mark = (*_key(point), None if high is None else str(high), update)
                db.execute("INSERT OR REPLACE INTO high_water VALUES (?, ?, ?, ?)", mark)
            for user in facts.users:
                db.execute("INSERT INTO user VALUES (?, ?)", (user.id, records.to_json(records.user_record(user))))
            for member in facts.members:
                write_member(db, member)
            write_keyring(db, facts.keyring)


def _authority_row(authority: Authority) -> tuple[str, str, str | None, str]:
    fact = records.to_json(records.authority_record(authority))
    return authority.id, authority.label, authority.policy.issued_serials, fact


def _epoch_row(epoch: Epoch) -> tuple[str, str, int, str, str | None, str]:
    fact = records.to_json(records.epoch_record(epoch))
    return (
        *_key(epoch.issuing_point),
        epoch.sequence,
        epoch.base.sha256,
        epoch.delta.sha256 if epoch.delta else None,
        fact,
    )


def _quarantine_row(crl: QuarantinedCRL) -> tuple[str, str, int, str, str]:
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
