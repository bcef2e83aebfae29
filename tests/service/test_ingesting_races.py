"""Another process commits while a CRL is being taken."""

from __future__ import annotations

import pytest
from tests.memory_store import MemoryStore
from tests.pki import HOUR, NOW
from tests.service.recording import AGENT
from tests.service.world import (
    World,
)

from vouchd.errors import (
    CRLStale,
    StoreConflict,
)


class Racing(MemoryStore):
    """A store in which others commit just before us, as often as `others` says."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list = []

    def commit_epoch(self, epoch, documents) -> None:
        if self.others:
            other = self.others.pop(0)
            other()
        super().commit_epoch(epoch, documents)


@pytest.fixture
def racing(ca):
    world = World(Racing())
    world.authorities.add(ca.der, AGENT)
    world.accept(ca.crl({1: None}, number=1, this_update=NOW - 5 * HOUR))
    return world


def overtake(world, crl: bytes):
    """Commit `crl` as another process would."""
    return lambda: World(world.store).accept(crl)


def test_another_writer_was_quicker_the_crl_is_judged_again_and_taken(racing, ca):
    """After a conflict the CRL is judged against the new epoch and follows it."""
    racing.store.others = [overtake(racing, ca.crl({2: None}, number=2, this_update=NOW - 2 * HOUR))]
    (epoch,) = racing.accept(ca.crl({3: None}, number=3))
    assert (epoch.sequence, set(racing.served())) == (3, {3})


def test_another_writer_brought_a_newer_crl_ours_is_stale(racing, ca):
    """After a conflict a CRL may have become the older one."""
    racing.store.others = [overtake(racing, ca.crl({3: None}, number=3))]
    with pytest.raises(CRLStale):
        racing.accept(ca.crl({2: None}, number=2, this_update=NOW - 2 * HOUR))
    (epoch,) = racing.store.epochs()
    assert epoch.base.crl_number == 3


def test_another_writer_was_quicker_twice_conflict(racing, ca):
    """It is tried twice, not for ever."""
    racing.store.others = [
        overtake(racing, ca.crl({2: None}, number=2, this_update=NOW - 4 * HOUR)),
        lambda: None,
        overtake(racing, ca.crl({3: None}, number=3, this_update=NOW - 3 * HOUR)),
    ]
    with pytest.raises(StoreConflict):
        racing.accept(ca.crl({4: None}, number=4))
