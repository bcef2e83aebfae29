"""The users known last: who may read while the store is away, and who has become an administrator without a word here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.memory_store import MemoryStore
from tests.pki import CA, NOW
from tests.service.recording import RecordingAudit

from vouchd.core.facts import Group, User
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingState
from vouchd.errors import StoreUnavailable
from vouchd.service.known_users import KnownUsers
from vouchd.service.permission import Action, Permission
from vouchd.service.users import Users

ADMINISTRATORS = frozenset({Group.ADMINISTRATORS})


class Desk:
    """A store with one administrator, and what is known of it."""

    def __init__(self, folder) -> None:
        self.path = folder / "users.json"
        self.store, self.audit = MemoryStore(), RecordingAudit()
        self.certificate = CA.create("Users CA").issue("admin", serial=7).der
        self.admin = User("admin", "Admin", ADMINISTRATORS, (self.certificate,))
        self.store.put_user(self.admin, None)
        self.begin()
        self.known.look()

    def begin(self) -> None:
        """What a new process begins with."""
        self.known = KnownUsers(self.store.users, self.path, self.audit)
        self.permission = Permission(self.audit)
        self.users = Users(self.store, self.permission, self.audit, self.known)

    def go_away(self, monkeypatch) -> None:
        def away() -> None:
            raise StoreUnavailable("away")

        monkeypatch.setattr(self.store, "revision", away)
        monkeypatch.setattr(self.store, "users", away)

    def identify(self, certificate: bytes):
        state = ServingState(0, ())
        return self.users.identify(certificate, "192.0.2.1", NOW, state=state, policy=ResponsePolicy())

    def planted(self) -> list[str]:
        seen = [detail for event, name, _, detail in self.audit.records if (event, name) == ("CONFIG_ROLE", "store")]
        return [detail["target"] for detail in seen]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.mark.parametrize("restarted", [False, True])
def test_user_known_last_may_read_while_the_store_is_away(desk, monkeypatch, restarted):
    """In the incident that the pages are for they can be looked at, also after a restart, and nothing is changed."""
    assert not desk.identify(desk.certificate).read_only
    if restarted:
        desk.begin()
    desk.go_away(monkeypatch)
    caller = desk.identify(desk.certificate)
    assert (caller.name, caller.read_only) == ("admin", True)
    desk.permission.allow(caller, Action.READ_CONFIGURATION, "*")
    for action in (Action.CHANGE_CONFIGURATION, Action.EXPORT_KEYS, Action.RESTART):
        with pytest.raises(StoreUnavailable, match="while the store is away"):
            desk.permission.allow(caller, action, "*")


def test_stranger_stays_outside_while_the_store_is_away(desk, monkeypatch):
    """Who was not known is not let in because nobody can look."""
    stranger = CA.create("Users CA").issue("other", serial=8).der
    desk.go_away(monkeypatch)
    with pytest.raises(StoreUnavailable):
        desk.identify(stranger)


def test_file_of_users_is_private(desk):
    """It tells who may do what."""
    assert desk.path.stat().st_mode & 0o777 == 0o600


def test_administrator_out_of_the_store_is_recorded_once(desk):
    """Who appears as an administrator, is made one, or gets another certificate is in this member's audit log."""
    assert not desk.planted()
    clerk = User("clerk", "Clerk", frozenset({Group.AUDITORS}), (b"1",))
    desk.store.put_user(clerk, None)
    desk.known.look()
    assert not desk.planted()
    made = replace(clerk, groups=ADMINISTRATORS)
    desk.store.put_user(made, clerk)
    desk.store.put_user(User("planted", "P", ADMINISTRATORS, (b"2",)), None)
    desk.begin()
    for _ in range(2):
        desk.known.look()
    assert desk.planted() == ["clerk", "planted"]
    desk.store.put_user(replace(made, certificates=(b"1", b"3")), made)
    desk.known.look()
    assert desk.planted() == ["clerk", "planted", "clerk"]


def test_user_known_last_is_kept_and_what_became_of_it_is_recorded_whole(desk):
    """By whom it was seen, who it is and in which groups; the file has what was read, and is read again after a start."""
    assert desk.known.users() == (desk.admin,)
    desk.store.put_user(User("planted", "P", frozenset({Group.ADMINISTRATORS, Group.AUDITORS}), (b"2",)), None)
    for _ in range(2):
        assert not desk.known.look(), "nothing that is served has changed"
    detail = {"target": "planted", "operation": "seen in the store", "groups": "Administrators, Auditors"}
    assert [one for one in desk.audit.records if one[1] == "store"] == [("CONFIG_ROLE", "store", "success", detail)]
    desk.begin()
    assert desk.known.users() == desk.store.users()
    desk.path.unlink()
    desk.begin()
    assert desk.known.users() == ()
    assert desk.known.by_certificate() == {}
