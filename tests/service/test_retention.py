"""Which CRLs of before an issuing point keeps in the store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pki import CA, HOUR, NOW
from tests.serving import point

from vouchd.core.facts import CRLRecord, Epoch
from vouchd.errors import NotFound
from vouchd.service.arrivals import NOTHING_KEPT, Retention
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission

EPOCH = point(CA.create("CA one")).epoch


def record(number: int, size: int = 100) -> CRLRecord:
    """The CRL of that number, each a second newer than the one before."""
    return CRLRecord(f"{number:064x}", size, NOW + number, NOW + HOUR, number)


def epoch(*crls: CRLRecord, former: tuple[CRLRecord, ...] = ()) -> Epoch:
    """An epoch of a base, and perhaps a delta."""
    return replace(EPOCH, base=crls[0], delta=crls[1] if len(crls) > 1 else None, former=former)


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (NOTHING_KEPT, ()),
        (Retention(1, 1000), (3,)),
        (Retention(2, 1000), (3, 2)),
        (Retention(9, 1000), (3, 2, 1)),
        (Retention(9, 299), (3, 2)),
        (Retention(9, 300), (3, 2, 1)),
        (Retention(9, 0), ()),
        (Retention(0, 1000), ()),
    ],
)
def test_crls_of_before_are_kept_up_to_a_number_and_a_size_the_newest_first(retention: Retention, kept: tuple):
    """What takes their place is none of them, and without one before there is none."""
    current = epoch(record(3), former=(record(2), record(1)))
    assert [one.crl_number for one in retention.former(current, epoch(record(4)))] == list(kept)
    assert retention.former(None, epoch(record(4))) == ()


def test_crl_that_is_too_large_costs_no_smaller_one_its_place():
    """It is passed over, and older ones that fit are kept."""
    current = epoch(record(3, size=500), former=(record(2, size=60), record(1, size=40)))
    assert [one.crl_number for one in Retention(2, 100).former(current, epoch(record(4)))] == [2, 1]


def test_crl_that_is_in_use_is_not_one_of_before():
    """The base under a new delta is in use still; the delta in whose place it comes is not."""
    current = epoch(record(1), record(2), former=(record(0),))
    kept = Retention(9, 1000).former(current, epoch(record(1), record(3)))
    assert [one.crl_number for one in kept] == [2, 0]


def test_ingesting_keeps_the_crls_of_before_that_it_is_told_to(world, ca):
    """Their documents stay in the store as long as an epoch names them, and no longer."""
    audit, retention = world.audit, Retention(2, 1 << 20)
    world.ingesting = Ingesting(world.store, world.indexing, Permission(audit), audit, retention=retention)
    crls = [ca.crl({number: None}, number=number, this_update=NOW - HOUR + number) for number in range(1, 5)]
    epochs = [world.accept(crl)[0] for crl in crls]
    assert [one.crl_number for one in epochs[-1].former] == [3, 2]
    assert [bytes(world.store.document(one.sha256)) for one in epochs[-1].former] == [crls[2], crls[1]]
    with pytest.raises(NotFound):
        world.store.document(epochs[0].base.sha256)
