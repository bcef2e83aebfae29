"""Looking at the other members: who is ahead, for how long, and what is no longer answered for because of it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from tests.agent.domain_site import own_key
from tests.pki import NOW

from vouchd.cloning.appointment import appoint
from vouchd.cloning.client import PeerEpochs
from vouchd.cloning.peers import Peers
from vouchd.cloning.watermark import STORE, Watermark, of_authorities
from vouchd.core.facts import CRLRecord, Epoch, Group, IssuingPointId, Member, User
from vouchd.errors import ClientError, NotFound, StoreUnavailable

ME, OTHER, THIRD = (
    Member(f"ocsp{number}.example.org", 8443, 8080, f"OCSP {number}", number > 1, NOW) for number in (1, 2, 3)
)
POINT = IssuingPointId("a" * 64, "complete")


def epoch(number: int, point: IssuingPointId = POINT) -> Epoch:
    """The epoch of a CRL with that number."""
    return Epoch(point, number, CRLRecord(f"{number:064x}", 100, NOW + number, NOW + 86400, number), NOW + number)


class Set:
    """A set whose other members say what a test tells them to; time passes when a test says so."""

    def __init__(self, *others: Member, stale: int = 60, behind: tuple[str, ...] = ()) -> None:
        self.ours = [epoch(1)]
        self.answers: dict[str, PeerEpochs | Exception] = {other.id: PeerEpochs(NOW, (epoch(1),)) for other in others}
        self.seconds = 0.0
        self.members = (ME, *others)
        self.users: tuple[User, ...] = ()
        self.sent: list[tuple[str, str, tuple[Epoch, ...]]] = []
        self.questions: list[tuple[str, str]] = []
        self.watermark = Watermark(stale, lambda: self.seconds)
        self.watermark.resume(behind, of_authorities(self.ours))
        self.peers = Peers(
            lambda: ME,
            self.registry,
            self.served,
            lambda member: Answering(self, member),
            self,
            self.watermark,
            lambda: self.seconds,
            lambda: self.users,
        )

    def now(self) -> int:
        return NOW + int(self.seconds)

    def served(self) -> dict[str, tuple[Epoch, ...]]:
        return of_authorities(self.ours)

    def registry(self) -> tuple[Member, ...]:
        if self.members is None:
            raise StoreUnavailable("the directory is away")
        return self.members

    def say(self, *epochs: Epoch, member: Member = OTHER) -> None:
        self.answers[member.id] = PeerEpochs(self.now(), epochs)

    def look(self, after: float = 0.0) -> frozenset[str]:
        self.seconds += after
        self.watermark.serve(of_authorities(self.ours))
        self.peers.look()
        return self.peers.behind


class Answering:
    """A client of one member of the set."""

    def __init__(self, site: Set, member: Member) -> None:
        self._site, self._member = site, member

    def epochs(self, after: str = "") -> PeerEpochs:
        self._site.questions.append((self._member.id, after))
        if self._member.id not in self._site.answers:
            raise ClientError("no connection")
        answer = self._site.answers[self._member.id]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell_newer(self, member_id: str, epochs) -> None:
        self._site.sent.append((self._member.id, member_id, tuple(epochs)))


def test_newer_crl_elsewhere_counts_from_when_it_was_seen_first():
    """A CA is behind once another member has had a newer CRL for the bound, not before, and no more when caught up."""
    site = Set(OTHER)
    assert not site.look()
    site.say(epoch(2))
    assert not site.look(5)
    assert not site.look(59)
    assert site.look(1) == {POINT.authority_id}
    assert site.peers.states[0].lags == ((POINT, -60, epoch(2)),)
    site.ours = [epoch(2)]
    assert not site.look(5)
    assert site.peers.states[0].lags == ()


def test_still_newer_crls_do_not_start_the_bound_anew():
    """Who never catches up is behind although the newest CRL elsewhere is always young."""
    site = Set(OTHER)
    for number in range(2, 20):
        site.say(epoch(number))
        site.look(5)
    assert site.peers.behind == {POINT.authority_id}


def test_member_that_is_away_is_not_taken_to_have_what_came_here_since():
    """What it answers from is what it told last, where this member has another CRL by now."""
    site = Set(OTHER)
    site.look()
    assert site.peers.elsewhere(OTHER.id) == {}
    del site.answers[OTHER.id]
    site.ours = [epoch(2)]
    site.look(5)
    assert site.peers.elsewhere(OTHER.id) == {POINT: epoch(1)}
    assert site.peers.elsewhere("nobody:1") == {}


def test_what_is_told_once_counts_though_the_look_fails():
    """A member tells what changed only once: that another one costs the look takes nothing of it away."""
    site = Set(OTHER, THIRD)
    site.look()
    site.answers[OTHER.id] = PeerEpochs(NOW, (epoch(2),), version="x:2", concerned=frozenset({POINT.authority_id}))
    site.answers[THIRD.id] = RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError):
        site.look()
    site.answers[OTHER.id] = PeerEpochs(NOW, (), version="x:2", concerned=frozenset())
    site.say(epoch(1), member=THIRD)
    assert site.look(60) == {POINT.authority_id}


def test_member_that_went_is_forgotten_though_the_look_failed():
    """What a member told in a look that failed ends with its membership, as all that it told does."""
    site = Set(OTHER, THIRD)
    site.say(epoch(2))
    site.answers[THIRD.id] = RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError):
        site.look()
    site.say(epoch(1), member=THIRD)
    site.members = (ME, THIRD)
    assert not site.look(5)
    assert not site.look(60)


def test_older_crl_elsewhere_is_its_lag_and_not_ours():
    """A member with an older CRL lags behind us; we go on answering."""
    site = Set(OTHER)
    site.ours = [epoch(2)]
    site.look()
    assert not site.look(100)
    assert site.peers.states[0].lags == ((POINT, 100, epoch(1)),)


def test_what_a_member_said_last_counts_while_it_cannot_be_asked():
    """A member that told of a newer CRL and went away does not make it unsaid: the bound runs on."""
    site = Set(OTHER)
    site.say(epoch(2))
    site.look()
    del site.answers[OTHER.id]
    assert site.look(60) == {POINT.authority_id}
    (state,) = site.peers.states
    assert (state.reachable, state.seen_at, state.error) == (False, NOW, "no connection")


@pytest.mark.parametrize("ours", [2, 3])
def test_who_caught_up_is_not_behind_a_member_that_cannot_be_asked(ours):
    """What a member said last is compared with what has come here since: a master that died keeps nobody silent."""
    site = Set(OTHER)
    site.say(epoch(2))
    site.look()
    del site.answers[OTHER.id]
    site.ours = [epoch(ours)]
    assert not site.look(60)
    assert site.peers.states[0].lags == ()


def test_member_away_makes_nobody_behind():
    """That a member cannot be reached is no sign that it has something newer."""
    site = Set(OTHER)
    site.look()
    del site.answers[OTHER.id]
    assert not site.look(10_000)


def test_ca_of_another_member_that_is_unknown_here_is_behind():
    """A CA whose first CRL only another member has counts like a newer CRL."""
    site = Set(OTHER)
    site.ours = []
    site.look()
    assert site.look(60) == {POINT.authority_id}


def test_bound_of_zero_is_off():
    """staleInSec 0: the lag is shown, nothing is refused."""
    site = Set(OTHER, stale=0)
    site.say(epoch(2))
    site.look()
    assert not site.look(10_000)
    assert site.peers.states[0].lags == ((POINT, -10_000, epoch(2)),)


def test_member_that_left_the_set_is_forgotten():
    """A CRL that only a former member had keeps nobody behind."""
    site = Set(OTHER, THIRD)
    site.say(epoch(2), member=THIRD)
    site.look()
    assert site.look(60)
    site.members = (ME, OTHER)
    assert not site.look(5)
    assert [state.member for state in site.peers.states] == [OTHER]


@pytest.mark.parametrize(
    ("reachable", "newer", "caught_up", "still"),
    [
        (False, True, False, True),
        (False, False, True, False),
        (True, False, False, False),
        (True, True, False, True),
        (True, True, True, False),
    ],
)
def test_behind_before_a_restart_stays_so_until_it_is_known_better(reachable, newer, caught_up, still):
    """A restart makes no CA fresh: the others must have been asked, or a newer CRL have come."""
    site = Set(OTHER, behind=(POINT.authority_id,))
    assert site.peers.behind == {POINT.authority_id}
    site.say(epoch(2 if newer else 1))
    if not reachable:
        del site.answers[OTHER.id]
    if caught_up:
        site.ours = [epoch(2)]
    assert bool(site.look()) is still


@pytest.mark.parametrize(
    ("reachable", "newer", "caught_up", "still"),
    [
        (False, False, False, True),
        (False, False, True, False),
        (True, False, False, False),
        (True, True, False, True),
        (True, True, True, False),
    ],
)
def test_what_a_backup_brought_is_not_answered_before_the_others_were_asked(reachable, newer, caught_up, still):
    """Nothing of a restored member is known to be the newest: each CA waits for all others, or for a newer CRL."""
    site, sure = Set(OTHER), []
    site.watermark.resume((), {})
    site.watermark.doubt(lambda: sure.append(True))
    site.watermark.know(STORE, site.ours)
    assert site.peers.behind == {POINT.authority_id}, "the first manifest says so, before any worker answers"
    site.watermark.serve(of_authorities(site.ours))
    assert site.peers.behind == {POINT.authority_id}
    site.say(epoch(2 if newer else 1))
    if not reachable:
        del site.answers[OTHER.id]
    site.look()
    if caught_up:
        site.ours = [epoch(2)]
    assert bool(site.look()) is still
    assert bool(sure) is reachable


def test_set_that_cannot_be_read_makes_nobody_sure():
    """While nobody knows who is in the set, not all of it was asked."""
    site = Set(OTHER, behind=(POINT.authority_id,))
    members, site.members = site.members, None
    assert site.look() == {POINT.authority_id}
    site.members = members
    assert not site.look()


def test_member_is_asked_for_what_changed_since_it_told_last():
    """Who has told a version is asked for what changed since; what it told before stays as long as it says no other."""
    site, other = Set(OTHER), IssuingPointId("b" * 64, "complete")
    site.ours = [epoch(1), epoch(1, other)]
    site.answers[OTHER.id] = PeerEpochs(NOW, (epoch(1), epoch(1, other)), version="run:1")
    site.look()
    site.answers[OTHER.id] = PeerEpochs(NOW, (epoch(2),), version="run:2", concerned=frozenset({POINT.authority_id}))
    site.look()
    site.answers[OTHER.id] = PeerEpochs(NOW, (), version="run:2", concerned=frozenset())
    assert site.look(60) == {POINT.authority_id}
    assert site.questions == [(OTHER.id, ""), (OTHER.id, "run:1"), (OTHER.id, "run:2")]
    assert site.peers.states[0].lags == ((POINT, -60, epoch(2)),)
    site.answers[OTHER.id] = PeerEpochs(NOW, (), version="run:3", concerned=frozenset({POINT.authority_id}))
    assert not site.look(), "it answers for that CA no more"
    assert site.peers.states[0].lags == ((POINT, 1, None),)


def test_member_that_left_and_is_back_is_asked_for_all():
    """What a member told before it was taken out is forgotten with it."""
    site = Set(OTHER)
    site.answers[OTHER.id] = PeerEpochs(NOW, (epoch(1),), version="run:1")
    site.look()
    site.members = (ME,)
    site.look()
    site.members = (ME, OTHER)
    site.look()
    assert site.questions == [(OTHER.id, ""), (OTHER.id, "")]


class ReadMeanwhile(list):
    """Epochs of this member; while somebody goes through them the registry comes back and is read."""

    def __init__(self, site: Set, members: tuple[Member, ...]) -> None:
        super().__init__(site.ours)
        self._site, self._back = site, members

    def __iter__(self):
        if self._site.members is None:
            self._site.members = self._back
            self._site.peers.master()
        return super().__iter__()


def test_set_that_is_read_after_nobody_was_asked_makes_nobody_sure():
    """Who is read of while a round goes on is asked in the next one; until then nobody counts as asked."""
    site, sure = Set(OTHER), []
    site.watermark.doubt(lambda: sure.append(True))
    members, site.members = site.members, None
    del site.answers[OTHER.id]
    site.ours = ReadMeanwhile(site, members)
    site.peers.look()
    assert site.peers.known(OTHER.id)
    assert not sure
    site.say(epoch(1))
    site.peers.look()
    assert sure


def test_clock_of_a_member_is_compared():
    """The skew is the other clock before ours."""
    site = Set(OTHER)
    site.answers[OTHER.id] = PeerEpochs(NOW + 42, (epoch(1),))
    site.look()
    assert site.peers.states[0].skew_seconds == 42


def test_master_is_the_one_of_the_highest_term_that_was_appointed():
    """The move of a role is seen at a member that knows of it, before our own registry does; a mere claim is not."""
    alice, other = own_key("alice"), replace(OTHER, tls_sha256="ab" * 32)
    site = Set(other)
    site.users = (User("alice", "Alice", frozenset({Group.ADMINISTRATORS}), (alice.signer.certificate_der,)),)
    assert site.peers.master() == ME
    new = replace(other, clone=False, term=7)
    site.answers[OTHER.id] = PeerEpochs(NOW, (epoch(1),), new)
    site.look()
    assert site.peers.master() == ME
    new = replace(new, appointment=appoint(new, 7, alice))
    site.answers[OTHER.id] = PeerEpochs(NOW, (epoch(1),), new)
    site.look()
    assert site.peers.master() == new


def test_store_away_the_other_members_are_asked_all_the_same():
    """A member whose directory is away still notices that another one has a newer CRL."""
    site = Set(OTHER, stale=60)
    site.look()

    def away():
        raise StoreUnavailable("the directory is away")

    site.peers._me = site.peers._members = away
    site.say(epoch(2))
    site.look()
    assert site.look(after=61) == {POINT.authority_id}


def test_member_that_comes_or_goes_is_a_change():
    """Whoever waits for a member that was away is told when it is seen again."""
    site = Set(OTHER)
    assert site.peers.look()
    assert not site.peers.look()
    del site.answers[OTHER.id]
    assert site.peers.look()
    site.say(epoch(1))
    assert site.peers.look()
    assert not site.peers.look()


def test_member_that_is_seen_to_lack_something_is_told_so():
    """A member that cannot ask may still be reached: who sees that it is behind says so, and nothing else."""
    site = Set(OTHER, THIRD)
    site.ours = [epoch(2)]
    site.say(epoch(2), member=THIRD)
    site.look()
    assert site.sent == [(OTHER.id, ME.id, (epoch(2),))]


def test_word_of_a_member_that_cannot_be_asked_begins_the_bound():
    """In a cut of one direction the only sign is what the other side says unasked."""
    site = Set(OTHER)
    del site.answers[OTHER.id]
    site.look()
    site.peers.hear(OTHER.id, [epoch(2)])
    assert not site.look(59)
    assert site.look(1) == {POINT.authority_id}
    site.ours = [epoch(2)]
    assert not site.look()


def test_word_of_a_stranger_counts_nothing():
    """Only members of the set know what the set has."""
    site = Set(OTHER)
    site.look()
    with pytest.raises(NotFound):
        site.peers.hear(THIRD.id, [epoch(2)])
    assert not site.look(10_000)


def test_store_that_hangs_keeps_nobody_from_asking_the_others():
    """A look does not wait for the registry of members longer than seconds."""
    site, go = Set(OTHER), threading.Event()
    site.look()
    site.peers._me = lambda: go.wait(60) and ME
    site.say(epoch(2))
    site.look()
    assert site.look(60) == {POINT.authority_id}
    go.set()


def test_members_read_by_several_threads_at_once_are_read_for_all():
    """Whoever asks while another's reading is only about to begin waits for it."""
    for _ in range(50):
        peers, together, seen = Set(OTHER).peers, threading.Barrier(6), []

        def ask(peers: Peers = peers, together: threading.Barrier = together, seen: list = seen) -> None:
            together.wait()
            seen.append([member.id for member in peers.others()])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [[OTHER.id]] * 6


