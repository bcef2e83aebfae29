"""Deciding and recording are one call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.service.recording import AGENT, AUDITOR, NOBODY, FullAudit, RecordingAudit

from vouchd.core.facts import Caller, Group
from vouchd.errors import PermissionDenied, StoreUnavailable
from vouchd.service.permission import (
    KEY_HOLDERS,
    RIGHTS,
    Action,
    Permission,
    directory_caller,
    local_caller,
    source_caller,
)

# One column a group in the order of Group: Administrators, Agents, aUditors, Trusted managers, Domain, Ocsp.
GRANTED = {
    Action.LIST_AUTHORITIES: "AGU...",
    Action.ADD_AUTHORITY: ".G....",
    Action.REMOVE_AUTHORITY: ".G....",
    Action.SET_POLICY: "A.....",
    Action.DECLARE_COMPROMISED: ".G....",
    Action.SET_ISSUED_SERIALS: ".G....",
    Action.READ_CRL: "AGU...",
    Action.ADD_CRL: ".G.T..",
    Action.RELEASE_CRL: ".G....",
    Action.STEP_BACK: "A.....",
    Action.LOWER_NUMBER: "A.....",
    Action.RETIRE_POINT: ".G....",
    Action.DROP_CRL: ".G....",
    Action.CHECK_STATUS: "AGU...",
    Action.READ_STATISTICS: "AGU...",
    Action.LIST_SELFTESTS: "AGU...",
    Action.RUN_SELFTESTS: "AG....",
    Action.TEST_ALERTS: "A.....",
    Action.TEST_TOKENS: "A.....",
    Action.LIST_CERTIFICATES: "AGU...",
    Action.CHANGE_CERTIFICATES: "A.....",
    Action.EXPORT_KEYS: "A.....",
    Action.LIST_USERS: "A.U...",
    Action.ADD_USER: "A.....",
    Action.CHANGE_USER: "A.....",
    Action.REMOVE_USER: "A.....",
    Action.READ_CONFIGURATION: "AGU...",
    Action.CHANGE_CONFIGURATION: "A.....",
    Action.RESTART: "A.....",
    Action.READ_AUDIT: "..U...",
    Action.READ_DOMAIN: "AGU.DO",
    Action.ISSUE_TOKEN: "A...D.",
    Action.CHANGE_DOMAIN: "A...DO",
    Action.MOVE_ROLE: "A...D.",
    Action.JOIN_DOMAIN: ".....O",
    Action.FOLLOW: ".....O",
    Action.VERIFY_MEMBERS: "AG..D.",
    Action.LIST_APPROVALS: "AGU.D.",
    Action.DECIDE_APPROVAL: "AG..D.",
}
OF_INSTANCES = {Action.FOLLOW, Action.JOIN_DOMAIN}  # for other instances
CALLERS = [(Caller(group.value, frozenset({group}), "192.0.2.1"), place) for place, group in enumerate(Group)]


def allowed(caller: Caller, action: Action) -> bool:
    """Whether permission lets the caller."""
    try:
        Permission(RecordingAudit()).allow(caller, action, "x")
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize(("caller", "place"), CALLERS, ids=[caller.name for caller, _ in CALLERS])
def test_allow_one_group_gives_its_rights_and_no_other(caller, place):
    """The whole table, action by group: what is not granted here is refused."""
    for action in Action:
        assert allowed(caller, action) == (GRANTED[action][place] != "."), action


READ_AWAY = {
    Action.LIST_AUTHORITIES,
    Action.READ_CRL,
    Action.CHECK_STATUS,
    Action.READ_STATISTICS,
    Action.LIST_SELFTESTS,
    Action.LIST_CERTIFICATES,
    Action.LIST_USERS,
    Action.READ_CONFIGURATION,
    Action.READ_AUDIT,
    Action.READ_DOMAIN,
    Action.FOLLOW,
    Action.LIST_APPROVALS,
}


@pytest.mark.parametrize(("caller", "place"), CALLERS, ids=[caller.name for caller, _ in CALLERS])
def test_allow_while_the_store_is_away_gives_what_reads_and_no_more(caller, place):
    """Who was known last may look; who has the right to act is told to come back, who has not that he has not."""
    known_last = replace(caller, read_only=True)
    for action in Action:
        audit, has_right = RecordingAudit(), GRANTED[action][place] != "."
        assert Permission(audit).grants(known_last, action) is (has_right and action in READ_AWAY), action
        if has_right and action in READ_AWAY:
            Permission(audit).allow(known_last, action, "x")
            continue
        with pytest.raises(StoreUnavailable if has_right else PermissionDenied):
            Permission(audit).allow(known_last, action, "x")
        assert [(outcome, who) for _, who, outcome, _ in audit.records] == [("failure", caller.name)], action


@pytest.mark.parametrize(
    ("kind", "facts", "expected"),
    [
        (local_caller, ("root",), ("root", "local", "AGU...")),
        (source_caller, ("lab", "http://ca.test/crl"), ("source lab", "http://ca.test/crl", "...T..")),
        (directory_caller, ("lab", "ldap://ca.test"), ("source lab", "ldap://ca.test", ".G....")),
    ],
)
def test_caller_that_is_no_user_has_a_name_an_origin_and_the_rights_of_its_task(kind, facts, expected):
    """What the audit log says of work on the folder, of a source and of a directory, and what each may do."""
    caller, (*who, groups) = kind(*facts), expected
    assert [caller.name, caller.origin] == who
    assert caller.groups == {group for group, letter in zip(Group, groups, strict=True) if letter != "."}


@pytest.mark.parametrize("action", Action)
def test_allow_without_group_nothing(action):
    """Deny by default: who is in no group, or in one that nobody knows, may do nothing."""
    assert not allowed(NOBODY, action)
    assert not allowed(Caller("odd", frozenset({"administrators", ""}), "192.0.2.1"), action)


@pytest.mark.parametrize("action", Action)
def test_allow_the_keys_of_the_set_alone_only_joining(action):
    """Who shows the keys that all members share, and no key of its own, may join with a token and nothing else."""
    holder = Caller("subsystem", frozenset({KEY_HOLDERS}), "192.0.2.1")
    assert allowed(holder, action) is (action is Action.JOIN_DOMAIN)


@pytest.mark.parametrize("action", Action)
def test_allow_several_groups_give_the_rights_of_each(action):
    """Groups add up; none takes away."""
    both = Caller("both", frozenset({Group.AUDITORS, Group.TRUSTED_MANAGERS}), "192.0.2.1")
    assert allowed(both, action) == (GRANTED[action][2:4] != "..")


@pytest.mark.parametrize("action", Action)
def test_allow_local_caller_everything_and_source_only_crls(action):
    """Who owns the folder can do all; a source of the settings brings CRLs and nothing else."""
    assert allowed(local_caller("root"), action) is (action not in OF_INSTANCES)
    assert allowed(source_caller("lab", "http://ca.test/crl"), action) == (action is Action.ADD_CRL)


def test_allow_granted_act_is_recorded_before_it_returns():
    """A granted act leaves its record, with who, what and to what."""
    audit = RecordingAudit()
    Permission(audit).allow(AGENT, Action.ADD_CRL, "CN=CA")
    assert audit.records == [("AUTHZ", "agent", "success", {"action": "add CRL", "target": "CN=CA"})]


def test_allow_granted_reading_leaves_no_record():
    """Looking at a list every few seconds must not fill the log."""
    audit = RecordingAudit()
    Permission(audit).allow(AGENT, Action.LIST_AUTHORITIES, "*")
    assert audit.records == []


def test_allow_refusal_is_recorded_and_names_the_remedy():
    """A refused act leaves its record too, and the refused caller learns which group is needed."""
    audit = RecordingAudit()
    with pytest.raises(PermissionDenied) as caught:
        Permission(audit).allow(NOBODY, Action.ADD_USER, "x")
    assert Group.ADMINISTRATORS in caught.value.hint
    assert audit.records == [("AUTHZ", "nobody", "failure", {"action": "add user", "target": "x"})]


def test_allow_reading_the_audit_log_is_recorded():
    """Who looked into the audit log stands in the audit log."""
    audit = RecordingAudit()
    Permission(audit).allow(AUDITOR, Action.READ_AUDIT, "*")
    assert audit.events == [("AUTHZ", "success")]


def test_allow_audit_unavailable_no_act():
    """No record, no act."""
    with pytest.raises(StoreUnavailable):
        Permission(FullAudit()).allow(AGENT, Action.ADD_CRL, "CN=CA")


def test_rights_every_action_has_a_row():
    """An action without a row would be a bug found by an operator."""
    assert set(RIGHTS) == set(Action)


@pytest.mark.parametrize("action", [Action.CHANGE_DOMAIN, Action.ADD_USER])
def test_member_acts_on_itself_alone(action):
    """Whatever its groups are, and refused with a record; who is no member may act on each as his groups say."""
    audit = RecordingAudit()
    member = Caller("one", frozenset(Group), "192.0.2.1", member="one")
    Permission(audit).allow_for("one", member, action)
    with pytest.raises(PermissionDenied, match="one is not two"):
        Permission(audit).allow_for("two", member, action)
    Permission(audit).allow_for("two", replace(member, member=""), action)
    with pytest.raises(PermissionDenied):
        Permission(audit).allow_for("one", replace(member, groups=frozenset()), action)
    said = [(event, who, outcome, detail["action"], detail["target"]) for event, who, outcome, detail in audit.records]
    assert said == [
        ("AUTHZ", "one", outcome, action.value, target)
        for outcome, target in (("success", "one"), ("failure", "two"), ("success", "two"), ("failure", "one"))
    ]
