"""The fault table of docs/design/flow-crl.md: each step refused, done with its answer lost, or cut short by SIGKILL.

After the restart the old or the new epoch is served, never a mix; what was acknowledged is there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.killed import killed_after_saying
from tests.faults.site import Site
from tests.pki import CA, HOUR, NOW

from vouchd.errors import CRLStale, StoreUnavailable
from vouchd.index import journal
from vouchd.index.manifest import MANIFEST
from vouchd.stores.sqlite import base

OLD, NEW = (1, {1, 2, 3}), (2, {2, 3, 4})


class Fault(StoreUnavailable):
    """What a step raises here."""


@pytest.fixture
def ca() -> CA:
    return CA.create("Lab CA")


@pytest.fixture
def folder(tmp_path, ca) -> Path:
    """A site that serves the old CRL; the new one is in `new.crl`."""
    site = Site(tmp_path)
    site.add_ca(ca.der)
    site.accept(ca.crl(dict.fromkeys(OLD[1]), number=1, this_update=NOW - 2 * HOUR))
    site.publish()
    assert site.served() == OLD
    site.close()
    (tmp_path / "new.crl").write_bytes(ca.crl(dict.fromkeys(NEW[1]), number=2))
    return tmp_path


def new_crl(folder: Path) -> bytes:
    return (folder / "new.crl").read_bytes()


def check_after_restart(folder: Path, expected: tuple) -> None:
    """A restart serves `expected`; sent again the CRL is taken or known; nothing needless stays behind."""
    site = Site(folder)
    site.publish()
    assert site.served() == expected
    if expected == NEW:
        with pytest.raises(CRLStale):
            site.accept(new_crl(folder))
    else:
        site.accept(new_crl(folder))
    site.publish()
    assert site.served() == NEW
    (epoch,) = site.store.epochs()
    assert epoch.sequence == 2
    assert site.store.document(epoch.base.sha256) == new_crl(folder)
    site.indexing.collect_garbage()
    assert {file.name for file in site.index.iterdir()} == {MANIFEST, epoch.index_name}
    site.close()


def refused(_function):
    """The step is not done."""

    def step(*args, **kwargs):
        raise Fault("refused")

    return step


def answer_lost(function):
    """The step is done, and its caller does not get to know."""

    def step(*args, **kwargs):
        function(*args, **kwargs)
        raise Fault("answer lost")

    return step


# step, what happens to it, whether the sender is told of success, and what is served after the restart
TABLE = [
    ("index", refused, False, OLD),
    ("index", answer_lost, False, OLD),
    ("document", refused, False, OLD),
    ("document", answer_lost, False, OLD),
    ("commit", refused, False, OLD),
    ("commit", answer_lost, False, NEW),
    ("manifest begun", refused, True, NEW),
    ("manifest begun", answer_lost, True, NEW),
    ("manifest added to", refused, True, NEW),
    ("manifest added to", answer_lost, True, NEW),
]


@pytest.mark.parametrize("step, fault, acknowledged, expected", TABLE)
def test_step_failing_leaves_old_or_new_epoch(folder, monkeypatch, step, fault, acknowledged, expected):
    """Whatever step fails, and whether it was done or not, one whole epoch is served and it is the table's."""
    site = Site(folder)
    owner, name = {
        "index": (site.writer, "write"),
        "document": (base.Transaction, "put_documents"),
        "commit": (site.store, "commit_epochs"),
        "manifest begun": (journal.JournalWriter, "begin"),
        "manifest added to": (journal.JournalWriter, "add"),
    }[step]
    if step == "manifest added to":
        site.begin_manifest()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fault(getattr(owner, name)))
        if acknowledged:
            site.accept(new_crl(folder))
            with pytest.raises(Fault):
                site.publish()
        else:
            with pytest.raises(Fault):
                site.accept(new_crl(folder))
        assert site.served() in (OLD, expected)
    site.close()
    check_after_restart(folder, expected)


KILLED = """
import os
import sys
from pathlib import Path
from tests.faults.site import Site, say_and_stay
import vouchd.stores.sqlite.base as sqlite

folder, point = Path(sys.argv[1]), sys.argv[2]
site = Site(folder)

def stop_before(owner, name):
    function = getattr(owner, name)
    def stop(*args, **kwargs):
        say_and_stay(point)
        return function(*args, **kwargs)
    setattr(owner, name, stop)

def stop_after(owner, name):
    function = getattr(owner, name)
    def stop(*args, **kwargs):
        function(*args, **kwargs)
        say_and_stay(point)
    setattr(owner, name, stop)

accepting = {
    "index-before": lambda: stop_before(site.writer, "write"),
    "index-half": lambda: stop_before(os, "replace"),
    "index-after": lambda: stop_after(site.writer, "write"),
    "commit-before": lambda: stop_before(site.store, "commit_epochs"),
    "commit-documents-stored": lambda: stop_after(sqlite.Transaction, "put_documents"),
    "commit-after": lambda: stop_after(site.store, "commit_epochs"),
}
def write_half():
    function = os.pwrite
    def write(descriptor, data, place):
        function(descriptor, data[: len(data) // 2], place)
        say_and_stay(point)
    os.pwrite = write

publishing = {
    "manifest-half": lambda: stop_before(os, "replace"),
    "manifest-after": lambda: stop_after(os, "replace"),
    "line-half": write_half,
    "line-written": lambda: stop_before(os, "fdatasync"),
    "line-after": lambda: stop_after(os, "fdatasync"),
}
if point.startswith("line"):
    site.begin_manifest()
accepting.get(point, lambda: None)()
site.accept((folder / "new.crl").read_bytes())
print("acknowledged", flush=True)
publishing.get(point, lambda: None)()
site.publish()
say_and_stay("published")
"""

# where the process is killed, and what is served after the restart
KILLS = [
    ("index-before", OLD),
    ("index-half", OLD),
    ("index-after", OLD),
    ("commit-before", OLD),
    ("commit-documents-stored", OLD),
    ("commit-after", NEW),
    ("acknowledged", NEW),
    ("manifest-half", NEW),
    ("manifest-after", NEW),
    ("line-half", NEW),
    ("line-written", NEW),
    ("line-after", NEW),
    ("published", NEW),
]


@pytest.mark.process
@pytest.mark.parametrize("point, expected", KILLS)
def test_killed_at_any_point_leaves_old_or_new_epoch(folder, point, expected):
    """SIGKILL at any point leaves one whole epoch; once acknowledged it is the new one."""
    lines = killed_after_saying(point, KILLED, str(folder), point)
    if "acknowledged" in lines:
        assert expected == NEW
    check_after_restart(folder, expected)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "flipped"])
def test_index_file_damaged_is_rebuilt_at_the_start(folder, damage):
    """Index files are derived: whatever happened to one, the restart brings it back from the store."""
    (file,) = (folder / "index").glob("*.idx")
    whole = file.read_bytes()
    file.unlink()
    flipped = bytes(octet ^ 0xFF if place == len(whole) // 2 else octet for place, octet in enumerate(whole))
    if damage != "missing":
        file.write_bytes({"empty": b"", "truncated": whole[:-1], "flipped": flipped}[damage])
    check_after_restart(folder, OLD)