def test_who_is_by_itself_reads_the_registry_once():
    """A registry without anybody in it is not read again by each question for the master or the others."""
    site, reads = Set(), []
    site.peers._members = lambda: reads.append(1) or ()
    assert site.peers.master() is None
    assert site.peers.master() is None
    assert site.peers.others() == ()
    assert len(reads) == 1


def test_who_joins_one_that_is_by_itself_is_heard_at_once():
    """The first clone is known, and what it has that is newer counts, before the registry is looked at again."""
    site = Set()
    site.members = ()
    site.look()
    site.members = (ME, OTHER)
    site.peers.hear(OTHER.id, [epoch(2)])
    site.seconds = 60
    assert site.peers.behind == {POINT.authority_id}
    assert (site.peers.known(OTHER.id), site.peers.master()) == (OTHER, ME)


def test_further_member_is_known_when_it_asks_first():
    """One that has joined since the last look is read when it comes; nobody's name has nothing read."""
    site, reads = Set(OTHER), []
    site.look()
    site.members = (ME, OTHER, THIRD)
    assert site.peers.known(THIRD.id) == THIRD
    site.peers._members = lambda: reads.append(1) or site.members
    assert (site.peers.known(""), site.peers.known(THIRD.id), reads) == (None, THIRD, [])


def test_word_of_who_came_and_went_between_two_looks_counts_no_more():
    """It was never looked at, and is forgotten as one that was: else nothing but a newer CRL would end it."""
    site = Set(OTHER)
    site.look()
    site.members = (ME, OTHER, THIRD)
    site.peers.hear(THIRD.id, [epoch(2)])
    site.members = (ME, OTHER)
    assert not site.look(60)
