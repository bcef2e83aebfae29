"""CRLs that change abnormally much are held back until an operator decides."""

from __future__ import annotations

import pytest
from tests.pki import DAY, HOUR, NOW
from tests.service.recording import AGENT, PUBLISHER
from tests.service.world import (
    REMOVE,
    partition,
    point,
)

from vouchd.errors import (
    CRLQuarantined,
    CRLStale,
    NotFound,
    PermissionDenied,
)


@pytest.fixture
def guarded(world, ca):
    """A world whose CA holds back a CRL that changes more than a fifth; ten entries are held."""
    world.set_policy(ca, quarantine_percent=20)
    world.accept(ca.crl(dict.fromkeys(range(1, 11)), number=1, this_update=NOW - 5 * HOUR))
    return world


def test_abnormal_loss_is_held_back_and_the_old_epoch_served(guarded, ca):
    """A CRL that lost most of its entries is kept aside with the reason; answers stay as they were."""
    crl = ca.crl({1: None}, number=2)
    with pytest.raises(CRLQuarantined) as caught:
        guarded.accept(crl)
    (waiting,) = guarded.store.quarantined()
    assert caught.value.hint
    assert (waiting.record.crl_number, waiting.received_at, waiting.origin) == (2, NOW, "push")
    assert "9" in waiting.why
    assert guarded.store.document(waiting.record.sha256) == crl
    assert len(guarded.served()) == 10


def test_held_back_crl_sent_again_keeps_its_arrival(guarded, ca):
    """A source that sends it at every interval changes nothing."""
    crl = ca.crl({1: None}, number=2)
    with pytest.raises(CRLQuarantined):
        guarded.accept(crl)
    before = guarded.store.revision(), guarded.store.quarantined()
    with pytest.raises(CRLQuarantined):
        guarded.accept(crl, NOW + 60)
    assert (guarded.store.revision(), guarded.store.quarantined()) == before


def test_gains_are_taken_unless_the_policy_guards_them(guarded, ca):
    """To hold a revocation back fails open: entries that are gained are normal, however many, by default."""
    guarded.accept(ca.crl(dict.fromkeys(range(1, 100)), number=2))
    guarded.set_policy(ca, quarantine_gains=True)
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(1, 200)), number=3))


def test_floor_lets_few_losses_pass_of_a_small_crl(guarded, ca):
    """A share alone would hold back each change of a small CRL."""
    guarded.set_policy(ca, quarantine_entries=3)
    guarded.accept(ca.crl(dict.fromkeys(range(4, 11)), number=2))
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(8, 11)), number=3))


def test_first_delta_that_is_to_be_used_for_years_is_held_back(guarded, ca):
    """It has no delta before it to be held against: its base tells what is usual."""
    far = NOW + 3650 * DAY
    with pytest.raises(CRLQuarantined, match="to be used for"):
        guarded.accept(ca.crl({11: None}, number=2, base=1, next_update=far))
    guarded.accept(ca.crl({11: None}, number=3, base=1, next_update=NOW + HOUR))


def test_base_that_is_to_be_used_for_years_is_held_back_under_a_delta_that_stays(guarded, ca):
    """The delta over it is as short as ever, and would hide that."""
    guarded.accept(ca.crl({11: None}, number=5, base=1, next_update=NOW + HOUR))
    entries = dict.fromkeys(range(1, 11))
    with pytest.raises(CRLQuarantined, match="to be used for"):
        guarded.accept(ca.crl(entries, number=3, next_update=NOW + 3650 * DAY))
    guarded.accept(ca.crl(entries, number=4))
    guarded.accept(ca.crl({11: None, 12: None}, number=6, base=4, next_update=NOW + HOUR))


@pytest.mark.parametrize("days, taken", [(4, True), (5, False), (3650, False)])
def test_jump_in_validity_is_held_back(world, ca, days, taken):
    """A nextUpdate in ten years would keep a CRL in use for as long."""
    world.set_policy(ca, quarantine_percent=20)
    world.accept(ca.crl({1: None}, number=1, this_update=NOW - HOUR, next_update=NOW - HOUR + DAY))
    crl = ca.crl({1: None}, number=2, this_update=NOW, next_update=NOW + days * DAY)
    if taken:
        world.accept(crl)
    else:
        with pytest.raises(CRLQuarantined, match="seconds"):
            world.accept(crl)


