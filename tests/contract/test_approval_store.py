"""The contract of ApprovalStore, sentence by sentence, over every store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.test_domain_store import TOKEN, in_threads
from tests.contract.test_keyring_store import RING

from vouchd.core.approval_facts import Approval, Approvals, ApprovalState
from vouchd.core.signer_facts import Keyring
from vouchd.errors import StoreConflict

WAITING = Approval("aa" * 8, "authorities.remove", '{"body":null,"path":{},"query":{}}', "alice", "192.0.2.1", 100, 200)
DONE = replace(
    WAITING, id="bb" * 8, state=ApprovalState.DONE, decided_by="bob", decided_at=150, outcome="é was removed"
)
SOME = Approvals(entries=(WAITING, DONE))


def test_approvals_of_a_new_store_are_none(store):
    """A store that was never told of any says so without an error."""
    assert store.approvals() == Approvals()


def test_put_approvals_come_back_as_put_and_counted(store):
    """Every field survives the store; the change is counted, and raises the revision."""
    before = store.revision()
    store.put_approvals(SOME, Approvals())
    assert store.approvals() == replace(SOME, change=1)
    assert store.revision() > before


def test_put_approvals_in_place_of_those_read(backend):
    """A change takes the place of what was read; another handle sees the new ones alone."""
    store = backend.open()
    store.put_approvals(SOME, Approvals())
    store.put_approvals(Approvals(entries=(DONE,)), store.approvals())
    assert backend.open().approvals() == Approvals(2, (DONE,))


@pytest.mark.parametrize("replaces", [Approvals(), replace(SOME, change=7)], ids=["before the first", "others"])
def test_put_approvals_not_as_read_is_a_conflict_and_changes_nothing(store, replaces):
    """Approvals that are not as the caller has read them are left alone."""
    store.put_approvals(SOME, Approvals())
    before = store.revision()
    with pytest.raises(StoreConflict):
        store.put_approvals(Approvals(), replaces)
    assert (store.revision(), store.approvals()) == (before, replace(SOME, change=1))


def test_put_approvals_by_several_at_once_one_wins(backend):
    """Of several that decide as they have read it, one does."""
    outcomes = in_threads(6, lambda _: backend.open().put_approvals(SOME, Approvals()))
    assert sorted(outcomes) == ["", *["StoreConflict"] * 5]
    assert backend.open().approvals().change == 1


def test_put_approvals_leaves_other_facts_of_the_domain(store):
    """They lie beside the keyring and the join tokens and do not touch them."""
    store.put_token(TOKEN)
    store.put_keyring(RING, Keyring())
    store.put_approvals(SOME, Approvals())
    assert (store.token(TOKEN.digest), store.keyring()) == (TOKEN, replace(RING, change=1))
