"""The index files that the facts of the store call for."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.contract.backends import FIRST, an_authority, an_epoch
from tests.memory_store import MemoryStore
from tests.pki import CA, HOUR, NOW, serial_octets, shared_key
from tests.service.recording import AGENT
from tests.service.world import (
    HOLD,
    REMOVE,
    World,
)

from vouchd.core.changes import NEVER
from vouchd.core.facts import AuthorityFacts, AuthorityPolicy, by_authority
from vouchd.service.indexing import revised


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


def test_prepare_from_former_facts_looks_at_what_changed(world, ca):
    """One CRL among many CAs costs one CA: nobody looks at the facts or files of the others."""
    other = CA.create("Other CA", key=shared_key(number=2))
    world.authorities.add(other.der, AGENT)
    world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    world.accept(other.crl({2: None}, number=1))
    former = world.indexing.prepare()
    (newer,) = world.accept(ca.crl({1: None, 3: None}, number=2))
    looked_at: list[str] = []
    whole = world.indexes.is_intact
    world.indexes.is_intact = lambda name: looked_at.append(name) or whole(name)
    facts = world.indexing.prepare(former)
    assert facts.concerned == {newer.issuing_point.authority_id}
    assert set(looked_at) == {newer.index_name}
    assert facts.served == world.indexing.prepare().served
    assert world.indexing.prepare(facts).concerned == frozenset()


def test_prepare_looks_again_at_the_files_of_suspects(world, ca):
    """A file that somebody found damaged is made again although nothing changed in the store."""
    (epoch,) = world.accept(ca.crl({1: None}))
    former = world.indexing.prepare()
    world.indexes.files.clear()
    assert world.indexing.prepare(former).rebuilt == frozenset()
    suspect = epoch.issuing_point.authority_id
    assert world.indexing.prepare(former, [suspect]).rebuilt == {suspect}
    assert set(world.served()) == {1}


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12), st.booleans())
def test_revised_facts_are_those_of_the_store(steps, whole):
    """Whatever changes, and however much of it at once is told, what is kept equals what the store holds."""
    store = MemoryStore()
    cas = [an_authority(name) for name in "abc"]
    known: dict[str, AuthorityFacts] = {}
    revision = NEVER
    for step, (number, expected) in enumerate(steps):
        ca = cas[number % 3]
        registered = {one.id for one in store.authorities()}
        if number >= 3 and ca.id in registered:
            store.remove_authority(ca.id)
        elif ca.id not in registered:
            store.put_authority(ca)
        else:
            (former,) = store.epochs_of(ca.id) or (None,)
            epoch = replace(an_epoch(ca), sequence=(former.sequence if former else 0) + 1, accepted_at=step)
            store.commit_epoch(epoch, {epoch.base.sha256: FIRST})
        if expected or step + 1 == len(steps):
            changes = store.changes(NEVER if whole else revision)
            known, changed = revised(known, changes)
            revision = changes.revision
            assert changed <= {one.id for one in cas}
    assert known == by_authority(store.authorities(), store.epochs())


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
    original, once = world.store.changes, [newer]

    def changes(since):
        facts = original(since)
        if once:  # it takes the documents of what was just read along
            World(world.store).accept(once.pop())
        return facts

    world.store.changes = changes
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
