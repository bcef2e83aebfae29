"""What SQLite's store holds after `kill -9`: everything acknowledged, nothing half done."""

from __future__ import annotations

import pytest
from tests.contract.backends import FIRST, SECOND, a_record, an_authority, an_epoch, sha256
from tests.faults.killed import killed_after_saying

from vouchd.core.facts import IssuingPointId
from vouchd.errors import NotFound
from vouchd.stores.sqlite.store import SqliteStore

CA = an_authority("a")

COMMIT = """
import sys
from pathlib import Path
from tests.contract.backends import *
from vouchd.stores.sqlite.store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
CA = an_authority("a")
"""

ACKNOWLEDGED = """
store.put_authority(CA)
store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
print("acknowledged", flush=True)
sys.stdin.read()
"""

WITHIN = """
with store._changing() as change:
    change.db.execute("DELETE FROM epoch")
    change.db.execute("DELETE FROM authority")
    print("within", flush=True)
    sys.stdin.read()
"""

HALF_A_DOCUMENT = """
from vouchd.stores.sqlite import base
pieces = base._pieces
def stuck(sha256, view):
    yield next(pieces(sha256, view))
    print("half", flush=True)
    sys.stdin.read()
base._pieces = stuck
big = bytes(3 << 20)
store.commit_epoch(an_epoch(CA, 2, a_record(big, 2, 1100)), {sha256(big): big})
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


@pytest.mark.process
def test_killed_after_acknowledging_store_holds_it(path):
    """What a process said it has stored is there after it was killed."""
    killed_after_saying("acknowledged", COMMIT + ACKNOWLEDGED, str(path))
    store = SqliteStore(path)
    assert store.authorities() == (CA,)
    assert store.epochs() == (an_epoch(CA),)
    assert store.document(sha256(FIRST)) == FIRST
    assert store.high_water(IssuingPointId(CA.id)) == (1, 1000)
    store.close()


@pytest.mark.parametrize("word, script", [("within", WITHIN), ("half", HALF_A_DOCUMENT)])
@pytest.mark.process
def test_killed_within_a_change_store_holds_the_old_facts(path, word, script):
    """A change that was cut short left nothing, and the store goes on working."""
    store = SqliteStore(path)
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    revision = store.revision()
    store.close()
    killed_after_saying(word, COMMIT + script, str(path))
    store = SqliteStore(path)
    assert (store.revision(), store.authorities(), store.epochs()) == (revision, (CA,), (an_epoch(CA),))
    with pytest.raises(NotFound):
        store.document(sha256(bytes(3 << 20)))
    store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
    assert store.document(sha256(SECOND)) == SECOND
    store.close()
