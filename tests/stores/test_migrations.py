"""A store that an older version wrote is taken along."""

from __future__ import annotations

import sqlite3
import threading
from importlib import resources

import pytest
from tests.contract.backends import CA, FIRST, a_quarantined, an_epoch, sha256

from vouchd.core import records
from vouchd.core.facts import Group, User
from vouchd.errors import StoreUnavailable
from vouchd.stores.sqlite import database
from vouchd.stores.sqlite.database import SCHEMA_VERSION
from vouchd.stores.sqlite.store import SqliteStore

ADMIN = User("admin", "Administrator", frozenset({Group.ADMINISTRATORS}), (b"\x30\x00",))


def user_version(path) -> int:
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA user_version").fetchone()[0]
    finally:
        db.close()


@pytest.fixture
def version_1(tmp_path):
    """A database as version 1 left it: a CA, its epoch with the CRL, a CRL held back, revision 7."""
    path = tmp_path / "store.sqlite"
    epoch, waiting = an_epoch(CA), a_quarantined(CA, FIRST)
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(resources.files("vouchd.stores.sqlite").joinpath("schema", "001.sql").read_text(encoding="utf-8"))
    db.execute("INSERT INTO document VALUES (?, ?)", (sha256(FIRST), len(FIRST)))
    db.execute("INSERT INTO chunk VALUES (?, 0, ?)", (sha256(FIRST), FIRST))
    db.execute(
        "INSERT INTO authority VALUES (?, ?, NULL, ?)",
        (CA.id, CA.label, records.to_json(records.authority_record(CA))),
    )
    db.execute(
        "INSERT INTO epoch VALUES (?, 'complete', 1, ?, NULL, ?)",
        (CA.id, sha256(FIRST), records.to_json(records.epoch_record(epoch))),
    )
    db.execute("INSERT INTO high_water VALUES (?, 'complete', '1', 1000)", (CA.id,))
    db.execute(
        "INSERT INTO quarantine VALUES (?, 'complete', ?, ?, ?)",
        (CA.id, waiting.received_at, sha256(FIRST), records.to_json(records.quarantined_record(waiting))),
    )
    db.execute("UPDATE revision SET number = 7")
    db.execute("PRAGMA user_version = 1")
    db.close()
    return path


def test_open_version_1_keeps_every_fact_and_takes_users(version_1):
    """Opening brings the schema up to date; CAs, epochs, documents, marks and revision stay, users can be kept."""
    store = SqliteStore(version_1)
    waiting = a_quarantined(CA, FIRST)
    assert (store.authorities(), store.epochs(), store.quarantined()) == ((CA,), (an_epoch(CA),), (waiting,))
    assert (store.document(sha256(FIRST)), store.high_water(an_epoch(CA).issuing_point)) == (FIRST, (1, 1000))
    assert (store.revision(), store.users()) == (7, ())
    store.put_user(ADMIN, None)
    store.close()
    again = SqliteStore(version_1)
    assert (again.users(), again.revision()) == ((ADMIN,), 8)
    again.close()
    assert user_version(version_1) == SCHEMA_VERSION


def test_open_version_1_by_several_at_once_migrates_once(version_1):
    """Of processes that open an old store at the same time one migrates, and all go on."""
    start = threading.Barrier(4)
    rows: list[tuple] = []

    def open_store() -> None:
        start.wait()
        store = SqliteStore(version_1)
        rows.append((store.authorities(), store.users()))
        store.close()

    threads = [threading.Thread(target=open_store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows == [((CA,), ())] * 4


def test_open_version_1_migration_cut_short_leaves_version_1(version_1, monkeypatch):
    """A migration that fails half way changes nothing; the next opening does it."""
    statements = list(database._statements("CREATE TABLE half (x);\nCREATE TABLE authority (x);"))
    with monkeypatch.context() as patched:
        patched.setattr(database, "_statements", lambda _: iter(statements))
        with pytest.raises(StoreUnavailable, match="authority"):
            SqliteStore(version_1)
    assert user_version(version_1) == 1
    store = SqliteStore(version_1)
    store.put_user(ADMIN, None)
    store.close()
    db = sqlite3.connect(version_1)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
    db.close()
