"""Looking at a CRL before it is taken."""

from __future__ import annotations

import pytest
from tests.laws.test_law1_only_what_is_verified_is_answered import OTHER, REVOKED, Member, foreign_key
from tests.pki import CA, HOUR, NOW
from tests.service.recording import AGENT, PUBLISHER
from tests.service.world import World

from vouchd.errors import CRLRejected, PermissionDenied
from vouchd.service.permission import Permission
from vouchd.service.previewing import Previewing
from vouchd.stores.sqlite.store import SqliteStore


@pytest.fixture
def ca():
    return CA.create()


@pytest.fixture
def world(ca):
    new_world = World()
    new_world.authorities.add(ca.der, AGENT)
    return new_world


@pytest.fixture
def previewing(world):
    return Previewing(world.store, world.indexing, Permission(world.audit))


def test_first_crl_gains_all_its_entries(world, ca, previewing):
    """Where no CRL is held everything is new, and looking changes nothing."""
    revision = world.store.revision()
    (change,) = previewing.preview(ca.crl({1: None, 2: None}), AGENT, NOW).changes
    assert (change.before, change.gained, change.lost, change.after) == (0, 2, 0, 2)
    assert world.store.epochs() == ()
    assert world.store.revision() == revision


def test_following_crl_tells_what_is_gained_and_lost(world, ca, previewing):
    """Entries are compared with those in use by serial."""
    world.accept(ca.crl({1: None, 2: None, 3: None}))
    preview = previewing.preview(ca.crl({3: None, 4: None}, this_update=NOW), AGENT, NOW)
    (change,) = preview.changes
    assert (change.before, change.gained, change.lost, change.after) == (3, 1, 2, 2)
    assert (change.some_gained, change.some_lost) == ((b"\x04",), (b"\x01", b"\x02"))
    assert preview.acceptable
    assert set(world.served()) == {1, 2, 3}


def test_delta_counts_over_its_base(world, ca, previewing):
    """A delta adds to the complete CRL that it goes with."""
    world.accept(ca.crl({1: None}))
    (change,) = previewing.preview(ca.crl({2: None}, base=1, this_update=NOW), AGENT, NOW).changes
    assert (change.before, change.gained, change.lost) == (1, 1, 0)


def test_refusal_is_told_not_raised(world, ca, previewing):
    """A CRL of ours that would be refused is shown next to the one in use, with the reason."""
    old = ca.crl({}, this_update=NOW - 2 * HOUR)
    world.accept(ca.crl({1: None}))
    preview = previewing.preview(old, AGENT, NOW)
    assert "lower than" in preview.changes[0].refusal
    assert not preview.acceptable


def test_quarantine_is_foretold(world, ca, previewing):
    """What the CA's policy would hold back is said before."""
    world.accept(ca.crl(dict.fromkeys(range(1, 11))))
    world.set_policy(ca, quarantine_percent=10)
    (change,) = previewing.preview(ca.crl({}, this_update=NOW), AGENT, NOW).changes
    assert "more than 10 %" in change.held_back
    assert world.store.quarantined() == ()


def test_unknown_issuer_is_refused(previewing):
    """A CRL of nobody we answer for concerns no CA."""
    with pytest.raises(CRLRejected):
        previewing.preview(CA.create("Stranger").crl({}), AGENT, NOW)


def test_publisher_may_not_look(previewing, ca):
    """Who may only bring CRLs learns nothing of those held."""
    with pytest.raises(PermissionDenied):
        previewing.preview(ca.crl({}), PUBLISHER, NOW)


def test_preview_follows_what_is_served_as_taking_does(tmp_path):
    """An epoch that is not admitted, and the high number that it leaves in the store, decide nothing in either."""
    member = Member(tmp_path, SqliteStore(tmp_path / "facts.sqlite"))
    (served,) = member.store.epochs()
    member.store.commit_epoch(*foreign_key(member))
    assert member.publish().refusals
    crl = member.crl(revoked=(REVOKED, OTHER))
    (change,) = Previewing(member.store, member.indexing, Permission(member.audit)).preview(crl, AGENT, NOW).changes
    assert (change.refusal, change.before, change.gained, change.lost) == ("", 1, 1, 0)
    assert change.current is not None
    assert change.current.newest == served.newest
    member.accept(6, (REVOKED, OTHER), NOW - HOUR)
    member.store.close()
