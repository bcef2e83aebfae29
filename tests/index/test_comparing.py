"""What differs between two CRLs: every serial that came, went or is listed otherwise, in parts, of deltas too."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, NOW, shared_key

from vouchd.index.comparing import ChangeKind, CRLState, compare_crls
from vouchd.pkix.reasons import Reason

SITE = CA.create("Compared", key=shared_key("EC", 61))
HOLD, COMPROMISE = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.key_compromise
REVOKED = st.dictionaries(
    st.integers(min_value=1, max_value=2**80) | st.integers(min_value=1, max_value=20),
    st.sampled_from([None, HOLD, COMPROMISE]),
    max_size=12,
)


def state(revoked, **facts) -> CRLState:
    return CRLState(SITE.crl(revoked, **facts))


def kinds(comparison) -> dict[int, ChangeKind]:
    return {int.from_bytes(one.serial, "big", signed=True): one.kind for one in comparison.part}


@given(REVOKED, REVOKED)
def test_difference_is_that_of_the_lists(before, after):
    """Whatever the two list, wide serials beside narrow ones: no change is left out, and none is made up."""
    expected = dict.fromkeys(after.keys() - before.keys(), ChangeKind.CAME)
    expected |= dict.fromkeys(before.keys() - after.keys(), ChangeKind.WENT)
    expected |= {one: ChangeKind.CHANGED for one in before.keys() & after.keys() if before[one] != after[one]}
    compared = compare_crls(state(before), state(after), limit=100)
    assert kinds(compared) == expected
    counts = [list(expected.values()).count(kind) for kind in ChangeKind]
    assert [compared.came, compared.went, compared.changed] == counts
    assert (compared.before, compared.after) == (len(before), len(after))


def test_changes_come_in_parts_by_serial():
    """All parts together are the whole, each serial once, in their order."""
    old, new = state(dict.fromkeys(range(1, 40))), state(dict.fromkeys(range(20, 70), HOLD))
    parts = [compare_crls(old, new, skip=skip, limit=7).part for skip in range(0, 77, 7)]
    serials = [int.from_bytes(one.serial, "big") for part in parts for one in part]
    assert serials == list(range(1, 70))


def test_change_tells_reason_and_date_of_both():
    """A hold that became final is told with what it was."""
    (change,) = compare_crls(state({5: HOLD}), state({5: COMPROMISE}, revoked_at=NOW - 60), limit=9).part
    assert (change.before.reason, change.after.reason) == (Reason.CERTIFICATE_HOLD, Reason.KEY_COMPROMISE)
    assert change.after.revocation_time == NOW - 60


def test_delta_counts_with_what_it_goes_over():
    """A delta that takes one away and adds one is compared as the list that it makes."""
    base = SITE.crl({1: None, 2: HOLD}, number=5)
    delta = SITE.crl({2: x509.ReasonFlags.remove_from_crl, 3: None}, number=6, base=5)
    compared = compare_crls(CRLState(base), CRLState(base, delta), limit=9)
    assert kinds(compared) == {2: ChangeKind.WENT, 3: ChangeKind.CAME}
    assert (compared.before, compared.after) == (2, 2)


@pytest.mark.parametrize("octets", [20_000])
def test_lists_of_many_blocks_differ_where_they_do(octets):
    """A change at the ends of blocks is neither lost nor told twice."""
    old = dict.fromkeys(range(1, octets))
    new = {serial: None for serial in range(2, octets + 1) if serial != 16_384}
    compared = compare_crls(state(old), state(new), limit=9)
    assert kinds(compared) == {1: ChangeKind.WENT, 16_384: ChangeKind.WENT, octets: ChangeKind.CAME}
