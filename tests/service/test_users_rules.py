"""What changes of a user are said to have changed, how much one may have, and as whom members come."""

from __future__ import annotations

import pytest
from tests.memory_store import MemoryStore
from tests.pki import CA, NOW
from tests.service.recording import ADMIN, RecordingAudit

from vouchd.core.facts import Group, Member
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingState
from vouchd.errors import AlreadyExists, ConfigError, PermissionDenied
from vouchd.service.permission import Permission
from vouchd.service.usercertificates import fingerprint
from vouchd.service.users import MAX_CERTIFICATES, MAX_NAME_CHARACTERS, SUBSYSTEM_USER, UNIDENTIFIED, Users

LAB = CA.create("Lab CA")
FIRST, SECOND, OWN = LAB.issue("Alice"), LAB.issue("Alice again"), LAB.issue("ocsp2.example")
AGENTS = frozenset({Group.AGENTS})


class Desk:
    """Users in memory, and the members of a set."""

    def __init__(self) -> None:
        self.store, self.audit = MemoryStore(), RecordingAudit()
        self.members: list[Member] = []
        self.users = Users(self.store, Permission(self.audit), self.audit, members=lambda: self.members)

    def identify(self, certificate: bytes):
        state = ServingState(0, ())
        return self.users.identify(certificate, "192.0.2.1", NOW, state=state, policy=ResponsePolicy())


@pytest.fixture
def desk():
    return Desk()


def shown(certificate: bytes) -> str:
    return f"{fingerprint(certificate)[:16]}…"


def test_member_comes_as_the_user_of_the_set_by_a_certificate_of_its_own(desk):
    """As long as the registry has it there, and for that user alone; beside the certificate that all members have."""
    desk.users.add(SUBSYSTEM_USER, ADMIN, groups=[Group.TRUSTED_MANAGERS], certificates=[FIRST.der])
    desk.users.add("alice", ADMIN, groups=[Group.AGENTS], certificates=[SECOND.der])
    member = Member("ocsp2.example", 8443, 8080, "two", clone=True, joined_at=NOW, client_certificates=(OWN.der,))
    with pytest.raises(PermissionDenied):
        desk.identify(OWN.der)
    desk.members.append(member)
    desk.store.put_member(member, None)
    names = [desk.identify(one).name for one in (OWN.der, FIRST.der, SECOND.der)]
    assert names == [SUBSYSTEM_USER, SUBSYSTEM_USER, "alice"]
    assert desk.identify(OWN.der).groups == {Group.TRUSTED_MANAGERS}
    desk.members.clear()
    desk.store.remove_member(member.id)
    with pytest.raises(PermissionDenied):
        desk.identify(OWN.der)
    assert desk.identify(FIRST.der).name == SUBSYSTEM_USER


def test_member_whose_set_has_no_user_for_it_is_nobody(desk):
    """Its certificate makes no other user's one of it."""
    desk.users.add("alice", ADMIN, certificates=[SECOND.der])
    desk.members.append(Member("m.example", 8443, 8080, "m", clone=True, joined_at=1, client_certificates=(OWN.der,)))
    with pytest.raises(PermissionDenied):
        desk.identify(OWN.der)


def test_who_came_in_and_who_was_refused_stands_in_the_log_with_the_certificate(desk):
    """A refusal is by the user's name where there is one, and shows no groups: they were not had."""
    desk.users.add("alice", ADMIN, groups=[Group.AGENTS], certificates=[FIRST.der])
    desk.audit.records.clear()
    callers = []
    desk.audit.record = lambda event, caller, outcome, **detail: callers.append((event, caller, outcome, detail))
    desk.identify(FIRST.der)
    detail = {"subject": "CN=Alice", "certificate": fingerprint(FIRST.der)}
    (event, caller, outcome, seen), _ = callers
    assert (event, caller.groups, outcome, seen) == (
        "AUTH",
        AGENTS,
        "success",
        detail | {"certificate_status": "issuer not served"},
    )
    desk.users.change("alice", ADMIN, enabled=False)
    callers.clear()
    for certificate, name in ((FIRST, "alice"), (SECOND, UNIDENTIFIED)):
        with pytest.raises(PermissionDenied) as refused:
            desk.identify(certificate.der)
        ((event, caller, outcome, seen),) = callers
        assert (event, caller.name, caller.groups, caller.origin, outcome) == (
            "AUTH",
            name,
            frozenset(),
            "192.0.2.1",
            "failure",
        )
        subject = certificate.certificate.subject.rfc4514_string()
        facts = {"subject": subject, "certificate": fingerprint(certificate.der)}
        assert seen == facts | {"reason": str(refused.value)}
        callers.clear()


def test_change_of_a_user_tells_what_it_has_changed(desk):
    """Nothing where it was so already; else each part, as it is and as it was."""
    users = desk.users
    added = users.add("al", ADMIN, full_name="Alice", groups=[Group.AGENTS], certificates=[FIRST.der])
    assert added.changes == ("the user was added",)
    again = users.add("al", ADMIN, full_name="Alice", groups=[Group.AGENTS], certificates=[FIRST.pem])
    assert (again.subject, again.changes) == (added.subject, ())
    assert users.change("al", ADMIN, groups=[Group.AGENTS], enabled=True).changes == ()
    assert users.add_certificate("al", FIRST.der, ADMIN).changes == ()
    agents, both = Group.AGENTS.value, f"Auditors, {Group.AGENTS.value}"
    assert users.change("al", ADMIN, groups=[Group.AGENTS, Group.AUDITORS], enabled=False).changes == (
        f"its groups is {both}, and was {agents}",
        "its state is disabled, and was enabled",
    )
    first, second = shown(FIRST.der), shown(SECOND.der)
    assert users.add_certificate("al", SECOND.der, ADMIN).changes == (
        f"its certificates is {first}, {second}, and was {first}",
    )
    assert users.remove_certificate("al", fingerprint(FIRST.der), ADMIN).changes == (
        f"its certificates is {second}, and was {first}, {second}",
    )


@pytest.mark.parametrize(
    ("different", "names"),
    [
        ({"full_name": "Bob"}, "full name"),
        ({"groups": [Group.AUDITORS], "certificates": [SECOND.der]}, "groups, certificates"),
    ],
)
def test_user_that_is_there_otherwise_is_not_added_and_what_differs_is_named(desk, different: dict, names: str):
    """Nothing is changed by adding; who adds is told in what the two differ."""
    alike = {"full_name": "Alice", "groups": [Group.AGENTS], "certificates": [FIRST.der]}
    desk.users.add("al", ADMIN, **alike)
    before = desk.store.users()
    with pytest.raises(AlreadyExists, match=f"with other {names}: nothing was changed"):
        desk.users.add("al", ADMIN, **(alike | different))
    assert desk.store.users() == before


def test_user_may_have_a_name_and_certificates_up_to_the_limit(desk):
    """One character is a name, and 200 are; 16 certificates are allowed, and one more is not."""
    for name in ("x", "x" * MAX_NAME_CHARACTERS, f" {'y' * MAX_NAME_CHARACTERS} "):
        assert desk.users.add(f"u{len(name)}", ADMIN, full_name=name).subject.full_name == name.strip()
    many = [LAB.issue(f"{number}", key=LAB.key).der for number in range(MAX_CERTIFICATES + 1)]
    assert len(desk.users.add("many", ADMIN, certificates=many[:-1]).subject.certificates) == MAX_CERTIFICATES
    with pytest.raises(ConfigError):
        desk.users.add_certificate("many", many[-1], ADMIN)
    with pytest.raises(ConfigError):
        desk.users.add("more", ADMIN, certificates=many)
