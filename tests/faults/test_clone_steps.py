"""The making of a clone is killed before and after each of its steps: the master serves, and the same words finish it."""

from __future__ import annotations

import pytest
from tests.faults.creation import kill, whole
from tests.faults.killed import killed_after_saying
from tests.whole.clones import clone_set

pytestmark = pytest.mark.process

STEPS = ("preflight", "keys", "certificate", "join", "facts", "settings", "start", "verify")


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A running master, ready to be cloned; paths are whole, since the killed commands run elsewhere."""
    with clone_set(tmp_path_factory.mktemp("set")) as made:
        made.make_prepared()
        yield made


@pytest.fixture
def site(master):
    """No clone of it yet, and a token for one; so it is again after the test."""
    (master.folder / "token").unlink()
    master.run("domain", "token", "--instance", "m", "--out", "token")
    yield master
    if master.layout("c").root.exists():
        master.run("clone", "destroy", "--instance", "c", "--remove")
    assert master.members("m") == {master.id_of("m"): False}


def test_creation_killed_around_every_step_is_finished_by_the_same_words(site):
    """However often it is killed, the next run goes on, and in the end there is one clone that answers the same."""
    for step in STEPS:
        for side in ("before", "after"):
            kill(site, f"{side} {step}", site.create("c"))
            if step == "preflight":
                assert not site.layout("c").root.exists()
    site.run(*site.create("c"))
    assert site.said("c", "bad") == site.said("m", "bad")
    assert site.members("m") == site.members("c") == {site.id_of("m"): False, site.id_of("c"): True}


@pytest.mark.parametrize("step", ["keys", "certificate", "join", "facts", "settings", "start"])
def test_what_a_killed_creation_has_made_is_taken_away(site, step):
    """`clone destroy` cleans up after a kill at any step: no folder, no draft, no member but the master."""
    kill(site, f"after {step}", site.create("c"))
    site.run("clone", "destroy", "--instance", "c", "--remove")
    assert site.members("m") == {site.id_of("m"): False}
    assert not [path for path in site.folder.iterdir() if path.name.lstrip(".").split(".")[0] == "c"]
    assert site.says("m", "bad") == "revoked"


def test_draft_of_a_killed_creation_is_removed_by_the_next(site):
    """Killed while it writes the keys, the command leaves a draft with keys in it; the next run removes it."""
    draft = "import sys\nfrom vouchd.instance.certificates.backup import KeyBackup\n"
    stop = 'def stop(*_):\n    print("here", flush=True)\n    sys.stdin.read()\nKeyBackup.restore = stop\n'
    run = "from vouchd.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
    killed_after_saying("here", draft + stop + run, *whole(site, site.create("c")))
    assert len(list(site.folder.glob(".c.*"))) == 1
    assert not site.layout("c").root.exists()
    site.run(*site.create("c"), "--no-start")
    assert not list(site.folder.glob(".c.*"))
