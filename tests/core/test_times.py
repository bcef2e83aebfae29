"""The times of an answer: facts, slots, and never ahead of the clock (RFC 6960 2.4, 2.5)."""

from __future__ import annotations

import pytest
from tests.pki import CA, DAY, HOUR, NOW, serial_octets
from tests.serving import entry, point, serving

from vouchd.core.facts import ExpiredCRLPolicy
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import decide
from vouchd.core.times import Moment, Times, times_of

ONE = CA.create("CA one")
END = NOW + 30 * DAY
SLOT = NOW - NOW % 30


def times(
    at: int = NOW,
    *,
    nonce: bool = False,
    not_after: int = END,
    crl: dict | None = None,
    revoked: bool = False,
    **policy,
) -> Times:
    entries = (entry(7),) if revoked else ()
    ours = serving(ONE, point(ONE, *entries, **(crl or {})), **policy)
    decision = decide(ours, serial_octets(7), ResponsePolicy(), at)
    return times_of(decision, ours.authority.policy, Moment(at, not_after, is_now=nonce))


def test_times_without_a_nonce_come_from_the_facts():
    """Whoever asks and when, the times are the same."""
    assert times(NOW) == times(NOW + HOUR)
    assert times().produced_at == NOW - HOUR + 60


def test_produced_at_with_a_nonce_is_now():
    """RFC 6960 2.5: the answer is made for this question."""
    assert [times(at, nonce=True).produced_at for at in (NOW, NOW + 7)] == [NOW, NOW + 7]


def test_produced_at_is_the_later_of_acceptance_and_this_update():
    """A CRL that was taken seconds before its own thisUpdate is not told of before that."""
    early = {"this_update": NOW - 10, "accepted_at": NOW - 70}
    assert times(crl=early).produced_at == NOW - 10


@pytest.mark.parametrize("nonce", [False, True])
@pytest.mark.parametrize("ahead", [{"this_update": NOW + 90}, {"accepted_at": NOW + 90}])
def test_no_time_lies_ahead_of_the_clock(ahead, nonce):
    """A CRL or an acceptance of a clock ahead of ours is told as of now, and kept by nobody until ours is there."""
    moments = times(nonce=nonce, crl=ahead)
    assert max(moments.this_update, moments.produced_at) <= NOW
    assert moments.produced_at >= moments.this_update
    assert moments.fresh_until == NOW
    assert times(NOW + 90, crl=ahead).fresh_until == NOW + DAY


def test_next_update_ends_with_the_signer():
    """No answer outlives its signer."""
    assert times(not_after=NOW + HOUR).next_update == NOW + HOUR
    assert times().next_update == NOW + DAY


def test_live_times_are_the_start_of_the_slot():
    """Within a slot all members give the same times; thisUpdate only where it is to be."""
    moments = {times(at, live_times=True) for at in (SLOT, SLOT + 1, SLOT + 29)}
    assert moments == {Times(NOW - HOUR, NOW + DAY, SLOT, SLOT + 29, SLOT + 30, SLOT + 30)}
    assert times(SLOT + 30, live_times=True).produced_at == SLOT + 30
    assert times(SLOT + 5, live_times=True, live_this_update=True).this_update == SLOT


@pytest.mark.parametrize("seconds", [1, 7, 60])
def test_live_times_slot_is_as_long_as_the_policy_says(seconds):
    """A slot begins at a multiple of its length since the epoch, on every host alike."""
    moments = times(NOW + 3, live_times=True, slot_seconds=seconds)
    assert moments.produced_at == NOW + 3 - (NOW + 3) % seconds
    assert moments.ends_at == moments.produced_at + seconds


def test_live_times_never_before_this_update():
    """A CRL that came within the slot: producedAt is not before its thisUpdate."""
    moments = times(SLOT + 20, live_times=True, crl={"this_update": SLOT + 10, "accepted_at": SLOT + 11})
    assert moments.produced_at == SLOT + 10


def test_live_times_end_with_the_crl():
    """A slot that is longer than what is left of the CRL ends with it."""
    moments = times(SLOT, live_times=True, crl={"next_update": SLOT + 9})
    assert (moments.fresh_until, moments.ends_at) == (SLOT + 9, SLOT + 9)


@pytest.mark.parametrize("seconds", [29, 30, 31])
def test_live_times_end_with_the_slot_or_the_crl_whichever_is_first(seconds):
    """The last second, the moment that caches are told, and whether it is the slot that ends the answer."""
    moments = times(SLOT, live_times=True, crl={"next_update": SLOT + seconds})
    assert moments.fresh_until == SLOT + 29
    assert moments.ends_at == SLOT + min(seconds, 30)
    assert moments.slot_end == (None if seconds < 30 else SLOT + 30)


def test_live_times_over_a_crl_without_next_update_end_with_the_slot():
    """Nothing else ends them."""
    moments = times(SLOT + 7, live_times=True, crl={"next_update": None})
    assert moments == Times(NOW - HOUR, None, SLOT, SLOT + 29, SLOT + 30, SLOT + 30)


@pytest.mark.parametrize(
    ("expired", "end"),
    [(ExpiredCRLPolicy.TRY_LATER, None), (ExpiredCRLPolicy.UNKNOWN, None), (ExpiredCRLPolicy.SERVE, NOW - HOUR)],
)
def test_revocation_told_in_spite_of_an_expired_crl_ends_with_a_new_one_alone(expired, end):
    """It names no nextUpdate and may be kept; where the old nextUpdate is to be shown, nobody may keep it."""
    moments = times(crl={"next_update": NOW - HOUR}, revoked=True, expired_crl=expired)
    assert (moments.next_update, moments.fresh_until, moments.ends_at) == (end, end, end)


def test_answer_that_hides_next_update_ends_with_the_crl_all_the_same():
    """The last second of the CRL is one in which it may be given."""
    for at in (NOW, NOW + DAY):
        moments = times(at, include_next_update=False)
        assert (moments.next_update, moments.fresh_until, moments.ends_at) == (None, NOW + DAY, NOW + DAY)


def test_archive_cutoff_with_a_nonce_is_made_anew():
    """It counts from producedAt (RFC 6960 4.4.4), which a nonce moves."""
    assert times(nonce=True, archive_cutoff_seconds=DAY).fresh_until == NOW
    assert times(nonce=True).fresh_until == NOW + DAY
