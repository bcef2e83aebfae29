"""What may be said of approvals without looking anywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.test_approval_store import DONE, SOME, WAITING

from vouchd.core.approval_facts import (
    KEPT_SECONDS,
    MAX_KEPT,
    Approvals,
    ApprovalState,
    approvals_record,
    newest_approvals,
    read_approvals,
)
from vouchd.core.records import from_record
from vouchd.errors import StoreError


def test_state_expires_by_the_clock_alone():
    """What nobody has decided is over at its end; what was decided stays what it became."""
    assert [WAITING.state_at(at) for at in (199, 200)] == [ApprovalState.WAITING, ApprovalState.EXPIRED]
    assert DONE.state_at(10_000) is ApprovalState.DONE
    assert (SOME.waiting(199), SOME.waiting(200)) == ((WAITING,), ())


def test_those_that_are_over_are_kept_for_a_while_and_few_of_them():
    """However many are decided, the fact stays small; what waits is never left out."""
    late = 200 + KEPT_SECONDS
    fresh = replace(WAITING, id="cc" * 8, requested_at=late, expires_at=late + 100)
    assert Approvals(entries=(DONE, WAITING)).with_entry(fresh, late).entries == (fresh,)
    many = Approvals(entries=tuple(replace(DONE, id=f"{number:016x}") for number in range(100)))
    kept = many.with_entry(WAITING, 150).entries
    assert len(kept) == MAX_KEPT + 1
    assert WAITING in kept
    assert Approvals(entries=(WAITING,)).with_entry(replace(WAITING, outcome="x"), 150).entries[0].outcome == "x"


def test_newest_is_the_same_whatever_the_order():
    """Of two that were changed at one time all members take the same."""
    twins = [replace(SOME, change=4), Approvals(4, (DONE,))]
    assert newest_approvals(twins) == newest_approvals(reversed(twins))
    assert newest_approvals([*twins, Approvals(5)]).change == 5
    assert newest_approvals([]) == Approvals()


def test_record_passes_over_what_a_newer_version_added():
    """Approvals of a newer program are read by an older one, as all facts are."""
    record = approvals_record(SOME)
    record["later"] = record["entries"][0]["later"] = 1
    assert read_approvals(record) == SOME


@pytest.mark.parametrize(
    "damage",
    [
        {"arguments": "[]"},
        {"arguments": "{"},
        {"expires_at": "soon"},
        {"requester": 1},
        {"state": "eaten"},
        {"decided_at": True},
    ],
    ids=str,
)
def test_damaged_record_is_refused_where_it_is_read(damage):
    """A value of another type is told of at once, and no act rests on it."""
    record = approvals_record(Approvals(entries=(DONE,)))
    record["entries"][0] |= damage
    with pytest.raises(StoreError):
        from_record(record, read_approvals)
