"""What an instance takes along when its facts move into another store, over every store that they move to."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from tests.contract.backends import BACKENDS
from tests.contract.test_mirror_store import full

from vouchd.cloning.moving import copy_facts
from vouchd.core.facts import Facts


@pytest.fixture
def source(tmp_path):
    """A store that has some of every kind."""
    backend = BACKENDS["sqlite"](tmp_path / "source")
    yield backend.open()
    backend.close()


def test_every_kind_of_fact_is_copied_but_members(source, store):
    """Nothing that the instance knew is forgotten on the way: no signer, no CRL that waits for an agent, no approval."""
    facts = full(source)
    assert [field.name for field in fields(Facts) if getattr(facts, field.name) == getattr(Facts(), field.name)] == []
    assert copy_facts(facts, source, store)
    assert store.authorities() == facts.authorities
    assert [replace(epoch, sequence=0) for epoch in store.epochs()] == [
        replace(epoch, sequence=0) for epoch in facts.epochs
    ]
    assert store.quarantined() == facts.quarantined
    assert store.users() == facts.users
    assert store.members() == ()
    assert replace(store.keyring(), change=0) == replace(facts.keyring, change=0, unasked=())
    assert replace(store.approvals(), change=0) == replace(facts.approvals, change=0)
    for point, *mark in facts.high_water:
        assert store.high_water(point) == tuple(mark)


def test_copy_made_again_copies_nothing(source, store):
    """What was cut short is done again without harm."""
    facts = full(source)
    copy_facts(facts, source, store)
    assert copy_facts(facts, source, store) == 0
