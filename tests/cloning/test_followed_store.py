"""The store of an instance that follows a master: it is changed by taking over facts and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from tests.faults.site import Site
from tests.memory_store import MemoryStore
from tests.pki import CA
from tests.service.recording import AGENT, RecordingAudit

from vouchd.cloning.followed_store import FollowedStore
from vouchd.core.facts import User
from vouchd.errors import PermissionDenied
from vouchd.service.approvals import FourEyes
from vouchd.service.permission import Action, Permission


@dataclass
class FixedClock:
    """A clock that stands."""

    at: int

    def now(self) -> int:
        return self.at


CHANGES = (
    "put_authority",
    "put_authorities",
    "remove_authority",
    "commit_epoch",
    "commit_epochs",
    "put_quarantined",
    "drop_quarantined",
    "put_user",
    "remove_user",
    "put_token",
    "put_keyring",
    "put_approvals",
)


@pytest.fixture
def followed(tmp_path):
    """A followed store that has taken over the facts of a master with one CA."""
    master = Site(tmp_path)
    master.add_ca(CA.create().der)
    store = FollowedStore(tmp_path / "followed.sqlite")
    store.adopt(master.store.facts(), {})
    yield store
    store.close()
    master.close()


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_facts_is_refused_and_names_the_way(followed, change):
    """Whatever would change a fact is refused with a hint to the master, and changes nothing."""
    before = followed.facts()
    with pytest.raises(PermissionDenied, match="follows its master") as refused:
        getattr(followed, change)(None)
    assert "vouchd domain members" in refused.value.hint
    assert followed.facts() == before


def test_what_needs_two_agents_is_asked_for_and_decided_at_the_master(tmp_path):
    """A clone that follows shows what waits at its master, takes no request, and lets nobody decide."""
    master, followed = MemoryStore(), FollowedStore(tmp_path / "followed.sqlite")
    users = replace(master.facts(), users=(User(AGENT.name, AGENT.name, AGENT.groups),))
    audit, clock = RecordingAudit(), FixedClock(150)
    at_master = FourEyes(master, Permission(audit), audit, clock, 600)
    right = Action.DECLARE_COMPROMISED
    approval = at_master.request("authorities.compromised", {"path": {}, "query": {}, "body": None}, right, AGENT)
    followed.adopt(replace(users, approvals=master.approvals()), {})
    here = FourEyes(followed, Permission(audit), audit, clock, 600)
    assert here.approvals(AGENT) == (approval,)
    second = replace(AGENT, name="bob")
    for act in (
        lambda: here.request("authorities.remove", {"path": {}}, right, AGENT),
        lambda: here.approve(approval.id, lambda _: right, second),
        lambda: here.deny(approval.id, lambda _: right, second),
    ):
        with pytest.raises(PermissionDenied, match="follows its master"):
            act()
    assert here.approvals(AGENT) == (approval,)
    followed.close()


def test_facts_of_the_master_are_taken_over(followed):
    """Taking over is what such a store is for."""
    assert len(followed.authorities()) == 1
