"""The rhythm of a CA: late against its own habit, numbers left out, and workers that end again and again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.alerts.planted import DAY, HOUR, NOW, POINT

from vouchd.alerts.rhythm import Rhythm, Rhythms, begun
from vouchd.instance.report import ServedPoint


def after(steps: list[tuple[int, int]], next_update: int | None = NOW + 30 * DAY) -> Rhythm:
    """The rhythm of a point whose CRLs came at these (seconds after NOW, number)."""
    first, *others = (
        replace(POINT, sequence=number, this_update=NOW + at, crl_number=crl, next_update=next_update)
        for number, (at, crl) in enumerate(steps, 1)
    )
    rhythm = begun(first)
    for point in others:
        rhythm = rhythm.after(point)
    return rhythm


HOURLY = [(number * HOUR, number) for number in range(5)]


def test_crl_is_overdue_half_a_period_after_it_was_due():
    """A CA that publishes each hour CRLs for a month is late after an hour and a half."""
    assert after(HOURLY).due(NOW + 30 * DAY) == NOW + 4 * HOUR + HOUR + HOUR // 2


def test_crl_of_a_ca_that_publishes_just_in_time_is_overdue_between_its_due_time_and_next_update():
    """Ten minutes of overlap give five of patience."""
    assert after(HOURLY).due(NOW + 5 * HOUR + 600) == NOW + 5 * HOUR + 300


def test_longest_period_counts():
    """A CA that publishes on working days alone is not late on Sunday, nor for what it published in between."""
    days = [(day * DAY, day) for day in (0, 1, 2, 3, 4, 7, 8)]
    assert after([*days, (8 * DAY + HOUR, 9)]).due(None) == NOW + 8 * DAY + HOUR + 3 * DAY + 3 * DAY // 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_nothing_is_said_before_enough_crls_have_come(count):
    """One or two CRLs are no habit."""
    rhythm = after(HOURLY[:count])
    assert (rhythm.due(None), rhythm.gap, rhythm.fell) == (None, 0, False)


def test_crl_past_the_next_update_is_told_as_expired_and_not_as_overdue():
    """A CA that never was in time has no habit that it breaks."""
    assert after(HOURLY).due(NOW + 4 * HOUR + 60) is None


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [
        ((1, 2, 3, 4, 5), 0),
        ((1, 2, 3, 4, 7), 2),
        ((1, 3, 5, 7, 9), 0),  # delta CRLs are numbered along
        ((1, 3, 4, 6, 7), 0),
        ((1, 2, 3, 9, 10), 0),  # the next one is as usual: it is over
    ],
)
def test_number_gap_is_what_goes_beyond_the_usual_step(numbers, gap):
    """A CRL that did not arrive shows in the number of the next one."""
    assert after([(place * HOUR, number) for place, number in enumerate(numbers)]).gap == gap


def test_crls_that_were_not_seen_one_by_one_make_no_gap():
    """Three that came between two looks have raised the number by three."""
    rhythm = after(HOURLY)
    later = replace(POINT, sequence=8, this_update=NOW + 9 * HOUR, crl_number=7)
    assert rhythm.after(later).gap == 0


def test_number_that_fell_is_seen_until_the_next_crl():
    """A step back is told, and over with the next number."""
    assert after([*HOURLY, (6 * HOUR, 2)]).fell
    assert not after([*HOURLY, (6 * HOUR, 2), (7 * HOUR, 3)]).fell


def test_crl_without_a_number_has_a_period_and_no_steps():
    """X.509 version 1 CRLs are looked at by their time."""
    points = [replace(POINT, sequence=n, this_update=NOW + n * HOUR, crl_number=None) for n in range(1, 6)]
    rhythm = begun(points[0])
    for point in points[1:]:
        rhythm = rhythm.after(point)
    assert (rhythm.gap, rhythm.fell) == (0, False)
    assert rhythm.due(None) is not None


def test_point_that_came_again_is_learned_anew():
    """A CA that was taken out and put in again has no habit yet."""
    assert after(HOURLY).after(replace(POINT, sequence=1)) == begun(replace(POINT, sequence=1))


def test_rhythms_forget_points_that_are_not_served_any_more():
    """What is kept does not grow with CAs that come and go."""
    rhythms = Rhythms().after([POINT])
    assert rhythms.after([POINT]) is rhythms
    assert rhythms.after([]).points == {}


CRLS = st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 20)))


@given(st.lists(st.lists(CRLS, max_size=5, unique_by=lambda crl: crl[0]), max_size=12))
def test_rhythms_after_any_changes_are_those_of_a_look_at_everything(looks):
    """What is learned from what changed is what all points say, each held by itself against the CRLs it had."""
    rhythms, learned, before = Rhythms(), dict[str, Rhythm](), dict[str, ServedPoint]()
    for look in looks:
        present = {}
        for name, sequence, hours, number in look:
            one, at = f"{name}", NOW + hours * HOUR
            made = replace(POINT, authority_id=one, sequence=sequence, this_update=at, crl_number=number)
            present[one] = before[one] if before.get(one) == made else made
        rhythms = rhythms.after(tuple(present.values()))
        learned = {one: learned[one].after(point) if one in learned else begun(point) for one, point in present.items()}
        before = present
        whole = Rhythms({(one, POINT.scope_id): rhythm for one, rhythm in learned.items()}).against(rhythms.served)
        assert (rhythms.points, rhythms.dues, rhythms.odd) == (whole.points, whole.dues, whole.odd)
        assert rhythms.served == tuple(present.values())


def test_restarts_are_counted_within_the_window():
    """Three within a quarter of an hour are three, and an hour later they are none."""
    rhythms = Rhythms()
    for at, count in ((0, 0), (10, 1), (20, 2), (30, 3), (900, 3)):
        rhythms = rhythms.with_restarts(NOW + at, count, 900)
    assert rhythms.restarted(NOW + 40, 900) == 3
    assert rhythms.restarted(NOW + 915, 900) == 2
    assert rhythms.restarted(NOW + 4000, 900) == 0
