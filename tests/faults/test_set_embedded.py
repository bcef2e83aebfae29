"""Faults of a set without a directory, with real processes: what the clone answers, what it says, how it recovers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.faults.faulty_set import C, FaultySet, M, newest_crl, small_file_system
from tests.faults.page import FaultTable
from tests.whole.clones import clone_set

pytestmark = pytest.mark.process

STALE_SECONDS = 2
REFUSED, UNAVAILABLE = 65, 69  # exit codes, as sysexits.h has them


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Iterator[FaultySet]:
    """One set for all faults: each test leaves it as it found it."""
    folder = tmp_path_factory.mktemp("set")
    with small_file_system(folder / "small"), clone_set(folder) as site:
        site.make_prepared(staleInSec=STALE_SECONDS, peersInSec=1)  # the clone has them from the master
        faulty_set = FaultySet(site)
        site.run(*site.create(C))
        with faulty_set.promises.watched(M, C):
            yield faulty_set


@pytest.fixture
def sound(faulty):
    """The set, in which nothing is wrong; so it is again after the test."""
    faulty.until_sound(C)
    faulty.until_sound(M)
    yield faulty
    faulty.until_sound(C)
    assert not faulty.promises.broken


TABLE = FaultTable.of("a set without directory servers")
fault = TABLE.fault


@fault(
    "none: a CRL is given to the master",
    "the clone answers the same, to the last byte that is signed, moments later",
    "nothing",
    "nothing to mend",
)
def test_crl_given_to_the_master_reaches_the_clone(sound):
    """What the master accepted the clone answers alike."""
    name = sound.revoke(M)
    sound.site.until_says(C, name, "revoked")
    sound.same(name)
    sound.same("good")


@fault(
    "none: a CRL is given to the clone",
    "the clone hands it to the master and answers from it once the master has taken it",
    "what the master says of the CRL is what the clone says",
    "nothing to mend",
)
def test_crl_given_to_the_clone_goes_to_the_master(sound):
    """A CRL that a clone has acknowledged is in force on the clone and on the master."""
    name = sound.revoke(C)
    assert sound.site.says(C, name) == "revoked"
    sound.site.until_says(M, name, "revoked")
    sound.same(name)


@fault(
    "a CRL that the master refuses is given to the clone",
    "both go on with the CRL before it",
    "the command, or the CA that published it, gets the master's refusal",
    "publish a CRL that is in order",
)
def test_refusal_of_the_master_is_the_clones(sound, tmp_path):
    """A clone never takes in what its master refuses, and tells why."""
    stale = tmp_path / "old.crl"
    stale.write_bytes(newest_crl(sound.site))
    sound.revoke(M)
    assert re.search(r"CRL number \d+ is lower than \d+", sound.give(C, str(stale), REFUSED))
    sound.same("bad")


@fault(
    "the master is killed",
    "the clone goes on answering; a CRL that is given to it is refused, to be given again",
    "`/readyz` of the clone: `members` and `upkeep` fail; `vouchd_member_reachable` 0",
    "by itself when the master runs again; or `vouchd clone promote --force` on the clone",
)
def test_master_killed_clone_answers_on(sound):
    """Without its master a clone answers what it knows, acknowledges nothing new, and says what is missing."""
    site, revoked = sound.site, sound.revoke(M)
    site.until_says(C, revoked, "revoked")
    site.kill(M)
    sound.until(C, "members", site.id_of(M))
    sound.until(C, "upkeep", "following")
    assert [site.says(C, name) for name in ("good", revoked)] == ["good", "revoked"]
    assert re.search(r'vouchd_member_reachable\{member="[^"]*"\} 0', sound.metrics(C))
    later = sound.issue_revoked()
    assert "cannot ask" in sound.publish(C, UNAVAILABLE)
    assert site.says(C, later) == "good"
    site.run("start", "--instance", M)
    sound.publish(M)
    site.until_says(C, later, "revoked")
    sound.same(later)


@fault(
    "the clone is killed",
    "the master goes on answering and taking CRLs",
    "`/readyz` of the master: `members` fails",
    "by itself when the clone runs again: it takes over what it missed",
)
def test_clone_killed_and_back_catches_up(sound):
    """A clone that was dead has, when it is back, what came meanwhile."""
    site = sound.site
    site.kill(C)
    sound.until(M, "members", site.id_of(C))
    name = sound.revoke(M)
    assert site.says(M, name) == "revoked"
    site.run("start", "--instance", C)
    site.until_says(C, name, "revoked")
    sound.same(name)


@fault(
    "the connection between the two is cut, or the master hangs",
    "both answer what they know; the clone cannot know what it misses",
    "`/readyz` on both sides: `members` fails",
    "by itself when the connection is back",
)
def test_link_cut_and_healed_catches_up(sound):
    """A cut link stops no answer, and once it is healed the clone has everything."""
    site, before = sound.site, sound.revoke(M)
    site.until_says(C, before, "revoked")
    with sound.stopped(M):
        sound.until(C, "members", site.id_of(M))
        assert [site.says(member, before) for member in (M, C)] == ["revoked", "revoked"]
    name = sound.revoke(M)
    site.until_says(C, name, "revoked")
    sound.same(name)


@fault(
    "the clone cannot take over what the master has: it is stuck, or its store is",
    "the CRL before, until `vouchd.clone.staleInSec` have passed since a newer one was seen; then tryLater for that CA",
    "`/readyz` of the clone: `behind` fails (503 when it is every CA); `vouchd_behind` 1, `vouchd_member_lag_seconds`",
    "by itself when the clone has caught up",
)
def test_bound_of_staleness_holds_over_a_restart(sound):
    """A clone that knows of a newer CRL and cannot have it answers tryLater after the bound, also once restarted."""
    with sound.locked(C):
        name = sound.require_stale(C)
    sound.until_revoked(C, name)
    sound.same(name)


@fault(
    "the disk of the clone is full",
    "the CRL before stays whole; `vouchd.clone.staleInSec` after a newer one is at the master: tryLater",
    "`/readyz` of the clone: `upkeep` fails, then `behind` (503 when it is every CA); `vouchd_behind` 1",
    "by itself when there is room",
)
def test_disk_full_on_the_clone_then_try_later_then_caught_up(sound):
    """A clone that cannot take over a newer CRL keeps the old one for the bound, then answers nothing, then the new."""
    site = sound.site
    with sound.full(C):
        name = sound.revoke(M)
        sound.until(C, "upkeep", "following")
        assert sound.seen_until_later(C, "bad") <= {"revoked"}
        assert sound.tries_later(C, name)
        sound.until(C, "behind", "newer CRL")
    sound.until_revoked(C, name)
    sound.same(name)
    assert site.says(C, "bad") == "revoked"
