"""Users: every change needs the right, leaves its record, and keeps the rules."""

from __future__ import annotations

import base64

import pytest
from tests.memory_store import MemoryStore
from tests.pki import CA
from tests.service.recording import ADMIN, AGENT, AUDITOR, FullAudit, RecordingAudit

from vouchd.core.facts import Group
from vouchd.errors import AlreadyExists, ConfigError, LastAdministrator, NotFound, PermissionDenied, StoreUnavailable
from vouchd.service import users as users_module
from vouchd.service.permission import Permission
from vouchd.service.usercertificates import MAX_CERTIFICATE_BYTES, describe, fingerprint
from vouchd.service.users import MAX_CERTIFICATES, UNIDENTIFIED, Users

LAB = CA.create("Lab CA")
FIRST, SECOND = LAB.issue("Alice"), LAB.issue("Alice again")


@pytest.fixture
def audit():
    return RecordingAudit()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def users(store, audit):
    """Users with alice, an agent with one certificate; the audit log is still empty."""
    users = Users(store, Permission(audit), audit)
    users.add("alice", ADMIN, full_name="Alice", groups=[Group.AGENTS], certificates=[FIRST.pem])
    audit.records.clear()
    return users


def test_user_of_one_role_gets_no_second_one_where_that_is_the_rule(store, audit):
    """With multiroles.enable=false a user is in one of the groups that the settings name, and any number of others."""
    exclusive = frozenset({Group.ADMINISTRATORS, Group.AGENTS, Group.AUDITORS})
    users = Users(store, Permission(audit), audit, exclusive=exclusive)
    users.add("alice", ADMIN, groups=[Group.AGENTS, Group.TRUSTED_MANAGERS])
    before = store.users()
    with pytest.raises(ConfigError, match="a user has one role"):
        users.change("alice", ADMIN, groups=[Group.AGENTS, Group.AUDITORS])
    with pytest.raises(ConfigError, match="Administrators and Auditors"):
        users.add("bob", ADMIN, groups=[Group.ADMINISTRATORS, Group.AUDITORS])
    assert store.users() == before
    users.change("alice", ADMIN, groups=[Group.AUDITORS])
    assert store.users()[0].groups == {Group.AUDITORS}


