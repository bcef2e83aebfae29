"""The roles of a set without a directory: the clone becomes the master; what comes back, or was restored, follows it."""

from __future__ import annotations

import shutil

import pytest
from tests.processes.running import eventually
from tests.whole.clones import clone_set

pytestmark = pytest.mark.process


@pytest.fixture
def site(tmp_path):
    """A running master that is ready to be cloned."""
    with clone_set(tmp_path) as made:
        made.make_prepared()
        yield made


def until_clone(site, name: str) -> None:
    """The member takes itself for a clone, in its CS.cfg and in its registry."""
    refresh = "ocsp.store.defStore.refreshInSec"
    eventually(lambda: site.setting(name, refresh) == "21600", f"{name} marks itself a clone")
    eventually(lambda: site.members(name).get(site.id_of(name)), f"{name} knows that it is a clone")


def test_promote_moves_the_role(site):
    """The clone becomes the master and the master a clone; refreshInSec says so on both, and CRLs flow the other way.

    Not by the clone's own word: it takes an administrator's certificate. A CRL is taken as soon as the command ends.
    """
    site.run(*site.create("c"))
    assert "administrator's own certificate" in site.refused("clone", "promote", "--instance", "c", "--force")
    assert site.members("m") == site.members("c") == {site.id_of("m"): False, site.id_of("c"): True}
    site.run("clone", "promote", "--instance", "c", *site.as_administrator())
    for member in ("c", "m"):
        site.publish(member)
    until_clone(site, "m")
    wanted = {site.id_of("m"): True, site.id_of("c"): False}
    assert site.members("m") == site.members("c") == wanted
    assert site.setting("c", "ocsp.store.defStore.refreshInSec") == "600"
    site.revoke("good")
    site.publish("c")
    site.until_says("m", "good", "revoked")
    assert site.said("c", "good") == site.said("m", "good")


def test_master_hands_its_role_over_and_the_clone_takes_it_by_itself(site):
    """On the master its own key is enough; nothing is done on the clone, which rises when it sees that it is appointed."""
    site.run(*site.create("c"))
    site.run("clone", "promote", site.id_of("c"), "--instance", "m")
    until_clone(site, "m")
    refresh = "ocsp.store.defStore.refreshInSec"
    eventually(lambda: site.setting("c", refresh) == "600", "c marks itself the master")
    eventually(lambda: site.members("c") == {site.id_of("m"): True, site.id_of("c"): False}, "c knows its role")
    site.revoke("good")
    site.publish("m")
    site.until_says("c", "good", "revoked")


def test_master_that_comes_back_takes_itself_for_a_clone(site):
    """The role of a dead master moves only by force; back again it follows the new one, with the CRLs it has missed."""
    site.run(*site.create("c"))
    site.kill("m")
    assert "--force" in site.refused("clone", "promote", "--instance", "c", *site.as_administrator())
    assert site.members("c")[site.id_of("c")]
    site.run("clone", "promote", "--instance", "c", "--force", *site.as_administrator())
    assert not site.members("c")[site.id_of("c")]
    site.revoke("good")
    site.publish("c")
    site.run("start", "--instance", "m")
    until_clone(site, "m")
    site.until_says("m", "good", "revoked")
    assert site.members("m") == site.members("c")


def test_clone_restored_from_an_old_backup_answers_when_it_has_caught_up(site):
    """What it brings back says good; it is not said while the master, who knows better, has not been asked."""
    site.run(*site.create("c"))
    site.until_says("c", "good", "good")
    files = ("--password-file", "keys.password")
    site.run("backup", "--all", "--out", "old.backup", "--instance", "c", *files)
    site.revoke("good")
    site.publish("m")
    site.until_says("c", "good", "revoked")
    for name in ("c", "m"):
        site.run("stop", "--instance", name)
    shutil.rmtree(site.layout("c").root)
    site.run("restore", "old.backup", "--instance", "c", *files)
    site.run("start", "--instance", "c")
    assert site.says("c", "good") == "try_later"
    site.run("restart", "--instance", "c")
    assert site.says("c", "good") == "try_later", "a restart makes nothing newer"
    site.run("start", "--instance", "m")
    answers = set()
    eventually(lambda: answers.add(site.says("c", "good")) or "revoked" in answers, "it has caught up")
    assert answers <= {"try_later", "revoked"}
    eventually(lambda: not site.layout("c").restored.exists(), "nothing is doubted any more")