def test_new_scope_beside_others_is_held_back(guarded, ca):
    """A scope that the CA has not had changes what its CRLs cover; one that the operator expects does not."""
    crl = ca.crl({1: None}, idp=partition("http://ca.test/1.crl"))
    with pytest.raises(CRLQuarantined, match="scope"):
        guarded.accept(crl)
    (pending,) = guarded.store.quarantined()
    guarded.ingesting.release_quarantined(pending.issuing_point, AGENT, NOW)
    assert len(guarded.store.epochs()) == 2


def test_first_crl_far_from_the_issued_serials_is_held_back(world, ca):
    """A first CRL has nothing to be compared with but the list of what the CA has issued."""
    world.set_policy(ca, quarantine_percent=20)
    world.authorities.set_issued_serials("CN=Lab CA", b"1\n2\n3\n4\n5\n", AGENT)
    with pytest.raises(CRLQuarantined, match="not issued"):
        world.accept(ca.crl({4: None, 5: None, 6: None, 7: None}, number=1))
    world.accept(ca.crl(dict.fromkeys(range(1, 7)), number=2))
    assert len(world.served()) == 6


def test_unguarded_ca_takes_whatever_is_valid(world, ca):
    """Without the policy nothing is weighed."""
    world.accept(ca.crl(dict.fromkeys(range(1, 11)), number=1))
    world.accept(ca.crl({}, number=2, next_update=None))
    assert world.served() == {}


def test_replaced_entries_count_although_their_number_is_the_same(guarded, ca):
    """What matters is which serials went and came, not how many there are."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(8, 18)), number=2))


@pytest.mark.parametrize("serials", [range(1, 13), range(1, 9), range(3, 13)])
def test_change_up_to_the_share_is_taken(guarded, ca, serials):
    """Exactly the share is still normal."""
    guarded.accept(ca.crl(dict.fromkeys(serials), number=2))
    assert set(guarded.served()) == set(serials)


def test_first_crl_is_never_held_back(world, ca):
    """Without entries to compare with nothing is abnormal."""
    world.set_policy(ca, quarantine_percent=1)
    world.accept(ca.crl({1: None, 2: None}))
    assert set(world.served()) == {1, 2}


def test_abnormal_delta_is_held_back(guarded, ca):
    """A delta is weighed by what it makes of the whole."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(1, 10), REMOVE), number=2, base=1))
    assert len(guarded.served()) == 10


def test_release_takes_the_crl_and_ends_its_quarantine(guarded, ca):
    """A released CRL becomes the next epoch, accepted at the moment of release."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl({1: None}, number=2))
    epoch = guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW + 60)
    assert (epoch.sequence, epoch.accepted_at, epoch.base.crl_number, epoch.origin) == (2, NOW + 60, 2, "push")
    assert set(guarded.served()) == {1}
    assert guarded.store.quarantined() == ()


def test_release_of_a_delta_merges_it(guarded, ca):
    """A delta held back is released onto its base."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(1, 10), REMOVE), number=2, base=1))
    guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW + 60)
    assert set(guarded.served()) == {10}


def test_release_after_a_newer_crl_is_stale_and_can_be_dropped(guarded, ca):
    """What has been overtaken is not released; it stays until it is dropped."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl({1: None}, number=2, this_update=NOW - 2 * HOUR))
    guarded.accept(ca.crl(dict.fromkeys(range(1, 12)), number=3))
    with pytest.raises(CRLStale):
        guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW + 60)
    guarded.ingesting.drop_quarantined(point(guarded), AGENT)
    assert guarded.store.quarantined() == ()
    assert len(guarded.served()) == 11


def test_release_and_drop_nothing_held_back_not_found(guarded):
    """There is nothing to decide on: NotFound."""
    with pytest.raises(NotFound):
        guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW)
    with pytest.raises(NotFound):
        guarded.ingesting.drop_quarantined(point(guarded), AGENT)


def test_release_by_the_publisher_is_refused(guarded, ca):
    """Who may send CRLs may not release the one that was held back."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl({1: None}, number=2))
    with pytest.raises(PermissionDenied):
        guarded.ingesting.release_quarantined(point(guarded), PUBLISHER, NOW)
    with pytest.raises(PermissionDenied):
        guarded.ingesting.drop_quarantined(point(guarded), PUBLISHER)
    assert len(guarded.store.quarantined()) == 1
