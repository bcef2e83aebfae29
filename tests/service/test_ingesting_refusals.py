"""Who is told of a CRL that was not taken: the sender always, the instance where it is one to look at."""

from __future__ import annotations

import pytest
from tests.pki import CA, HOUR, NOW, new_key, shared_key
from tests.service.recording import ADMIN, AGENT
from tests.service.world import indirect_crl

from vouchd.errors import CRLForked, CRLQuarantined, CRLRejected, CRLStale
from vouchd.service.ingesting import MAX_REASON_CHARACTERS, Ingesting
from vouchd.service.permission import Permission


@pytest.fixture
def refusals(world):
    """What the instance is told, while the world's CRLs are taken."""
    refusals: list[tuple] = []
    permission = Permission(world.audit)
    world.ingesting = Ingesting(
        world.store, world.indexing, permission, world.audit, lambda *refusal: refusals.append(refusal)
    )
    return refusals


def test_crl_of_a_ca_that_is_not_taken_is_told_to_the_instance(world, ca, refusals):
    """Which CA's, how many that has taken, the CRL itself and why; nothing of one that is old or held back."""
    lab = world.store.authorities()[0].id
    world.accept(ca.crl(dict.fromkeys(range(1, 11)), number=1, this_update=NOW - 5 * HOUR))
    newest = ca.crl(dict.fromkeys(range(1, 11)), number=2, this_update=NOW - 4 * HOUR)
    world.accept(newest)
    world.set_policy(ca, quarantine_percent=20)
    for crl, kind in ((newest, CRLStale), (ca.crl({}, number=3), CRLQuarantined)):
        with pytest.raises(kind):
            world.accept(crl)
    assert refusals == []
    for crl, kind in ((ca.crl({}, number=2), CRLForked), (ca.crl({}, number=4, key=new_key()), CRLRejected)):
        with pytest.raises(kind) as refused:
            world.accept(crl)
        ((authority_id, taken, arrival, error),) = refusals
        assert (authority_id, taken, arrival.crl, error) == (lab, 2, crl, refused.value)
        refusals.clear()


def test_crl_of_nobodys_is_told_to_its_sender_alone(world, refusals):
    """It names no CA that could be looked at."""
    for crl in (b"junk", CA.create("Stranger", key=shared_key("EC", 4)).crl()):
        with pytest.raises(CRLRejected):
            world.accept(crl)
    assert refusals == []


@pytest.mark.parametrize("forked_first", [True, False])
def test_sender_of_a_crl_for_several_cas_is_told_what_has_to_be_looked_at(world, ca, forked_first: bool):
    """That one has it already, or that it is not signed for another, hides nothing that a third one says."""
    issuer, other = CA.create("CRL issuer", key=shared_key("EC", 5)), CA.create("Other CA", key=shared_key("EC", 6))
    namesake = CA.create("CRL issuer", key=shared_key("EC", 7))
    world.authorities.add(other.der, AGENT)
    first, second = (ca, other) if forked_first else (other, ca)
    crl = indirect_crl(issuer, [(1, "Lab CA"), (3, "Other CA")], 1)
    for each, entries in ((first, [(9, "Lab CA")]), (second, None)):
        world.set_policy(first, crl_issuers=(issuer.der,) if each is first else ())
        world.set_policy(second, crl_issuers=(issuer.der,) if each is second else ())
        world.accept(crl if entries is None else indirect_crl(issuer, entries, 1))
    world.set_policy(first, crl_issuers=(issuer.der,))
    with pytest.raises(CRLForked):
        world.accept(crl)
    world.set_policy(first, crl_issuers=(namesake.der,))
    with pytest.raises(CRLStale):
        world.accept(crl)


def test_reason_for_a_lower_number_may_be_as_long_as_is_said(world, ca):
    """500 characters are a reason, and one more is none: see the tests of who may."""
    world.accept(ca.crl({}, number=9))
    reason = "x" * MAX_REASON_CHARACTERS
    (epoch,) = world.ingesting.accept_lower_number(ca.crl({}, number=1), "file", ADMIN, NOW, reason)
    assert (epoch.renumbering, epoch.origin) == (reason, "file")
