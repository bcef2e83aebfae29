"""When a change is abnormal: both ends of each measure, and what it is said to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pki import CA, DAY, HOUR, NOW, shared_key
from tests.service.recording import AGENT
from tests.service.world import World, indirect_crl, partition

from vouchd.core.facts import Epoch
from vouchd.errors import CRLQuarantined
from vouchd.service.arrivals import Received
from vouchd.service.weighing import VALIDITY_FACTOR, Weighing

HELD = dict.fromkeys(range(1, 11))


@pytest.fixture
def guarded(world, ca):
    """A world whose CA holds back a CRL that changes more than a fifth of ten entries."""
    world.set_policy(ca, quarantine_percent=20)
    world.accept(ca.crl(HELD, number=1, this_update=NOW - 5 * HOUR))
    return world


def why(world: World, current: Epoch, epoch: Epoch, crl: bytes) -> str:
    """Why a CRL would be held back, of facts that are given."""
    (authority,) = world.store.authorities()
    return Weighing(world.store, world.indexing).weigh(authority, Received.of(crl, "push", NOW), current, epoch).why


@pytest.mark.parametrize(("serials", "abnormal"), [(range(1, 13), False), (range(1, 14), True)])
def test_gain_up_to_the_share_is_normal_where_gains_are_guarded(guarded, ca, serials, abnormal: bool):
    """Exactly the share still is, as of losses; how many went and came, and the share, stand in the reason."""
    guarded.set_policy(ca, quarantine_percent=20, quarantine_gains=True)
    crl = ca.crl(dict.fromkeys(serials), number=2)
    if not abnormal:
        guarded.accept(crl)
        return
    with pytest.raises(CRLQuarantined, match=r"0 of 10 entries lost and 3 gained: more than 20 %$"):
        guarded.accept(crl)


def test_crl_is_held_back_where_the_one_in_use_cannot_be_read_again(guarded, ca, monkeypatch):
    """It may be the one that mends this, so an operator can release it."""
    (current,) = guarded.store.epochs()
    guarded.indexes.files.clear()
    chunks, known = guarded.store.document_chunks, current.base.sha256
    monkeypatch.setattr(guarded.store, "document_chunks", lambda one: [b"x"] if one == known else chunks(one))
    with pytest.raises(CRLQuarantined, match="held against the CRL in use: the CRL in the store is not the one"):
        guarded.accept(ca.crl(HELD, number=2))
    epoch = guarded.ingesting.release_quarantined(current.issuing_point, AGENT, NOW)
    assert set(guarded.entries(epoch)) == set(HELD)


@pytest.mark.parametrize(("strange", "abnormal"), [(2, False), (3, True)])
def test_first_crl_up_to_the_share_of_strange_serials_is_normal(world, ca, strange: int, abnormal: bool):
    """Of ten entries two may be of serials that the list of issued ones lacks, and not three."""
    world.set_policy(ca, quarantine_percent=20)
    world.authorities.set_issued_serials("CN=Lab CA", b"".join(b"%d\n" % one for one in range(1, 11 - strange)), AGENT)
    policy = world.authorities.find("CN=Lab CA").policy
    assert policy.quarantine_percent == 20
    if not abnormal:
        world.accept(ca.crl(HELD, number=1))
        return
    words = r"3 of 10 entries are of serials that the CA has not issued: more than 20 %$"
    with pytest.raises(CRLQuarantined, match=words):
        world.accept(ca.crl(HELD, number=1))


def test_entries_of_other_cas_in_an_indirect_crl_are_not_strange(world, ca):
    """What one CA has issued is held against its own entries alone."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    world.set_policy(ca, crl_issuers=(issuer.der,), quarantine_percent=20)
    world.authorities.set_issued_serials("CN=Lab CA", b"1\n", AGENT)
    with pytest.raises(CRLQuarantined, match="1 of 1 entries"):
        world.accept(indirect_crl(issuer, [(2, "Lab CA"), (1, "Other CA")], 1))
    world.accept(indirect_crl(issuer, [(1, "Lab CA"), (7, "Other CA"), (8, "Other CA")], 2))


def test_scope_that_the_operator_expects_is_normal_beside_others(guarded, ca):
    """Another one is named in the reason, so that it can be declared."""
    crl = ca.crl({1: None}, number=1, idp=partition("http://ca.test/1.crl"))
    scope = Received.of(crl, "push", NOW).header.point_scope_id
    with pytest.raises(CRLQuarantined, match=f"the CA has had no CRL of the scope {scope} yet"):
        guarded.accept(crl)
    guarded.set_policy(ca, quarantine_percent=20, expected_scopes=("complete", scope))
    guarded.accept(crl)
    assert len(guarded.store.epochs()) == 2


@pytest.mark.parametrize(
    ("former", "new", "reason"),
    [
        (DAY, VALIDITY_FACTOR * DAY, ""),
        (DAY, VALIDITY_FACTOR * DAY + 1, f"it is to be used for {4 * DAY + 1} seconds, where {DAY} were usual"),
        (None, 3650 * DAY, ""),
        (None, None, ""),
        (DAY, None, "it names no nextUpdate, where the one in use does"),
    ],
)
def test_time_of_use_is_abnormal_beyond_four_times_what_was_usual(guarded, ca, former, new, reason: str):
    """Where none was usual any is; where one was, none at all keeps a CRL in use for ever."""
    (current,) = guarded.store.epochs()
    crl = ca.crl(HELD, number=2)
    (epoch,) = guarded.accept(crl)

    def lasting(one: Epoch, seconds: int | None) -> Epoch:
        end = None if seconds is None else one.base.this_update + seconds
        return replace(one, base=replace(one.base, next_update=end))

    assert why(guarded, lasting(current, former), lasting(epoch, new), crl) == reason
    same = lasting(current, former)
    assert why(guarded, same, lasting(current, new), crl) == "", "the same CRL has the same time of use"


def test_nothing_is_abnormal_of_a_ca_that_is_not_guarded(world, ca):
    """What is lost is counted, and no more: neither a loss, nor a time of use, nor a scope is a reason."""
    (current,) = world.accept(ca.crl(HELD, number=1, this_update=NOW - 5 * HOUR))
    crl = ca.crl({}, number=2, next_update=NOW + 3650 * DAY)
    (epoch,) = world.accept(crl)
    (authority,) = world.store.authorities()
    weighing, arrival = Weighing(world.store, world.indexing), Received.of(crl, "push", NOW)
    weight = weighing.weigh(authority, arrival, current, epoch)
    assert (weight.lost, weight.gained, weight.before, weight.why) == (10, 0, 10, "")
    assert weighing.weigh(authority, arrival, None, epoch).why == ""
