"""A CRL number that went up by mistake, and an issuing point that will not come again: both can be mended."""

from __future__ import annotations

import pytest
from tests.pki import HOUR, NOW
from tests.service.recording import ADMIN, AGENT, PUBLISHER
from tests.service.world import partition, point

from vouchd.errors import ConfigError, CRLRejected, CRLStale, NotFound, PermissionDenied
from vouchd.service.permission import Permission
from vouchd.service.previewing import Previewing

REASON = "the CA was restored from a backup"


def lower(world, crl: bytes, caller=ADMIN, reason: str = REASON):
    return world.ingesting.accept_lower_number(crl, "file", caller, NOW, reason)


def test_lower_number_is_taken_for_a_reason_and_numbers_go_on_from_it(world, ca):
    """The epoch says why; the next CRL follows the lower number, and the former order does not come back."""
    world.accept(ca.crl({5: None}, number=1007))
    crl = ca.crl({6: None}, number=8)
    with pytest.raises(CRLStale, match="lower") as refused:
        world.accept(crl)
    assert "--accept-lower-number" in refused.value.hint
    (epoch,) = lower(world, crl)
    assert (epoch.sequence, epoch.renumbered, epoch.renumbering) == (2, 1, REASON)
    assert world.audit.records[-1][3]["lower_number"] == REASON
    (following,) = world.accept(ca.crl({7: None}, number=9))
    assert (following.renumbered, following.renumbering) == (1, "")
    with pytest.raises(CRLStale):
        world.accept(ca.crl({}, number=7))
    with pytest.raises(CRLStale, match="thisUpdate"):
        lower(world, ca.crl({}, number=3, this_update=NOW - 2 * HOUR))


def test_lower_number_mends_a_ca_that_was_removed_and_added_too(world, ca):
    """What the store remembers of a CA that was removed is begun anew as well."""
    world.accept(ca.crl({5: None}, number=1007))
    world.authorities.remove("CN=Lab CA", AGENT)
    world.authorities.add(ca.der, AGENT)
    lower(world, ca.crl({6: None}, number=8))
    assert set(world.served()) == {6}
    assert world.store.high_water(point(world))[0] == 8


def test_lower_number_drops_a_delta_of_the_former_order(world, ca):
    """A delta of higher numbers has nothing to say over the new base."""
    world.accept(ca.crl({5: None}, number=1000))
    world.accept(ca.crl({6: None}, number=1001, base=1000))
    (epoch,) = lower(world, ca.crl({7: None}, number=8))
    assert epoch.delta is None
    assert set(world.served()) == {7}


@pytest.mark.parametrize("caller", [AGENT, PUBLISHER])
def test_lower_number_is_for_administrators(world, ca, caller):
    """Whoever may add CRLs may not turn back time."""
    with pytest.raises(PermissionDenied):
        lower(world, ca.crl({}, number=8), caller)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "line\nline"])
def test_lower_number_needs_a_reason(world, ca, reason):
    """No reason, no act."""
    with pytest.raises(ConfigError):
        lower(world, ca.crl({}, number=8), reason=reason)


def test_retired_issuing_point_is_gone_and_takes_no_crl(world, ca):
    """Its CRL counts no longer, another is refused with the way back, and the way back is open."""
    world.accept(ca.crl({5: None}))
    (epoch,) = world.accept(ca.crl({6: None}, idp=partition("http://ca.test/1.crl")))
    scope, newer = epoch.issuing_point.scope_id, ca.crl({7: None}, idp=partition("http://ca.test/1.crl"))
    retired = world.ingesting.retire(world.store.authorities()[0], scope, AGENT)
    assert retired.retired_scopes == (scope,)
    assert set(world.served()) == {5}
    assert world.audit.records[-1][3]["retired"] == scope
    with pytest.raises(CRLRejected, match="retired") as refused:
        world.accept(newer)
    assert "restore" in refused.value.hint
    world.ingesting.restore(retired, scope, AGENT)
    world.accept(newer)
    assert len(world.store.epochs()) == 2


def test_retire_and_restore_what_is_not_there_not_found(world, ca):
    """A scope without a CRL cannot be retired, one that is not retired cannot be restored."""
    (authority,) = world.store.authorities()
    for act in (world.ingesting.retire, world.ingesting.restore):
        with pytest.raises(NotFound):
            act(authority, "ab" * 32, AGENT)


def test_retire_is_for_agents(world, ca):
    """A publisher's certificate does not change what a CA's CRLs cover."""
    world.accept(ca.crl({5: None}))
    with pytest.raises(PermissionDenied):
        world.ingesting.retire(world.store.authorities()[0], "complete", PUBLISHER)


def test_preview_of_retiring_counts_what_is_revoked_no_longer(world, ca):
    """Entries that another CRL lists stay revoked; without the complete CRL unlisted serials are not `good` any more."""
    world.accept(ca.crl({5: None, 6: None}))
    (part,) = world.accept(ca.crl({6: None}, idp=partition("http://ca.test/1.crl")))
    previewing = Previewing(world.store, world.indexing, Permission(world.audit))
    (authority,) = world.store.authorities()
    change = previewing.preview_retirement(authority, part.issuing_point.scope_id, AGENT)
    assert (change.entries, change.lost, change.covered_before, change.covered_after) == (1, 0, True, True)
    change = previewing.preview_retirement(authority, "complete", AGENT)
    assert (change.entries, change.lost, change.covered_before, change.covered_after) == (2, 1, True, False)
    with pytest.raises(NotFound):
        previewing.preview_retirement(authority, "ab" * 32, AGENT)


def test_preview_of_releasing_shows_what_the_crl_held_back_would_change(world, ca):
    """Releasing is a decision on what it changes, so that is shown."""
    world.set_policy(ca, quarantine_percent=10)
    world.accept(ca.crl(dict.fromkeys(range(1, 11)), number=1))
    with pytest.raises(Exception, match="held back"):
        world.accept(ca.crl({1: None}, number=2))
    previewing = Previewing(world.store, world.indexing, Permission(world.audit))
    (change,) = previewing.preview_quarantined(point(world), AGENT, NOW)[1].changes
    assert (change.lost, change.gained, change.before) == (9, 0, 10)
