"""Delta CRLs: RFC 5280 section 5.2.4."""

from __future__ import annotations

import pytest
from tests.pki import HOUR, NOW
from tests.service.recording import AGENT
from tests.service.world import (
    COMPROMISED,
    HOLD,
    REMOVE,
)

from vouchd.errors import (
    CRLOutOfOrder,
    CRLStale,
    NotFound,
)
from vouchd.pkix.reasons import Reason


def test_delta_is_merged_over_its_base(world, ca):
    """A delta adds, changes and, by removeFromCRL, takes entries away; the base stays as it is."""
    (base,) = world.accept(ca.crl({1: HOLD, 2: HOLD, 3: None}, number=10, this_update=NOW - 2 * HOUR))
    (epoch,) = world.accept(ca.crl({1: REMOVE, 2: COMPROMISED, 4: None, 9: REMOVE}, number=11, base=10))
    assert world.served() == {2: Reason.KEY_COMPROMISE, 3: Reason.ABSENT, 4: Reason.ABSENT}
    assert (epoch.sequence, epoch.base, epoch.delta.base_crl_number) == (2, base.base, 10)
    assert (epoch.delta.entry_count, epoch.this_update) == (4, NOW - HOUR)
    assert world.store.document(epoch.base.sha256)
    assert world.store.document(epoch.delta.sha256)


def test_newer_delta_replaces_the_delta(world, ca):
    """Deltas are cumulative since their base: only the newest counts."""
    world.accept(ca.crl({1: HOLD}, number=10, this_update=NOW - 3 * HOUR))
    (old,) = world.accept(ca.crl({2: None}, number=11, base=10, this_update=NOW - 2 * HOUR))
    world.accept(ca.crl({3: None}, number=12, base=10))
    assert set(world.served()) == {1, 3}
    with pytest.raises(NotFound):
        world.store.document(old.delta.sha256)


def test_older_delta_is_stale(world, ca):
    """A delta with a lower number than the one held is refused."""
    world.accept(ca.crl({}, number=10, this_update=NOW - 3 * HOUR))
    world.accept(ca.crl({1: None}, number=12, base=10, this_update=NOW - HOUR))
    with pytest.raises(CRLStale):
        world.accept(ca.crl({2: None}, number=11, base=10, this_update=NOW - 2 * HOUR))
    assert set(world.served()) == {1}


@pytest.mark.parametrize("base", [None, 9])
def test_delta_without_its_base_is_out_of_order(world, ca, base):
    """A delta needs a base of at least the number that it names."""
    if base is not None:
        world.accept(ca.crl({}, number=base, this_update=NOW - 3 * HOUR))
    with pytest.raises(CRLOutOfOrder):
        world.accept(ca.crl({1: None}, number=11, base=10))
    assert all(epoch.delta is None for epoch in world.store.epochs())


def test_new_base_drops_the_delta_it_includes(world, ca):
    """A base at least as new as the delta makes it superfluous."""
    world.accept(ca.crl({1: HOLD}, number=10, this_update=NOW - 3 * HOUR))
    world.accept(ca.crl({2: None}, number=11, base=10, this_update=NOW - 2 * HOUR))
    (epoch,) = world.accept(ca.crl({2: None}, number=12))
    assert epoch.delta is None
    assert set(world.served()) == {2}


def test_new_base_keeps_a_delta_that_is_still_newer(world, ca):
    """A base that comes late, older than the delta but usable with it, keeps the delta."""
    world.accept(ca.crl({1: HOLD}, number=10, this_update=NOW - 4 * HOUR))
    (with_delta,) = world.accept(ca.crl({1: REMOVE, 2: None}, number=14, base=10, this_update=NOW - HOUR))
    (epoch,) = world.accept(ca.crl({1: HOLD, 3: None}, number=12, this_update=NOW - 2 * HOUR))
    assert epoch.delta == with_delta.delta
    assert epoch.base.crl_number == 12
    assert epoch.base.entry_count == 2
    assert set(world.served()) == {2, 3}


def test_remove_from_crl_in_a_full_crl_is_a_revocation_and_said_to_be_odd(world, ca):
    """removeFromCRL has a meaning in a delta only (RFC 5280 5.3.1): what a complete CRL lists is revoked."""
    world.accept(ca.crl({1: REMOVE, 2: None}))
    assert world.served() == {1: Reason.ABSENT, 2: Reason.ABSENT}
    assert "removeFromCRL" in world.audit.records[-1][3]["odd"]


def test_entries_of_base_and_delta_are_counted_together(world, ca):
    """removeFromCRL takes an entry away, one that both list is one: what is shown is how many are revoked."""
    world.accept(ca.crl({1: None, 2: HOLD, 3: HOLD, 4: None}, number=1))
    (epoch,) = world.accept(ca.crl({2: REMOVE, 3: COMPROMISED, 5: None}, number=2, base=1))
    assert (epoch.base.entry_count, epoch.delta.entry_count, epoch.entry_count) == (4, 3, 4)
    (summary,) = world.authorities.summaries(AGENT)
    assert summary.entry_count == 4
    (epoch,) = world.accept(ca.crl({1: None, 3: COMPROMISED}, number=3))
    assert epoch.entry_count == 2
