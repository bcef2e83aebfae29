"""Faults of a set with real 389 Directory Servers: what both members answer, what they say, how all converges."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.faults.faulty_directories import FaultyDirectories
from tests.faults.faulty_set import C, M, small_file_system
from tests.faults.page import FaultTable
from tests.processes.running import eventually
from tests.whole.directory_sets import clone, directory_set

from vouchd.clock import SystemClock
from vouchd.core.facts import Transport

pytestmark = pytest.mark.process

STALE_SECONDS = 2
OTHER = {M: C, C: M}
REJECTED, TEMPORARY = 65, 75  # exit codes, as sysexits.h has them
TABLE = FaultTable.of("a set with directory servers")
fault = TABLE.fault


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Iterator[FaultyDirectories]:
    """One set for all faults, on servers that lose nothing they acknowledged; each test leaves it as it found it."""
    folder = tmp_path_factory.mktemp("set")
    disk = folder / "ds"
    settings = {"staleInSec": STALE_SECONDS, "peersInSec": 1}  # the clone has them from the master
    places = {"ds2.vouchd.test": disk}
    made = directory_set(folder, Transport.PLAIN, names=(M, C), settings=settings, durable=True, places=places)
    with small_file_system(folder / "small"), small_file_system(disk), made as (site, servers):
        site.revoke("bad")
        site.publish(M)
        faulty_set = FaultyDirectories(site, servers, disk)
        words = clone(site, C, servers[C], Transport.PLAIN)
        if site.done(*words, code=None).returncode:  # a server that syncs all it does may not answer in time
            site.run(*words)  # goes on where it was
        with faulty_set.promises.watched(M, C):
            yield faulty_set


@pytest.fixture
def sound(faulty):
    """The set, in which nothing is wrong; so it is again after the test, and nobody took a revocation back."""
    for member in (M, C):
        faulty.until_sound(member)
    yield faulty
    for member in (M, C):
        faulty.until_sound(member)
    assert not faulty.promises.broken


@fault(
    "none: a CRL is given to either member",
    "the other one answers the same, to the last byte that is signed, moments later",
    "nothing",
    "nothing to mend",
)
def test_crl_given_to_either_reaches_the_other(sound):
    """Every member takes CRLs, whatever its role, and both answer from them."""
    names = [sound.revoke(member) for member in (M, C)]
    sound.until_alike(*names)
    assert {sound.site.says(member, name) for member in (M, C) for name in names} == {"revoked"}


@pytest.mark.parametrize("member", [C, M], ids=["clone", "master"])
@fault(
    "the directory server of a member stops, the clone's or the master's",
    "that member answers what it knows, and tryLater `vouchd.clone.staleInSec` after the other one has a newer CRL; the other one takes CRLs",
    "`/readyz` of that member: `store` fails, then `behind`; `vouchd_store_up` 0. A CRL given to it is refused for now (exit code 75, HTTP 503)",
    "by itself when the directory server is back",
)
def test_directory_server_stopped_and_back(sound, member):
    """Without its directory server a member acknowledges nothing and is never stale for long; then it catches up."""
    site, other = sound.site, OTHER[member]
    before = sound.revoke(member)
    sound.until_alike(before)
    with sound.without_directory(member):
        sound.until(member, "store", sound.servers[member].host)
        assert "vouchd_store_up 0" in sound.metrics(member)
        assert [site.says(member, name) for name in ("good", before)] == ["good", "revoked"]
        refused = sound.issue_revoked()
        assert "directory server" in sound.publish(member, TEMPORARY)
        assert site.says(member, refused) == "good"
        name = sound.revoke(other)
        assert site.says(other, name) == "revoked"
        assert sound.seen_until_later(member, before) <= {"revoked"}
        sound.until(member, "behind", "newer CRL")
    sound.until_revoked(member, name)
    sound.until_alike(before, refused, name)


@fault(
    "the directory server of the clone hangs: it takes connections and answers nothing",
    "the clone answers what it knows, and tryLater `vouchd.clone.staleInSec` after the master has a newer CRL",
    "`/readyz` of the clone: `behind` fails (503 when it is every CA), `store` within 15 seconds",
    "by itself when the directory server goes on",
)
def test_directory_server_that_hangs_is_no_longer_waited_for_than_the_bound(sound):
    """A server that hangs holds up neither the look at the other members nor the word to the workers."""
    site, before = sound.site, sound.revoke(M)
    sound.until_alike(before)
    with sound.hanging_directory(C):
        name = sound.revoke(M)
        assert site.says(M, name) == "revoked"
        assert sound.seen_until_later(C, before) <= {"revoked"}
        sound.until(C, "behind", "newer CRL")
        sound.until(C, "store", sound.servers[C].host)
    sound.until_revoked(C, name)
    sound.until_alike(before, name)


@fault(
    "the directory servers cannot reach each other",
    "each member answers from the CRLs that it was given; who has the older one answers tryLater after `vouchd.clone.staleInSec`, also restarted",
    "`/readyz` of that member: `behind` fails (503 when it is every CA); `vouchd_behind` 1",
    "by itself when they reach each other again",
)
def test_replication_cut_and_healed_catches_up(sound):
    """Who is cut off is told by the other members that it is behind, and answers nothing rather than what is stale."""
    with sound.cut():
        name = sound.require_stale(C)
    sound.until_revoked(C, name)
    sound.until_alike(name)


@fault(
    "both members are given CRLs while the directory servers cannot reach each other",
    "the newest valid CRL, on both, once they reach each other; until then who has the older one answers tryLater after `vouchd.clone.staleInSec`",
    "as above; the older CRL is refused on both afterwards",
    "by itself when they reach each other again",
)
def test_conflicting_crls_end_as_the_newest_on_both(sound):
    """What both acknowledged is revoked on both; the mark of the newest CRL holds, wherever it was given."""
    site = sound.site
    first, older = sound.issue_revoked(), sound.crl()
    second, newer = sound.issue_revoked(), sound.crl()
    with sound.cut():
        sound.give(C, newer)
        sound.give(M, older)
        sound.promises.made(C, second)
        sound.promises.made(M, first)
        assert [site.says(C, name) for name in (first, second)] == ["revoked", "revoked"]
        assert sound.seen_until_later(M, first) <= {"revoked"}
    sound.until_alike(first, second)
    assert site.says(M, second) == "revoked"
    for member in (M, C):
        assert re.search(r"CRL number \d+ is lower than \d+", sound.give(member, older, REJECTED))
    sound.until_alike(first, second)


@fault(
    "both members are given the same CRL while the directory servers cannot reach each other",
    "from that CRL on both; the times of the answers are those of the acceptance that was first",
    "nothing",
    "by itself when they reach each other again",
)
def test_crl_given_to_both_at_once_is_one(sound):
    """A publisher that gives each CRL to every member does no harm: the answers are alike to the last byte."""
    name = sound.issue_revoked()
    crl = sound.crl()
    with sound.cut():
        for member in (C, M):
            sound.give(member, crl)
            sound.promises.made(member, name)
            at = SystemClock().now()
            eventually(lambda at=at: SystemClock().now() > at, "the clock goes on")
    sound.until_alike(name)


@fault(
    "the directory server of the clone crashes right after a CRL was acknowledged there, before it was replicated",
    "the clone answers from that CRL all the while; the master once it has it",
    "`/readyz` of the clone: `store` fails until the server is back",
    "by itself: the CRL is on the disk of that server",
)
def test_acknowledged_crl_outlives_the_directory_server(sound):
    """Acknowledged means written: a crash at once loses nothing."""
    with sound.cut():
        name = sound.revoke(C)
        with sound.without_directory(C):
            assert sound.site.says(C, name) == "revoked"
        assert sound.site.says(C, name) == "revoked"
    sound.site.until_says(M, name, "revoked")
    sound.until_alike(name)


@fault(
    "the master is killed",
    "the clone goes on answering and taking CRLs",
    "`/readyz` of the clone: `members` fails; `vouchd_member_reachable` 0",
    "by itself when the master runs again: its directory server has what came meanwhile; or `vouchd clone promote --force` on the clone",
)
def test_master_killed_clone_takes_crls(sound):
    """With directory servers nothing waits for the master."""
    site = sound.site
    site.kill(M)
    sound.until(C, "members", site.id_of(M))
    assert re.search(r'vouchd_member_reachable\{member="[^"]*"\} 0', sound.metrics(C))
    name = sound.revoke(C)
    assert [site.says(C, one) for one in ("good", name)] == ["good", "revoked"]
    site.run("start", "--instance", M)
    site.until_says(M, name, "revoked")
    sound.until_alike(name)


@fault(
    "the host of the clone is lost: the clone and its directory server",
    "the master goes on answering and taking CRLs",
    "`/readyz` of the master: `members` fails",
    "by itself when both run again: the directory server catches up, the clone with it",
)
def test_host_of_the_clone_lost_and_back_catches_up(sound):
    """A clone that was away with its directory server has, when both are back, what came meanwhile."""
    site = sound.site
    site.kill(C)
    with sound.without_directory(C):
        sound.until(M, "members", site.id_of(C))
        name = sound.revoke(M)
        assert site.says(M, name) == "revoked"
    site.run("start", "--instance", C)
    site.until_says(C, name, "revoked")
    sound.until_alike(name)


@fault(
    "the disk of the clone is full",
    "the CRL before stays whole; `vouchd.clone.staleInSec` after a newer one is at the master: tryLater",
    "`/readyz` of the clone: `store` fails, then `behind` (503 when it is every CA); `vouchd_behind` 1; a CRL given to it is refused",
    "by itself when there is room",
)
def test_disk_full_on_the_clone_then_try_later_then_caught_up(sound):
    """A clone that cannot write what its directory has keeps the CRL before for the bound, then answers nothing."""
    with sound.full(C):
        name = sound.revoke(M)
        assert sound.seen_until_later(C, "bad") <= {"revoked"}
        assert sound.tries_later(C, name)
        sound.until(C, "behind", "newer CRL")
        sound.publish(C, TEMPORARY)
    sound.until_revoked(C, name)
    sound.until_alike(name)


@fault(
    "the disk of the clone's directory server is full: that server ends itself",
    "as if that server had stopped: the CRL before, then tryLater",
    "`/readyz` of the clone: `store` fails, then `behind`; a CRL given to it is refused for now",
    "make room and start the directory server",
)
def test_disk_full_under_the_directory_server_then_started_catches_up(sound):
    """What the server could not write it gets again when it is started, and nothing it had is lost."""
    with sound.full_directory():
        name = sound.revoke(M)
        eventually(lambda: sound.servers[C].process.pid() is None, "the directory server has ended")
        sound.until(C, "store", sound.servers[C].host)
        assert sound.seen_until_later(C, "bad") <= {"revoked"}
        sound.publish(C, TEMPORARY)
    sound.until_revoked(C, name)
    sound.until_alike(name)
