"""The store of an instance that follows a master: it is changed by taking over facts and by nothing else."""

from __future__ import annotations

import pytest
from tests.faults.site import Site
from tests.pki import CA

from vouchd.cloning.followed_store import FollowedStore
from vouchd.errors import PermissionDenied

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


def test_facts_of_the_master_are_taken_over(followed):
    """Taking over is what such a store is for."""
    assert len(followed.authorities()) == 1
