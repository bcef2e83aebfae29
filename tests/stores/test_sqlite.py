"""What SQLite adds to the contract: the file, its mode and version, and what a second process sees."""

from __future__ import annotations

import sqlite3
import stat
import threading

import pytest
from tests.contract.backends import FIRST, an_authority, an_epoch, sha256

from vouchd.errors import StoreError, StoreUnavailable
from vouchd.stores.sqlite.database import SCHEMA_VERSION, Database
from vouchd.stores.sqlite.store import SqliteStore

CA = an_authority("a")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


def test_open_new_file_and_its_side_files_have_mode_0600(path):
    """No file of the store can be read by another user, whatever the umask."""
    store = SqliteStore(path)
    store.put_authority(CA)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    store.close()
    assert modes == dict.fromkeys(("store.sqlite", "store.sqlite-wal", "store.sqlite-shm"), 0o600)


def test_open_newer_schema_refused_with_hint(path):
    """A database of a newer version is refused, not guessed at."""
    SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match=f"schema version {SCHEMA_VERSION + 1}") as caught:
        SqliteStore(path)
    assert caught.value.hint


def test_open_foreign_database_refused_and_untouched(path):
    """A database of another program is refused and not written to."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other (x)")
    db.close()
    with pytest.raises(StoreError, match="not a database of vouchd"):
        SqliteStore(path)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("other",)]
    db.close()


def test_open_text_file_refused(path):
    """A file that is no database at all is refused by name."""
    path.write_bytes(b"ocsp.storeId=defStore\n" * 100)
    with pytest.raises(StoreError, match="not a database of vouchd"):
        SqliteStore(path)


def test_open_folder_missing_unavailable(path):
    """A store that cannot be reached is StoreUnavailable, with the path."""
    with pytest.raises(StoreUnavailable, match="nowhere"):
        SqliteStore(path.parent / "nowhere" / "store.sqlite")


def test_open_interrupted_creation_completed(path):
    """An empty file, left by a creation that was cut short, becomes a store."""
    path.touch()
    store = SqliteStore(path)
    assert store.revision() == 0
    store.close()


def test_deleted_file_is_unavailable_not_a_new_empty_store(path):
    """A database deleted under us must not look like one without authorities to a new connection."""
    database = Database(path)
    path.unlink()
    with database.reading() as first, pytest.raises(StoreUnavailable), database.reading():
        pytest.fail(f"a second connection was opened beside {first}")
    database.close()
    assert not path.exists()


def test_writer_under_way_readers_go_on_and_second_writer_is_unavailable(path):
    """While one process writes, another reads the state before at once; its own write fails when time is up."""
    store = SqliteStore(path, busy_seconds=0)
    store.put_authority(CA)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM authority")
    assert store.authorities() == (CA,)
    with pytest.raises(StoreUnavailable, match="locked"):
        store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    writer.execute("ROLLBACK")
    writer.close()
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    assert store.epochs() == (an_epoch(CA),)
    store.close()


def test_failed_write_leaves_the_handle_usable(path):
    """An error within a transaction undoes it and the next call works."""
    store = SqliteStore(path)
    with pytest.raises(StoreError):
        store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    store.put_authority(CA)
    assert store.authorities() == (CA,)
    store.close()


def test_closed_store_is_unavailable(path):
    """A closed store is not silently opened again."""
    store = SqliteStore(path)
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.revision()


def test_damaged_record_is_a_store_error(path):
    """A record that cannot be read is told as damage of the store, not as a bug."""
    store = SqliteStore(path)
    store.put_authority(CA)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE authority SET fact = '{\"id\": 1}'")
    db.close()
    with pytest.raises(StoreError, match="damaged"):
        store.authorities()
    store.close()


def test_schema_keeps_durability_and_foreign_keys_on_each_connection(path):
    """synchronous=FULL, WAL and foreign keys are on; without them the contract would not hold."""
    store = SqliteStore(path)
    with store._database.reading() as db:
        settings = [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode", "foreign_keys")
        ]
    store.close()
    assert settings == [2, "wal", 1]


def test_open_path_with_odd_characters_is_that_very_file(tmp_path):
    """A path is a path and never read as options of a URI."""
    folder = tmp_path / "a b?mode=memory#%41"
    folder.mkdir()
    store = SqliteStore(folder / "store?.sqlite")
    store.put_authority(CA)
    store.close()
    assert (folder / "store?.sqlite").stat().st_size > 0


def test_open_new_store_twice_at_once_both_work(path):
    """Two processes that make the same new store at once get the same store."""
    start, stores = threading.Barrier(2), []

    def open_store() -> None:
        start.wait()
        stores.append(SqliteStore(path))

    threads = [threading.Thread(target=open_store) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = stores
    first.put_authority(CA)
    assert second.authorities() == (CA,)
    first.close()
    second.close()
