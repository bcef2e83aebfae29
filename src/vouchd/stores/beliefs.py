"""What this member has believed of the facts in its directory: a file of its own, which nobody else can write.

For each fact its records as they were believed last, the highest number of a seal on them, and whether it is gone. The
directory is read against it: see cloning/seals. Several processes do that at a time, so each row has the version of the
file that it was written with: who read the directory before that knows less than the row.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vouchd.errors import ConfigError, StoreUnavailable
from vouchd.files import write_new
from vouchd.index.octets import FileIdentity

Record = dict[str, Any]
_BUSY_SECONDS = 10.0
# A file that was written so long before it is looked at has another time once it is written again.
_SETTLED_NANOSECONDS = 100_000_000
_ENFORCED = "enforced"
_SCHEMA = """
CREATE TABLE believed (
    kind TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, records TEXT NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE begun (kind TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""


_PUT = """
INSERT INTO believed VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE
SET number = excluded.number, records = excluded.records, version = excluded.version WHERE believed.version = ?
"""


def digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a record with its seal, the same however it is spelt."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Row:
    """What was believed of one fact since that version; no records: it is gone."""

    number: int
    records: tuple[Record, ...]
    digests: frozenset[str]
    version: int = 0

    @classmethod
    def of(cls, number: int, some: Sequence[Record], version: int = 0) -> Row:
        """With the digests of these records."""
        return cls(number, tuple(some), frozenset(map(digest_of, some)), version)


class Believed:
    """The file `path` (0600), made when it is first written; for several threads and processes.

    What is believed is read again only when somebody else has written. All raise StoreUnavailable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = 0
        self._state: FileIdentity | None = None  # of the file, when it was read last
        self._rows: dict[str, dict[str, Row]] = {}
        self._begun: frozenset[str] = frozenset()
        self._lock = threading.RLock()

    @property
    def version(self) -> int:
        """A number that rises with every change."""
        self._refresh()
        return self._version

    @property
    def enforced(self) -> bool:
        """Whether seals are demanded."""
        self._refresh()
        return _ENFORCED in self._begun

    def enforce(self) -> None:
        """Demand seals from now on."""
        if not self.enforced:
            self._write("", {}, begun=_ENFORCED)

    def exported(self) -> dict[str, Any]:
        """All of it as JSON has it: by kind and identifier the number and the records."""
        self._refresh()
        return {
            kind: {name: [row.number, list(row.records)] for name, row in self._rows.get(kind, {}).items()}
            for kind in self._begun - {_ENFORCED}
        }

    def take_over(self, exported: Mapping[str, Any]) -> None:
        """Believe what another member believes, of the kinds that nothing is remembered of, and demand seals.

        Raises: also ConfigError when it cannot be read.
        """
        try:
            kinds = {
                str(kind): {
                    str(name): Row.of(int(number), [dict(one) for one in some]) for name, (number, some) in rows
                }
                for kind, rows in ((kind, rows.items()) for kind, rows in exported.items())
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"what the other member believes cannot be read: {error}") from error
        for kind, rows in kinds.items():
            if not self.begun(kind):
                self._write(kind, rows, begun=kind)
        self.enforce()

    def copy(self, path: Path) -> None:
        """Write what is remembered now to a new file (0600), in one consistent view."""
        write_new(path, b"")
        with self._connected() as db, closing(sqlite3.connect(path)) as target:
            db.backup(target)

    def begun(self, kind: str) -> bool:
        """Whether facts of that kind are remembered."""
        self._refresh()
        return kind in self._begun

    def begin(self, kind: str, stored: Mapping[str, Sequence[Record]]) -> None:
        """Believe these once and for all."""
        self._write(kind, {name: Row.of(_highest(some), some) for name, some in stored.items()}, begun=kind)

    def rows(self, kind: str) -> Mapping[str, Row]:
        """All of a kind, by identifier."""
        self._refresh()
        return self._rows.get(kind, {})

    def row(self, kind: str, identifier: str) -> Row | None:
        """That of one fact."""
        return self.rows(kind).get(identifier)

    def remember(
        self, kind: str, believed: Mapping[str, tuple[int, Sequence[Record]]], rows: Mapping[str, Row]
    ) -> None:
        """These are believed now, with the highest number of a seal on each; `rows` are what was."""
        new: dict[str, Row] = {}
        for name, (number, good) in believed.items():
            before = rows.get(name)
            row = Row.of(number, good, before.version if before else 0)
            if before is None or (row.digests, row.number) != (before.digests, before.number):
                new[name] = row
        if new:
            self._write(kind, new)

    def forget(self, kind: str, gone: Mapping[str, int], rows: Mapping[str, Row]) -> None:
        """These are gone since these numbers of seals, of what `rows` tell of."""
        versions = {name: rows[name].version if name in rows else 0 for name in gone}
        self._write(kind, {name: Row.of(number, (), versions[name]) for name, number in gone.items()})

    def _write(self, kind: str, rows: Mapping[str, Row], begun: str = "") -> None:
        """Write the rows that have the version that they were made from: a newer one was written by who knows more."""
        with self._lock:
            self._make()
            with self._connected() as db:
                db.execute("BEGIN IMMEDIATE")
                version = 1 + _version(db)
                db.executemany(
                    _PUT,
                    [
                        (kind, name, row.number, json.dumps(row.records), version, row.version)
                        for name, row in rows.items()
                    ],
                )
                if begun:
                    db.execute("INSERT OR IGNORE INTO begun VALUES (?)", (begun,))
                db.execute(f"PRAGMA user_version = {version}")
                db.execute("COMMIT")
            if version == self._version + 1:  # nobody else has written: it need not be read again
                new = {name: Row(row.number, row.records, row.digests, version) for name, row in rows.items()}
                self._rows = {**self._rows, kind: {**self._rows.get(kind, {}), **new}}
                self._begun |= {begun} - {""}
                self._version = version

    def _refresh(self) -> None:
        """Read all of it again where it is another than it was.

        It is looked at many times a second and seldom written, so it is opened only where the file system says that it
        may have been. A state is kept only of a file that has settled: what is written later bears another time then.
        """
        with self._lock:
            now, state = time.time_ns(), self._file_state()
            if state is None:
                self._rows, self._begun, self._version, self._state = {}, frozenset(), 0, None
                return
            if state == self._state:
                return
            self._state = None
            with self._connected() as db:
                db.execute("BEGIN")
                version = _version(db)
                if version != self._version:
                    rows: dict[str, dict[str, Row]] = {}
                    for kind, name, number, text, since in db.execute("SELECT * FROM believed"):
                        rows.setdefault(kind, {})[name] = Row.of(number, json.loads(text), since)
                    self._begun = frozenset(kind for (kind,) in db.execute("SELECT kind FROM begun"))
                    self._rows, self._version = rows, version
            if now - state.changed_ns > _SETTLED_NANOSECONDS:
                self._state = state

    def _file_state(self) -> FileIdentity | None:
        """What changes when it is written; none: it is not there. Raises: StoreUnavailable."""
        try:
            return FileIdentity.of(self._path.stat())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from error

    def _make(self) -> None:
        """Make the file with its tables, whole or not at all, unless it is there."""
        if self._path.exists():
            return
        try:
            with TemporaryDirectory(dir=self._path.parent, prefix=".believed") as folder:
                draft = Path(folder) / self._path.name
                write_new(draft, b"")
                with _open(draft) as db:
                    db.executescript(_SCHEMA)
                with suppress(FileExistsError):
                    self._path.hardlink_to(draft)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with _open(self._path) as db:
                yield db
        except (sqlite3.Error, OSError, ValueError) as error:
            raise StoreUnavailable(
                f"{self._path}: {error}", hint="what this member has believed of the directory stands there; restore it"
            ) from error


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _highest(some: Iterable[Record]) -> int:
    seals = [one.get("seal") for one in some]
    numbers = [seal.get("number") for seal in seals if isinstance(seal, dict)]
    return max((number for number in numbers if type(number) is int and 0 <= number < 1 << 62), default=0)
