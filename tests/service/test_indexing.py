"""The index files that the facts of the store call for."""

from __future__ import annotations

from tests.pki import HOUR, NOW, serial_octets
from tests.service.recording import AGENT
from tests.service.world import (
    HOLD,
    REMOVE,
    World,
)

from vouchd.core.facts import AuthorityPolicy


def test_missing_index_is_rebuilt_from_the_store(world, ca):
    """An index file that was lost comes back from the documents, with the delta merged."""
    world.accept(ca.crl({1: HOLD, 2: None}, number=10, this_update=NOW - 2 * HOUR))
    world.accept(ca.crl({1: REMOVE, 4: None}, number=11, base=10))
    world.indexes.files.clear()
    facts = world.indexing.prepare()
    assert facts.epochs == world.store.epochs()
    assert (facts.revision, facts.authorities) == (world.store.revision(), world.store.authorities())
    assert set(world.served()) == {2, 4}


def test_prepare_in_order_builds_nothing(world, ca):
    """Looking at a store whose index files are all there costs no building."""
    world.accept(ca.crl({1: None}))
    built = world.indexes.built
    world.indexing.prepare()
    assert world.indexes.built == built


def test_prepare_makes_the_issued_serials_file(world, ca):
    """The list of issued serials is served from a file too."""
    world.authorities.set_issued_serials("CN=Lab CA", b"1\n2\n", AGENT)
    world.indexing.prepare()
    (serials,) = world.indexes.files.values()
    assert set(serials) == {serial_octets(1), serial_octets(2)}


def test_prepare_store_changes_meanwhile_facts_are_of_one_revision(world, ca):
    """A change between two readings is not mixed into the facts."""
    world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    world.indexes.files.clear()
    newer = ca.crl({2: None}, number=2)
    original, once = world.store.authorities, [newer]

    def authorities():
        if once:
            World(world.store).accept(once.pop())
        return original()

    world.store.authorities = authorities
    facts = world.indexing.prepare()
    assert facts.revision == world.store.revision()
    assert [epoch.base.crl_number for epoch in facts.epochs] == [2]


def test_collect_garbage_removes_what_nothing_names(world, ca):
    """Files of old epochs go, those of current epochs and lists stay."""
    (old,) = world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    (new,) = world.accept(ca.crl({2: None}, number=2))
    world.authorities.set_issued_serials("CN=Lab CA", b"1\n", AGENT)
    world.indexing.prepare()
    assert world.indexing.collect_garbage() == {old.index_name}
    assert new.index_name in world.indexes.names()
    assert len(world.indexes.names()) == 2


def test_policy_default_holds_nothing_back():
    """Quarantine is off until an operator sets a share."""
    assert AuthorityPolicy().quarantine_percent is None
