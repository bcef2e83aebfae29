"""What another member tells by and by comes to the same as if it told all of it each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.pki import NOW

from vouchd.cloning.client import PeerEpochs
from vouchd.cloning.peer_view import Lag, PeerView
from vouchd.cloning.watermark import is_newer, of_authorities
from vouchd.core.facts import CRLRecord, Epoch, IssuingPointId

POINTS = [IssuingPointId(ca * 64, scope) for ca in "ab" for scope in ("complete", "reasons")]


def epoch(point: IssuingPointId, number: int) -> Epoch:
    """The epoch of that point with that CRL number."""
    return Epoch(point, number, CRLRecord(f"{number:064x}", 100, NOW + number, NOW + 86400, number), NOW + number)


def serving(numbers: dict[IssuingPointId, int]) -> list[Epoch]:
    """What a member with these CRL numbers answers from."""
    return [epoch(point, number) for point, number in sorted(numbers.items())]


NUMBERS = st.dictionaries(st.sampled_from(POINTS), st.integers(1, 4))
STEPS = st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=8)


def part(before: list[Epoch], now: list[Epoch]) -> PeerEpochs:
    """What changed from one to the other, as a member tells it."""
    former, present = of_authorities(before), of_authorities(now)
    changed = frozenset(each for each in former.keys() | present.keys() if former.get(each) != present.get(each))
    return PeerEpochs(NOW, tuple(one for each in changed for one in present.get(each, ())), concerned=changed)


@given(STEPS)
def test_told_by_and_by_is_as_told_whole(steps: list[tuple[dict, dict, bool]]):
    """Lags, their beginnings and what the other one lacks are the same, whatever changes on which side."""
    by_parts, whole, former = PeerView(), PeerView(), list[Epoch]()
    for second, (theirs, ours, anew) in enumerate(steps):
        now, own = serving(theirs), of_authorities(serving(ours))
        everything = PeerEpochs(NOW, tuple(now))
        by_parts.take(everything if anew else part(former, now), own, float(second))
        whole.take(everything, own, float(second))
        former = now
        assert by_parts.lags(99.0) == whole.lags(99.0)
        assert sorted(one.issuing_point for one in by_parts.lacking()) == sorted(
            one.issuing_point
            for one in serving(ours)
            if is_newer(one, next((each for each in now if each.issuing_point == one.issuing_point), None))
        )


@given(NUMBERS, NUMBERS, NUMBERS)
def test_who_cannot_be_asked_is_ahead_where_nothing_came_here_since(theirs: dict, ours: dict, later: dict):
    """While a member is away only that ends in which it was ahead and this one has come as far."""
    view = PeerView()
    view.take(PeerEpochs(NOW, tuple(serving(theirs))), of_authorities(serving(ours)), 0.0)
    before = view.lags(5.0)
    view.make_up(of_authorities(serving(later)))
    caught_up = {point for point, number in later.items() if number >= theirs.get(point, 9)}
    assert view.lags(5.0) == tuple(lag for lag in before if lag.seconds > 0 or lag.point not in caught_up)


@given(NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_what_it_answers_from_is_what_it_told_whatever_changed_here_since(theirs, ours, later, away):
    """Nothing that came here since it was asked is taken for what it answers from, whether it can be asked or not."""
    view, now = PeerView(), of_authorities(serving(later))
    view.take(PeerEpochs(NOW, tuple(serving(theirs))), of_authorities(serving(ours)), 0.0)
    if away:
        view.make_up(now)
    known = {one.issuing_point: one for one in serving(later)} | view.elsewhere(now)
    assert [one for _, one in sorted(known.items()) if one is not None] == serving(theirs)


def test_lag_names_what_the_other_one_has():
    """A lag has the epoch that the other one answers from, nothing where it has none."""
    view = PeerView()
    view.take(PeerEpochs(NOW, (epoch(POINTS[0], 3),)), of_authorities([epoch(POINTS[0], 2), epoch(POINTS[1], 2)]), 0.0)
    assert view.lags(7.0) == (Lag(POINTS[0], -7, epoch(POINTS[0], 3)), Lag(POINTS[1], 7, None))
