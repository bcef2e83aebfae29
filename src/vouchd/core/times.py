"""The times in an answer: which moments it names, and when it ends.

What has no nonce is made of facts, so that all members of a set give the same bytes: thisUpdate and nextUpdate are the
CRL's, producedAt is the later of acceptance and thisUpdate. Where a CA's policy has live times, time is cut into slots
and producedAt, by choice thisUpdate too, is the start of the slot: members agree within each. An answer with a nonce is
made for this question: producedAt is now.

No time lies ahead of the clock: a CRL may come from a clock that is minutes ahead of ours, and is told as of now until
ours is there. No answer outlives its signer, the CRL it rests on, or its slot.
"""

from __future__ import annotations

from typing import NamedTuple

from vouchd.core.facts import AuthorityPolicy
from vouchd.core.status import Decision

SLOT_SECONDS = 30


class Times(NamedTuple):
    """The times of one SingleResponse, and the producedAt it asks for where the answer has no nonce.

    `fresh_until` is the last second in which the answer may be given, None for ever; `ends_at` the moment that caches
    are told to end at, None where it has none. `slot_end` is when the next slot begins, where the slot ends it.
    """

    this_update: int
    next_update: int | None
    produced_at: int
    fresh_until: int | None
    ends_at: int | None
    slot_end: int | None = None


class Moment(NamedTuple):
    """When an answer is made: the time, the end of its signer's life, and whether producedAt is to be now."""

    at: int
    not_after: int
    is_now: bool


def times_of(decision: Decision, policy: AuthorityPolicy, moment: Moment) -> Times:
    """The times of what was decided at that moment."""
    at = moment.at
    this_update, produced_at = min(decision.this_update, at), min(decision.produced_at, at)
    fresh_until = ends_at = decision.fresh_until
    slot_end = None
    if decision.next_update is None and decision.fresh_until is not None and decision.fresh_until < at:
        fresh_until = ends_at = None  # told in spite of an expired CRL: nothing but a new one ends it
    if max(decision.this_update, decision.produced_at) > at:
        fresh_until = ends_at = at
    elif policy.live_times:
        slot = policy.slot_seconds or SLOT_SECONDS
        start = at - at % slot
        this_update = max(this_update, start) if policy.live_this_update else this_update
        produced_at = max(this_update, start)
        slot_end = start + slot if fresh_until is None or start + slot <= fresh_until else None
        fresh_until = start + slot - 1 if fresh_until is None else min(fresh_until, start + slot - 1)
        ends_at = start + slot if ends_at is None else min(ends_at, start + slot)
    if moment.is_now:
        produced_at = at
        # archiveCutoff counts from producedAt (RFC 6960 4.4.4), so such an answer is made anew each second.
        fresh_until = at if policy.archive_cutoff_seconds is not None else fresh_until
    next_update = None if decision.next_update is None else min(decision.next_update, moment.not_after)
    return Times(this_update, next_update, produced_at, fresh_until, ends_at, slot_end)
