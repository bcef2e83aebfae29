"""The certificate manager's SQLite store.

When a method (or the outermost `transaction`) returns, the change survives `kill -9` and loss of power; when it raises,
nothing changed. Any number of processes may open one store; writers wait for each other for up to 30 seconds.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

from vouchd.ca.facts import (
    AuthoritySettings,
    CertificateRecord,
    CRLScope,
    IssuedCRL,
    IssuedStatus,
    TargetRecord,
    serial_text,
)
from vouchd.errors import AlreadyExists, NotFound, StoreError, StoreUnavailable
from vouchd.pkix.reasons import Reason

BUSY_SECONDS = 30
KEPT_CRLS = 100  # bytes of older CRLs are dropped, their numbers and times stay

_COLUMNS = (
    "serial, der, subject, profile, is_ca, not_before, not_after, issued_at, status, revoked_at, reason,"
    " invalidity_date"
)
_CRL_COLUMNS = "number, scope, base_number, this_update, next_update, through_change, entry_count, coalesce(der, x'')"
_SCOPES = {CRLScope.COMPLETE: "1", CRLScope.USER: "NOT is_ca", CRLScope.CA: "is_ca"}


class CertificateStore:
    """Certificates, their status changes, CRLs and publishing targets of one CA."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise NotFound(f"no certificate manager database at {path}", hint="make one with `vouchd ca create`")
        self._depth = 0
        with _translated():
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")

    @classmethod
    def create(cls, path: Path, settings: AuthoritySettings) -> CertificateStore:
        """A new empty store at `path`, readable by the owner only.

        Raises: AlreadyExists.
        """
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise AlreadyExists(f"{path} is there already") from None
        store = cls(path)
        with _translated():
            store._db.execute("PRAGMA journal_mode = WAL")
            store._db.executescript(resources.files("vouchd.ca").joinpath("schema.sql").read_text(encoding="utf-8"))
        store.put_settings(settings)
        return store

    def close(self) -> None:
        """Release the database; the store is not used afterwards."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are one atomic step, and no other process writes meanwhile; may be nested."""
        with _translated():
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._commit()

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # -- settings --

    def settings(self) -> AuthoritySettings:
        """The CA's settings."""
        with _translated():
            return AuthoritySettings(
                **{k: json.loads(v) for k, v in self._db.execute("SELECT name, value FROM setting")}
            )

    def put_settings(self, settings: AuthoritySettings) -> None:
        """Replace the CA's settings."""
        rows = [(name, json.dumps(value)) for name, value in asdict(settings).items()]
        with self.transaction():
            self._db.executemany("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", rows)

    # -- certificates --

    def add(self, record: CertificateRecord) -> None:
        """Keep a newly issued certificate. Raises: AlreadyExists when the serial is taken."""
        values = (
            record.serial,
            record.der,
            record.subject,
            record.profile,
            record.is_ca,
            record.not_before,
            record.not_after,
            record.issued_at,
        )
        with self.transaction():
            try:
                self._db.execute(
                    "INSERT INTO certificate (serial, der, subject, profile, is_ca, not_before, not_after, issued_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"serial {record.serial_hex} is taken") from None

    def get(self, serial: bytes) -> CertificateRecord:
        """The certificate of `serial`. Raises: NotFound."""
        with _translated():
            row = self._db.execute(f"SELECT {_COLUMNS} FROM certificate WHERE serial = ?", (serial,)).fetchone()  # noqa: S608  constant columns
        if row is None:
            raise NotFound(
                f"no certificate of serial {serial_text(serial)} was issued here",
                hint="`vouchd ca certs` lists what was issued",
            )
        return _certificate(row)

    def certificates(self, status: IssuedStatus | None = None) -> Iterator[CertificateRecord]:
        """Issued certificates in order of issuance, all or those of one status."""
        where, values = ("WHERE status = ?", (status.value,)) if status else ("", ())
        sql = f"SELECT {_COLUMNS} FROM certificate {where} ORDER BY issued_at, rowid"  # noqa: S608  constant text
        with _translated():
            yield from map(_certificate, self._db.execute(sql, values))

    def change_status(self, record: CertificateRecord, at: int) -> None:
        """Store status, revocation time, reason and invalidity date of `record`, and log the change."""
        reason = None if record.reason is None else record.reason.value
        with self.transaction():
            change = self._db.execute(
                "INSERT INTO change (serial, at, status, reason) VALUES (?, ?, ?, ?)",
                (record.serial, at, record.status.value, reason),
            ).lastrowid
            self._db.execute(
                "UPDATE certificate SET status = ?, revoked_at = ?, reason = ?, invalidity_date = ?, last_change = ?"
                " WHERE serial = ?",
                (record.status.value, record.revoked_at, reason, record.invalidity_date, change, record.serial),
            )

    def changed_after(self, change: int, scope: CRLScope) -> Iterator[CertificateRecord]:
        """Certificates in `scope` whose status changed after that change, whatever it is now."""
        sql = f"SELECT {_COLUMNS} FROM certificate WHERE last_change > ? AND {_SCOPES[scope]} ORDER BY serial"  # noqa: S608
        with _translated():
            yield from map(_certificate, self._db.execute(sql, (change,)))

    def not_valid(self, scope: CRLScope, seen_expired: tuple[int, int] = (0, 0)) -> Iterator[CertificateRecord]:
        """Held and revoked certificates in `scope`.

        Without those that ended before `seen_expired[0]` and did not change after change `seen_expired[1]`.
        """
        sql = (
            f"SELECT {_COLUMNS} FROM certificate WHERE last_change > 0 AND status != 'valid' AND {_SCOPES[scope]}"  # noqa: S608
            " AND NOT (not_after < ? AND last_change <= ?) ORDER BY serial"
        )
        with _translated():
            yield from map(_certificate, self._db.execute(sql, seen_expired))

    def last_change(self) -> int:
        """Sequence number of the newest status change, 0 when there is none."""
        with _translated():
            return int(self._db.execute("SELECT coalesce(max(sequence), 0) FROM change").fetchone()[0])

    # -- CRLs --

    def next_crl_number(self) -> int:
        """The number after the highest ever stored; holds only inside a transaction."""
        with _translated():
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'crl'").fetchone()
        return int(row[0]) + 1 if row else 1

    def add_crl(self, crl: IssuedCRL) -> None:
        """Keep a CRL with its number; drops the bytes of CRLs long outdated."""
        values = (
            crl.number,
            crl.scope.value,
            crl.base_number,
            crl.this_update,
            crl.next_update,
            crl.through_change,
            crl.entry_count,
            crl.der,
        )
        with self.transaction():
            self._db.execute("INSERT INTO crl VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            self._db.execute(
                "UPDATE crl SET der = NULL WHERE number <= ? AND der IS NOT NULL AND number NOT IN"
                " (SELECT max(number) FROM crl GROUP BY scope, base_number IS NULL)",
                (crl.number - KEPT_CRLS,),
            )

    def last_crl(self, scope: CRLScope, *, delta: bool | None = None) -> IssuedCRL | None:
        """The newest CRL of `scope`: full, delta, or (None) either."""
        which = {None: "1", True: "base_number IS NOT NULL", False: "base_number IS NULL"}[delta]
        sql = f"SELECT {_CRL_COLUMNS} FROM crl WHERE scope = ? AND {which} ORDER BY number DESC LIMIT 1"  # noqa: S608
        with _translated():
            row = self._db.execute(sql, (scope.value,)).fetchone()
        return _crl(row) if row else None

    def crls(self) -> tuple[IssuedCRL, ...]:
        """All CRLs ever made, oldest first."""
        with _translated():
            return tuple(map(_crl, self._db.execute(f"SELECT {_CRL_COLUMNS} FROM crl ORDER BY number")))  # noqa: S608

    # -- publishing targets --

    def targets(self) -> tuple[TargetRecord, ...]:
        """Where CRLs are published to, in order of specification."""
        sql = "SELECT specification, number, delivered_at, failure FROM target ORDER BY specification"
        with _translated():
            return tuple(TargetRecord(*row) for row in self._db.execute(sql))

    def put_target(self, target: TargetRecord) -> None:
        """Add or replace one target."""
        values = (target.specification, target.number, target.delivered_at, target.failure)
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO target VALUES (?, ?, ?, ?)", values)

    def remove_target(self, specification: str) -> None:
        """Forget one target. Raises: NotFound."""
        with self.transaction():
            if not self._db.execute("DELETE FROM target WHERE specification = ?", (specification,)).rowcount:
                raise NotFound(
                    f"nothing is published to {specification}", hint="`vouchd ca publish --list` shows the targets"
                )


def _certificate(row: tuple[Any, ...]) -> CertificateRecord:
    record = CertificateRecord(*row)
    reason = None if record.reason is None else Reason(record.reason)
    return replace(record, is_ca=bool(record.is_ca), status=IssuedStatus(record.status), reason=reason)


def _crl(row: tuple[Any, ...]) -> IssuedCRL:
    number, scope, *rest = row
    return IssuedCRL(number, CRLScope(scope), *rest)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"certificate manager database: {error}") from error
    except sqlite3.Error as error:
        raise StoreError(f"certificate manager database: {error}") from error
