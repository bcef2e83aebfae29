"""Users after `kill -9`: who was removed stays out, and a migration cut short is made good."""

from __future__ import annotations

import sqlite3
from importlib import resources

import pytest
from tests.faults.killed import killed_after_saying

from vouchd.core.facts import Group, User
from vouchd.stores.sqlite.store import SqliteStore

ADMIN = User("admin", "Administrator", frozenset({Group.ADMINISTRATORS}), (b"\x30\x00",))
ALICE = User("alice", "Alice", frozenset({Group.AGENTS}), (b"\x30\x01",))

REMOVED = """
import sys
from pathlib import Path
from vouchd.stores.sqlite.store import SqliteStore
SqliteStore(Path(sys.argv[1])).remove_user("alice")
print("removed", flush=True)
sys.stdin.read()
"""

MIGRATING = """
import sys
from pathlib import Path
from vouchd.stores.sqlite import database
statements = database._statements
def stuck(script):
    yield from statements(script)
    print("half", flush=True)
    sys.stdin.read()
database._statements = stuck
database.Database(Path(sys.argv[1]))
"""


@pytest.mark.process
def test_killed_after_removing_a_user_it_stays_removed(tmp_path):
    """A right that was taken away does not come back with a crash."""
    path = tmp_path / "store.sqlite"
    store = SqliteStore(path)
    store.put_user(ADMIN, None)
    store.put_user(ALICE, None)
    store.close()
    killed_after_saying("removed", REMOVED, str(path))
    store = SqliteStore(path)
    assert store.users() == (ADMIN,)
    store.close()


@pytest.mark.process
def test_killed_while_migrating_the_next_opening_migrates(tmp_path):
    """A store of version 1 whose migration was killed is still one of version 1, and is migrated next time."""
    path = tmp_path / "store.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(resources.files("vouchd.stores.sqlite").joinpath("schema", "001.sql").read_text(encoding="utf-8"))
    db.execute("PRAGMA user_version = 1")
    db.close()
    killed_after_saying("half", MIGRATING, str(path))
    store = SqliteStore(path)
    store.put_user(ADMIN, None)
    assert store.users() == (ADMIN,)
    store.close()
