"""The contract of MirrorStore over the stores that can follow another one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.contract.backends import (
    BACKENDS,
    CA,
    DELTA,
    FIRST,
    POINT,
    SECOND,
    Backend,
    a_quarantined,
    a_record,
    an_authority,
    an_epoch,
    sha256,
)
from tests.contract.test_approval_store import SOME
from tests.contract.test_domain_store import CLONE, MASTER
from tests.contract.test_identity_store import ADMIN, ALICE
from tests.contract.test_keyring_store import RING

from vouchd.core import records
from vouchd.core.approval_facts import Approvals
from vouchd.core.changes import NEVER, Concerned
from vouchd.core.facts import Facts
from vouchd.core.records import concerned_record, facts_record, read_concerned, read_facts
from vouchd.core.signer_facts import Keyring
from vouchd.errors import NotFound


@pytest.fixture(params=["memory", "sqlite"])
def backend(request, tmp_path) -> Iterator[Backend]:
    backend = BACKENDS[request.param](tmp_path)
    yield backend
    backend.close()


def full(store) -> Facts:
    """The facts of a store that has some of every kind."""
    store.put_authority(CA)
    store.put_authority(an_authority("b"))
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    store.commit_epoch(an_epoch(CA, 2, delta=a_record(DELTA, 2, 1100, 1)), {sha256(DELTA): DELTA})
    store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    for user in (ADMIN, ALICE):
        store.put_user(user, None)
    store.put_keyring(RING, Keyring())
    store.put_approvals(SOME, Approvals())
    for member in (MASTER, CLONE):
        store.put_member(member, None)
    return store.facts()


DOCUMENTS = {sha256(document): document for document in (FIRST, SECOND, DELTA)}


def test_facts_are_what_the_other_methods_tell(store):
    """One view holds what every single question is answered with."""
    facts = full(store)
    content = (
        store.authorities(),
        store.epochs(),
        store.quarantined(),
        store.users(),
        store.members(),
        store.keyring(),
    )
    assert store.approvals() == facts.approvals
    assert content == (facts.authorities, facts.epochs, facts.quarantined, facts.users, facts.members, facts.keyring)
    assert [mark for mark in facts.high_water if mark[0] == POINT] == [(POINT, *store.high_water(POINT))]


def test_adopt_takes_former_crls_and_lets_them_go(backend):
    """What the other store keeps of before is kept here, under its bounds and not under ours."""
    store = backend.open()
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    facts = store.facts()
    kept = replace(facts, epochs=(an_epoch(CA, 2, a_record(SECOND, 2, 1100), former=(a_record(DELTA),)),))
    assert set(store.lacking(kept)) == {sha256(SECOND), sha256(DELTA)}
    store.adopt(read_facts(facts_record(kept)), DOCUMENTS)
    assert store.epoch(POINT).former == (a_record(DELTA),)
    assert store.document(sha256(DELTA)) == DELTA
    store.adopt(facts, DOCUMENTS)
    assert store.epoch(POINT).former == ()
    with pytest.raises(NotFound):
        store.document(sha256(DELTA))


def test_facts_survive_their_record(store):
    """What travels between members as JSON is what was sent."""
    facts = full(store)
    read = records.from_json(records.to_json(facts_record(facts)), read_facts)
    assert read == facts
    concerned = Concerned(frozenset({CA.id}), frozenset({POINT}))
    assert read_concerned(json.loads(records.to_json(concerned_record(concerned)))) == concerned


def test_adopt_makes_another_store_equal(store, tmp_path):
    """A store that adopted the facts has them all, and their documents, whatever it held before."""
    facts = full(store)
    other = BACKENDS["sqlite"](tmp_path / "other").open()
    other.put_authority(an_authority("c"))
    other.commit_epoch(an_epoch(an_authority("c"), base=a_record(b"own", 1)), {sha256(b"own"): b"own"})
    assert sorted(other.lacking(facts)) == sorted(DOCUMENTS)
    other.adopt(facts, DOCUMENTS)
    mirrored = other.facts()
    assert replace(mirrored, high_water=()) == replace(facts, high_water=())
    assert set(mirrored.high_water) > set(facts.high_water)
    assert {name: other.document(name) for name in DOCUMENTS} == DOCUMENTS
    assert other.lacking(facts) == ()
    other.close()


def test_adopt_without_a_document_is_not_found_and_changes_nothing(store):
    """Facts whose documents are not there are not taken, not even in part."""
    facts = Facts(authorities=(CA,), epochs=(an_epoch(CA),))
    before = store.revision()
    with pytest.raises(NotFound):
        store.adopt(facts, {})
    assert (store.revision(), store.facts()) == (before, Facts())


def test_adopt_drops_documents_that_nothing_names(store):
    """What the adopted facts no longer name is gone."""
    facts = full(store)
    store.adopt(replace(facts, quarantined=()), {})
    with pytest.raises(NotFound):
        store.document(sha256(SECOND))


def test_adopt_never_lowers_a_high_water_mark(store):
    """Following a master that knows less does not open the way to a rollback."""
    facts = full(store)
    lower = replace(facts, high_water=((POINT, 1, 5000),))
    store.adopt(lower, {})
    assert store.high_water(POINT) == (2, 5000)


def test_adopt_lowers_a_mark_where_numbers_were_lowered(store):
    """An administrator's word at the master is everyone's: the mark falls with the epoch that says so."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, base=a_record(FIRST, 1007, 5000)), {sha256(FIRST): FIRST})
    lower = replace(an_epoch(CA, 2, base=a_record(SECOND, 8, 4000)), renumbered=1, renumbering="typing error")
    facts = replace(store.facts(), epochs=(lower,), high_water=((POINT, 8, 4000),))
    store.adopt(facts, {sha256(SECOND): SECOND})
    assert store.high_water(POINT) == (8, 4000)
    assert store.epochs() == (lower,)


def test_facts_since_a_revision_are_of_what_changed(store):
    """Of CAs and issuing points those that changed, with their marks; of what is of no CA all."""
    full(store)
    now, facts, concerned = store.facts_since(NEVER)
    assert (now, facts, concerned) == (store.revision(), store.facts(), None)
    rest = replace(Facts(), users=facts.users, members=facts.members, keyring=facts.keyring, approvals=facts.approvals)
    assert store.facts_since(now)[1:] == (rest, Concerned())
    store.put_authority(an_authority("d"))
    store.drop_quarantined(POINT)
    _, part, changed = store.facts_since(now)
    assert changed == Concerned(frozenset({an_authority("d").id}), frozenset({POINT}))
    assert part.authorities == (an_authority("d"),)
    assert [epoch.issuing_point for epoch in part.epochs] == [POINT]
    assert [mark[0] for mark in part.high_water] == [POINT]
    assert part.quarantined == ()


def test_adopt_what_changed_leaves_the_others(store, tmp_path):
    """A part is taken over for what it is of: CAs and epochs that it does not tell of stay, those it says are gone go."""
    facts = full(store)
    other = BACKENDS["sqlite"](tmp_path / "other").open()
    other.adopt(facts, DOCUMENTS)
    revision = store.revision()
    store.remove_authority(an_authority("b").id)
    store.retire(CA, POINT.scope_id)
    store.put_authority(an_authority("d"))
    _, part, concerned = store.facts_since(revision)
    own = other.revision()
    other.adopt(part, {}, concerned)
    assert other.facts() == store.facts()
    changes = other.changes(own)
    assert changes.authorities == {an_authority("b").id: None, an_authority("d").id: an_authority("d")}
    assert set(changes.points) == {POINT}
    other.close()
