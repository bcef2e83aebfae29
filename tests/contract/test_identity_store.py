"""The contract of IdentityStore, sentence by sentence, over every store."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from tests.contract.backends import CA

from vouchd.core.facts import Group, User
from vouchd.core.ports import IdentityStore
from vouchd.errors import AlreadyExists, LastAdministrator, NotFound, StoreConflict

ADMIN = User("admin", "The administrator", frozenset({Group.ADMINISTRATORS, Group.AUDITORS}), (b"\x30\x01",))
ALICE = User("alice", "Alice Ëxample", frozenset({Group.AGENTS}), (b"\x30\x02", b"\x30\x03\xff"))


@pytest.fixture
def peopled(store) -> IdentityStore:
    """A store with an administrator and an agent."""
    store.put_user(ADMIN, None)
    store.put_user(ALICE, None)
    return store


def facts(store) -> tuple:
    """What a refused change must leave alone."""
    return store.revision(), store.users()


def test_users_empty_store_none(store):
    """A new store has no users, and says so without an error."""
    assert store.users() == ()


def test_users_ordered_by_id_come_back_as_put(store):
    """Every field of a user survives the store, and the users are ordered by id."""
    nobody = User("Bob", "Bob", enabled=False)
    for user in (ALICE, nobody, ADMIN):
        store.put_user(user, None)
    assert store.users() == (nobody, ADMIN, ALICE)


def test_put_user_in_place_of_the_one_read(peopled):
    """A change takes the place of what the caller has read."""
    changed = replace(ALICE, groups=frozenset({Group.AUDITORS}), certificates=(b"\x30\x09",), enabled=False)
    peopled.put_user(changed, ALICE)
    assert peopled.users() == (ADMIN, changed)


@pytest.mark.parametrize(
    "user, replaces",
    [
        (replace(ALICE, full_name="A"), None),
        (replace(ALICE, full_name="A"), replace(ALICE, enabled=False)),
        (User("carol", "Carol"), User("carol", "Carol")),
    ],
    ids=["is there already", "was changed meanwhile", "was removed meanwhile"],
)
def test_put_user_not_what_was_read_conflict_and_nothing_changed(peopled, user, replaces):
    """Who has not seen the latest change may not overwrite it: a group taken away must not come back."""
    before = facts(peopled)
    with pytest.raises(StoreConflict):
        peopled.put_user(user, replaces)
    assert facts(peopled) == before


def test_put_user_certificate_of_another_refused_and_nothing_changed(peopled):
    """A certificate names one user."""
    before = facts(peopled)
    with pytest.raises(AlreadyExists, match="alice"):
        peopled.put_user(User("carol", "Carol", certificates=(b"\x30\x07", ALICE.certificates[1])), None)
    with pytest.raises(AlreadyExists, match="admin"):
        peopled.put_user(replace(ALICE, certificates=ADMIN.certificates), ALICE)
    assert facts(peopled) == before


def test_put_user_certificate_taken_away_is_free_again(peopled):
    """What a user no longer has another may get."""
    peopled.put_user(replace(ALICE, certificates=()), ALICE)
    carol = User("carol", "Carol", certificates=ALICE.certificates)
    peopled.put_user(carol, None)
    peopled.remove_user("carol")
    peopled.put_user(replace(carol, id="dave"), None)
    assert [user.id for user in peopled.users()] == ["admin", "alice", "dave"]


@pytest.mark.parametrize(
    "change", [{"groups": frozenset({Group.AGENTS})}, {"enabled": False}], ids=lambda c: next(iter(c))
)
def test_put_user_last_administrator_stays(peopled, change):
    """Nobody may shut everybody out: the last enabled Administrator keeps group and access."""
    before = facts(peopled)
    with pytest.raises(LastAdministrator) as caught:
        peopled.put_user(replace(ADMIN, **change), ADMIN)
    assert caught.value.hint
    assert facts(peopled) == before
    second = replace(ALICE, groups=frozenset({Group.ADMINISTRATORS}))
    peopled.put_user(second, ALICE)
    peopled.put_user(replace(ADMIN, **change), ADMIN)
    assert peopled.users() == (replace(ADMIN, **change), second)


def test_put_user_without_any_administrator_yet(store):
    """Where there never was an Administrator there is none to protect."""
    store.put_user(ALICE, None)
    store.put_user(replace(ALICE, enabled=False), ALICE)
    store.remove_user("alice")
    assert store.users() == ()


def test_remove_user_and_again_not_found(peopled):
    """Removing takes the user with all it had; removing what is not there is NotFound."""
    peopled.remove_user("alice")
    assert peopled.users() == (ADMIN,)
    with pytest.raises(NotFound):
        peopled.remove_user("alice")


def test_remove_user_last_administrator_stays(peopled):
    """The last enabled Administrator cannot be removed; a disabled one beside it does not count."""
    disabled = User("carol", "Carol", frozenset({Group.ADMINISTRATORS}), enabled=False)
    peopled.put_user(disabled, None)
    before = facts(peopled)
    with pytest.raises(LastAdministrator):
        peopled.remove_user("admin")
    assert facts(peopled) == before
    peopled.remove_user("carol")


def test_users_changes_raise_the_revision_that_everybody_watches(backend):
    """Users and CAs have one revision; another handle sees it rise with each change of users."""
    ours, theirs = backend.open(), backend.open()
    seen = [theirs.revision()]
    for change in (
        lambda: ours.put_user(ADMIN, None),
        lambda: ours.put_authority(CA),
        lambda: ours.put_user(ALICE, None),
        lambda: ours.remove_user("alice"),
    ):
        change()
        seen.append(theirs.revision())
    assert seen == sorted(set(seen))
    assert theirs.users() == (ADMIN,)


def test_users_reopened_store_holds_them(backend):
    """Users survive closing; CAs do not disturb them, nor they the CAs."""
    store = backend.open()
    store.put_user(ADMIN, None)
    store.put_authority(CA)
    store.remove_authority(CA.id)
    store.close()
    assert backend.open().users() == (ADMIN,)


def test_remove_user_two_administrators_race_one_stays(backend):
    """Two administrators who remove each other at once do not leave the instance without any."""
    ours, theirs = backend.open(), backend.open()
    second = replace(ADMIN, id="second", certificates=())
    ours.put_user(ADMIN, None)
    ours.put_user(second, None)
    start = threading.Barrier(2)
    results: list[str] = []

    def remove(store: IdentityStore, user_id: str) -> None:
        start.wait()
        try:
            store.remove_user(user_id)
            results.append("removed")
        except LastAdministrator:
            results.append("kept")

    threads = [threading.Thread(target=remove, args=pair) for pair in ((ours, "second"), (theirs, "admin"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["kept", "removed"]
    assert len(ours.users()) == 1
