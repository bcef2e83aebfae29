"""The epoch that a CRL makes: what it keeps of the one before, and which key it names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pki import CA, HOUR, NOW, shared_key
from tests.service.recording import ADMIN, AGENT

from vouchd.errors import CRLRejected
from vouchd.pkix.certs import key_id
from vouchd.service import arrivals
from vouchd.service.arrivals import Received

RENEWED = CA.create("Lab CA", key=shared_key("EC", 5))


def test_epoch_names_the_key_of_the_newest_crl_in_it(world, ca):
    """A base takes the key of its own; under a delta that stays it is the delta's, which is what counts by then."""
    world.authorities.add(RENEWED.der, AGENT)
    old, new = key_id(ca.der), key_id(RENEWED.der)
    steps = [
        (ca.crl({}, number=10, this_update=NOW - 9 * HOUR), old),
        (RENEWED.crl({}, number=11, this_update=NOW - 8 * HOUR), new),
        (ca.crl({}, number=12, this_update=NOW - 7 * HOUR), old),
        (RENEWED.crl({1: None}, number=15, base=12, this_update=NOW - 6 * HOUR), new),
        (ca.crl({}, number=13, this_update=NOW - 5 * HOUR), new),
        (ca.crl({1: None}, number=16, base=12, this_update=NOW - 4 * HOUR), old),
        (RENEWED.crl({}, number=17, this_update=NOW - 3 * HOUR), new),
    ]
    for crl, expected in steps:
        (epoch,) = world.accept(crl)
        assert epoch.issuer_key == expected


@pytest.mark.parametrize("number", [8, 1005])
def test_lower_number_leaves_no_delta_of_the_order_before(world, ca, number: int):
    """Also where the numbers would fit: what a delta of that order says is of another base."""
    world.accept(ca.crl({5: None}, number=1000, this_update=NOW - 3 * HOUR))
    world.accept(ca.crl({6: None}, number=1010, base=1000, this_update=NOW - 2 * HOUR))
    (epoch,) = world.ingesting.accept_lower_number(ca.crl({7: None}, number=number), "file", ADMIN, NOW, "backup")
    assert epoch.delta is None
    assert set(world.served()) == {7}


@pytest.mark.parametrize(("number", "kept"), [(9, False), (10, True), (13, True), (14, False)])
def test_delta_stays_over_a_base_from_its_own_up_to_itself(world, ca, number: int, kept: bool):
    """RFC 5280 5.2.4: a base that has what the delta tells makes it superfluous; an older one is not taken under it."""
    world.accept(ca.crl({}, number=8, this_update=NOW - 5 * HOUR))
    (current,) = world.accept(ca.crl({1: None}, number=14, base=8, this_update=NOW - HOUR))
    arrival = Received.of(ca.crl({}, number=number, this_update=NOW - 2 * HOUR), "push", NOW)
    delta_over_ten = replace(current, delta=replace(current.delta, base_crl_number=10))
    epoch = arrivals.next_epoch(arrival, delta_over_ten, current.issuing_point, ca.der)
    assert (epoch.delta is not None) is kept


def test_crl_that_is_larger_than_any_is_refused_before_it_is_decoded(ca, monkeypatch):
    """Base64 takes more octets than DER, up to twice as many; what is larger still is not looked at."""
    crl = ca.crl({})
    monkeypatch.setattr(arrivals, "MAX_CRL_BYTES", len(crl) // 2 + 1)
    assert Received.of(crl, "push", NOW).crl == crl
    for limit in (len(crl) // 2 - 1, len(crl) // 3 + 1):
        monkeypatch.setattr(arrivals, "MAX_CRL_BYTES", limit)
        with pytest.raises(CRLRejected, match="bytes are too many"):
            Received.of(crl, "push", NOW)
    even = crl + b"\0" * (len(crl) % 2)
    monkeypatch.setattr(arrivals, "MAX_CRL_BYTES", len(even) // 2)
    if even == crl:
        assert Received.of(crl, "push", NOW).crl == crl
