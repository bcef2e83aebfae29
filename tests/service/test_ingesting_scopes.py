"""Partitioned and indirect CRLs: RFC 5280 sections 5.2.5 and 5.3.3."""

from __future__ import annotations

import pytest
from tests.pki import CA, HOUR, NOW, shared_key
from tests.service.recording import AGENT
from tests.service.world import (
    indirect_crl,
    partition,
    user_certificates,
)

from vouchd.errors import (
    CRLOutOfOrder,
    CRLQuarantined,
    CRLRejected,
    CRLStale,
)


def test_partitions_are_issuing_points_of_their_own(world, ca):
    """Each distribution point has its own epochs and numbers."""
    parts = [partition(f"http://ca.test/{number}.crl") for number in (1, 2)]
    for serial, part in enumerate(parts, 1):
        world.accept(ca.crl({serial: None}, number=5, idp=part))
    first, second = world.store.epochs()
    assert first.issuing_point != second.issuing_point
    assert {first.sequence, second.sequence} == {1}
    assert set(world.entries(first)) | set(world.entries(second)) == {1, 2}
    assert first.idp_der
    with pytest.raises(CRLStale):
        world.accept(ca.crl({9: None}, number=4, idp=parts[0], this_update=NOW - 2 * HOUR))


def test_delta_of_another_scope_is_out_of_order(world, ca):
    """A delta fits only the base of its own scope."""
    world.accept(ca.crl({}, number=10, this_update=NOW - 3 * HOUR))
    with pytest.raises(CRLOutOfOrder):
        world.accept(ca.crl({1: None}, number=11, base=10, idp=user_certificates()))


def test_indirect_crl_serves_each_ca_its_own_entries(world, ca):
    """One indirect CRL makes an epoch of every CA that takes it, each with its own entries."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    other = CA.create("Other CA", key=shared_key("EC", 6))
    world.authorities.add(other.der, AGENT)
    for each in (ca, other):
        world.set_policy(each, crl_issuers=(issuer.der,))
    epochs = world.accept(indirect_crl(issuer, [(1, "Lab CA"), (2, None), (3, "Other CA"), (4, "Third CA")], 1))
    by_ca = {epoch.issuing_point.authority_id: epoch for epoch in epochs}
    assert set(world.entries(by_ca[world.authorities.find("CN=Lab CA").id])) == {1, 2}
    assert set(world.entries(by_ca[world.authorities.find("CN=Other CA").id])) == {3}


def test_indirect_crl_of_an_issuer_that_nobody_named_is_rejected(world, ca):
    """Whoever signs an indirect CRL must have been named for the CA."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    with pytest.raises(CRLRejected, match="CRL issuer"):
        world.accept(indirect_crl(issuer, [(1, "Lab CA")], 1))


def test_direct_crl_of_a_named_issuer_is_not_for_the_ca(world, ca):
    """A named issuer's ordinary CRL speaks of its own certificates, not of the CA's."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    world.set_policy(ca, crl_issuers=(issuer.der,))
    with pytest.raises(CRLRejected):
        world.accept(issuer.crl({1: None}))
    assert world.store.epochs() == ()


def test_indirect_crl_one_ca_late_gets_its_epoch_on_resending(world, ca):
    """Sent again, an indirect CRL reaches the CA that was registered meanwhile; the other's is held already."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    world.set_policy(ca, crl_issuers=(issuer.der,))
    crl = indirect_crl(issuer, [(1, "Lab CA"), (3, "Other CA")], 1)
    world.accept(crl)
    other = CA.create("Other CA", key=shared_key("EC", 6))
    added = world.authorities.add(other.der, AGENT).subject
    world.set_policy(other, crl_issuers=(issuer.der,))
    (epoch,) = world.accept(crl)
    assert epoch.issuing_point.authority_id == added.id
    with pytest.raises(CRLStale):
        world.accept(crl)


def test_indirect_crl_held_back_for_one_ca_is_taken_for_the_other(world, ca):
    """The CA whose policy finds it abnormal keeps its epoch and the sender is told; the other CA has the new one."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    other = CA.create("Other CA", key=shared_key("EC", 6))
    world.authorities.add(other.der, AGENT)
    world.set_policy(ca, crl_issuers=(issuer.der,), quarantine_percent=20)
    world.set_policy(other, crl_issuers=(issuer.der,))
    world.accept(indirect_crl(issuer, [(1, "Lab CA"), (3, "Other CA")], 1))
    with pytest.raises(CRLQuarantined):
        world.accept(indirect_crl(issuer, [(4, "Other CA")], 2))
    numbers = {epoch.issuing_point.authority_id: epoch.base.crl_number for epoch in world.store.epochs()}
    assert world.audit.events[-2:] == [("CRL_RETRIEVAL", "success"), ("CRL_VALIDATION", "failure")]
    assert numbers == {world.authorities.find("CN=Lab CA").id: 1, world.authorities.find("CN=Other CA").id: 2}
