"""One SQLite database file: opening, schema, transactions, and its errors as ours.

WAL: readers see the last committed state and are not blocked by the writer. synchronous=FULL: a committed transaction
survives loss of power. A connection serves one transaction at a time: there are as many as there are threads at work.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from vouchd.errors import StoreError, StoreUnavailable
from vouchd.locks import acquire

SCHEMA_VERSION = 7
BUSY_SECONDS = 10.0
_OPEN_SECONDS = 600.0  # for who brings a large one to the schema of this version
APPLICATION_ID = 0x766F6368  # "voch", shown by file(1)
_WAL_BYTES_KEPT = 64 << 20

# secure_delete off: everything in here is public or sealed, and overwriting a dropped CRL would double the writing.
_PRAGMAS = f"""
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = OFF;
PRAGMA journal_size_limit = {_WAL_BYTES_KEPT};
"""


Fill = Callable[[sqlite3.Connection], None]


class Database:
    """The file `path`, made with mode 0600 when it is not there.

    `fills`: what the schema of that version needs besides its statements, from the facts that are stored.
    """

    def __init__(
        self, path: Path, fills: Mapping[int, Fill] = MappingProxyType({}), *, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        with _translated(path), _alone_in(path.parent) as directory:
            created = _create(path)
            with self.reading() as connection:
                version = _schema_version(connection, path)
            if version < SCHEMA_VERSION:
                with self.writing() as connection:
                    _migrate(connection, path, fills)
            if created:
                os.fsync(directory)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection in one read transaction: all statements see the same state."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in one write transaction, durable when the block ends and undone when it raises."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def close(self) -> None:
        """Close what is idle; a transaction under way closes its connection when it ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def copy(self, path: Path) -> None:
        """Write what is committed now to a new database file (0600), in one consistent view."""
        with _translated(path):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            connection = self._take()
            try:
                with closing(sqlite3.connect(path)) as target:
                    connection.backup(target)
            finally:
                self._give_back(connection)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with _translated(self._path):
            connection = self._take()
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.rollback()
                raise
            finally:
                self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed or connection.in_transaction:
            connection.close()
        else:
            self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: a database that was deleted under us must be an error, not a new empty one.
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.executescript(_PRAGMAS)
            _require_wal(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname == "SQLITE_NOTADB":
            raise StoreError(f"{path}: not a database of vouchd") from error
        raise StoreUnavailable(f"{path}: {error}") from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror or error}") from error


def _require_wal(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(
            f"{path}: this file system cannot hold the database (journal mode {mode})",
            hint="keep the instance on a local file system",
        )


def _create(path: Path) -> bool:
    # SQLite gives its -wal and -shm files the mode of the database. O_EXCL: to open and close a database that this
    # process already uses would drop its POSIX locks.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


@contextmanager
def _alone_in(directory: Path) -> Iterator[int]:
    # SQLite does not wait for another process that is just turning a new database to WAL.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        acquire(descriptor, "opening the database", _OPEN_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def _schema_version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreError(f"{path}: not a database of vouchd")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {version}, this program knows up to {SCHEMA_VERSION}",
            hint="use the version of vouchd that wrote it, or a newer one",
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path, fills: Mapping[int, Fill]) -> None:
    version = _schema_version(connection, path)
    for number in range(version + 1, SCHEMA_VERSION + 1):
        script = (
            resources.files("vouchd.stores.sqlite").joinpath("schema", f"{number:03}.sql").read_text(encoding="utf-8")
        )
        for statement in _statements(script):
            connection.execute(statement)
        if number in fills:
            fills[number](connection)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _statements(script: str) -> Iterator[str]:
    # executescript() would commit what is under way; our schema files have no semicolon within a statement.
    for statement in re.sub(r"--[^\n]*", "", script).split(";"):
        if statement.strip():
            yield statement