CHANGES = {
    "add": lambda users, who: users.add("bob", who),
    "remove": lambda users, who: users.remove("alice", who),
    "set_groups": lambda users, who: users.change("alice", who, groups=[Group.AUDITORS]),
    "disable": lambda users, who: users.change("alice", who, enabled=False),
    "add_certificate": lambda users, who: users.add_certificate("alice", SECOND.der, who),
    "remove_certificate": lambda users, who: users.remove_certificate("alice", fingerprint(FIRST.der), who),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_by_anyone_but_an_administrator_refused_and_nothing_changed(users, store, audit, change):
    """Agents and auditors do not change users; the attempt is on record."""
    before = store.users(), store.revision()
    for caller in (AGENT, AUDITOR):
        with pytest.raises(PermissionDenied):
            CHANGES[change](users, caller)
    assert (store.users(), store.revision()) == before
    assert audit.events == [("AUTHZ", "failure")] * 2


@pytest.mark.parametrize("change", CHANGES)
def test_change_by_an_administrator_is_recorded_with_what_became_of_the_user(users, audit, change):
    """Each change leaves AUTHZ before and CONFIG_ROLE after, naming user, groups and certificates."""
    CHANGES[change](users, ADMIN)
    assert audit.events == [("AUTHZ", "success"), ("CONFIG_ROLE", "success")]
    detail = audit.records[-1][3]
    assert detail["user"] == ("bob" if change == "add" else "alice")
    assert {"operation", "groups", "certificates", "enabled"} <= set(detail)


@pytest.mark.parametrize("change", CHANGES)
def test_change_that_cannot_be_recorded_does_not_happen(users, store, change):
    """No record, no act."""
    full = FullAudit()
    before = store.users()
    with pytest.raises(StoreUnavailable):
        CHANGES[change](Users(store, Permission(full), full), ADMIN)
    assert store.users() == before


def test_users_listed_for_administrators_and_auditors_only(users):
    """Who may come in is nobody else's business."""
    assert [user.id for user in users.users(ADMIN)] == [user.id for user in users.users(AUDITOR)] == ["alice"]
    assert users.find("alice", AUDITOR).full_name == "Alice"
    with pytest.raises(PermissionDenied):
        users.users(AGENT)
    with pytest.raises(PermissionDenied):
        users.find("alice", AGENT)


def test_add_full_name_is_the_id_unless_given(users):
    """A user has a name to be shown."""
    assert users.add("CA-pki.example.test-18443", ADMIN).subject.full_name == "CA-pki.example.test-18443"


@pytest.mark.parametrize("user_id", ["", "-x", "a b", "a/b", "ü", "a\n", "x" * 129, UNIDENTIFIED])
def test_add_id_that_could_be_mistaken_refused(users, user_id):
    """An id stands in paths, log lines and lists: it has plain characters, and is no word of ours."""
    with pytest.raises(ConfigError) as caught:
        users.add(user_id, ADMIN)
    assert caught.value.hint


@pytest.mark.parametrize("name", [" ", "a\nb", "x" * 201, "\u202egnihtemos"])
def test_add_full_name_that_cannot_be_shown_refused(users, name):
    """A name is printable and short."""
    with pytest.raises(ConfigError):
        users.add("bob", ADMIN, full_name=name)


def test_add_id_that_is_there_already_exists(users):
    """Adding does not overwrite."""
    with pytest.raises(AlreadyExists) as caught:
        users.add("alice", ADMIN, groups=[Group.ADMINISTRATORS])
    assert caught.value.hint
    assert users.find("alice", ADMIN).groups == {Group.AGENTS}


def test_add_with_the_certificate_of_another_already_exists(users, store):
    """A certificate names one user; the new one is not made without it either."""
    with pytest.raises(AlreadyExists, match="alice"):
        users.add("bob", ADMIN, certificates=[SECOND.der, FIRST.der])
    assert [user.id for user in store.users()] == ["alice"]


def test_add_more_users_than_fit_refused(users, monkeypatch):
    """The number of users is limited."""
    monkeypatch.setattr(users_module, "MAX_USERS", 1)
    with pytest.raises(ConfigError):
        users.add("bob", ADMIN)


def test_set_groups_replaces_and_the_same_again_changes_nothing(users, store, audit):
    """The groups are those given; a change that is none leaves revision and log alone."""
    wanted = {Group.AUDITORS, Group.TRUSTED_MANAGERS}
    assert users.change("alice", ADMIN, groups=wanted).subject.groups == wanted
    revision = store.revision()
    audit.records.clear()
    users.change("alice", ADMIN, groups=wanted)
    assert store.revision() == revision
    assert audit.events == [("AUTHZ", "success")]


def test_last_administrator_stays_administrator(users):
    """The last enabled Administrator is not removed, disabled or taken out of the group."""
    users.add("root", ADMIN, groups=[Group.ADMINISTRATORS])
    for change in (
        lambda: users.remove("root", ADMIN),
        lambda: users.change("root", ADMIN, enabled=False),
        lambda: users.change("root", ADMIN, groups=[Group.AUDITORS]),
    ):
        with pytest.raises(LastAdministrator, match="Administrators"):
            change()
    users.change("alice", ADMIN, groups=[Group.ADMINISTRATORS])
    users.remove("root", ADMIN)
    assert [user.id for user in users.users(ADMIN)] == ["alice"]


@pytest.mark.parametrize("form", [SECOND.der, SECOND.pem, base64.encodebytes(SECOND.der)], ids=["DER", "PEM", "base64"])
def test_add_certificate_any_form_kept_as_der(users, form):
    """A certificate is taken as people have it, and kept once."""
    users.add_certificate("alice", form, ADMIN)
    assert users.add_certificate("alice", form, ADMIN).subject.certificates == (FIRST.der, SECOND.der)


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", FIRST.der[:-1], FIRST.pem + SECOND.pem, b"0" * (MAX_CERTIFICATE_BYTES + 1)]
)
def test_add_certificate_that_is_none_refused(users, data):
    """What is not one certificate is a ConfigError, and nothing changes."""
    with pytest.raises(ConfigError):
        users.add_certificate("alice", data, ADMIN)
    assert users.find("alice", ADMIN).certificates == (FIRST.der,)


def test_add_certificate_more_than_fit_refused(users, monkeypatch):
    """A user has a limited number of certificates."""
    assert MAX_CERTIFICATES > 1
    monkeypatch.setattr(users_module, "MAX_CERTIFICATES", 1)
    with pytest.raises(ConfigError):
        users.add_certificate("alice", SECOND.der, ADMIN)


def test_remove_certificate_by_fingerprint_or_its_beginning(users):
    """A certificate is named by SHA-256, as openssl prints it or shortened."""
    users.add_certificate("alice", SECOND.der, ADMIN)
    digits = fingerprint(SECOND.der).upper()
    with_colons = ":".join(digits[place : place + 2] for place in range(0, 64, 2))
    assert users.remove_certificate("alice", with_colons, ADMIN).subject.certificates == (FIRST.der,)
    assert users.remove_certificate("alice", fingerprint(FIRST.der)[:8], ADMIN).subject.certificates == ()


@pytest.mark.parametrize(
    "reference", ["", fingerprint(FIRST.der)[:7], "0" * 64], ids=["empty", "too short", "another's"]
)
def test_remove_certificate_not_named_not_found(users, reference):
    """Too few digits, or another's: nothing is taken away."""
    with pytest.raises(NotFound):
        users.remove_certificate("alice", reference, ADMIN)
    assert users.find("alice", ADMIN).certificates == (FIRST.der,)


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "add"])
def test_change_of_a_user_that_is_not_there_not_found(users, change):
    """The name of nobody is NotFound, with the way to the list."""
    users.remove("alice", ADMIN)
    with pytest.raises(NotFound) as caught:
        CHANGES[change](users, ADMIN)
    assert "vouchd user list" in caught.value.hint


def test_describe_tells_what_a_list_shows():
    """Names, serial and validity of a certificate are told with its fingerprint."""
    facts = describe(FIRST.der)
    assert (facts.subject, facts.issuer, facts.serial) == ("CN=Alice", "CN=Lab CA", FIRST.serial)
    assert facts.fingerprint == fingerprint(FIRST.der)
    assert facts.not_before < facts.not_after
