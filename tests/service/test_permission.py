"""Deciding and recording are one call."""

from __future__ import annotations

import pytest
from tests.service.recording import ADMIN, AGENT, NOBODY, PUBLISHER, FullAudit, RecordingAudit

from vouchd.errors import PermissionDenied, StoreUnavailable
from vouchd.service.permission import RIGHTS, Action, Permission, local_caller, source_caller

GRANTED = {
    AGENT: {
        Action.LIST_AUTHORITIES,
        Action.ADD_AUTHORITY,
        Action.REMOVE_AUTHORITY,
        Action.SET_ISSUED_SERIALS,
        Action.ADD_CRL,
        Action.RELEASE_CRL,
        Action.DROP_CRL,
    },
    ADMIN: {Action.LIST_AUTHORITIES, Action.SET_POLICY},
    PUBLISHER: {Action.ADD_CRL},
    NOBODY: set(),
    local_caller("root"): set(Action),
    source_caller("lab", "http://ca.test/crl"): {Action.ADD_CRL},
}


@pytest.mark.parametrize("caller", GRANTED, ids=lambda caller: caller.name)
@pytest.mark.parametrize("action", Action)
def test_allow_each_caller_has_the_rights_of_its_groups_and_no_other(caller, action):
    """Every action has a right, and a group gives exactly what the Certificate System's gives."""
    audit = RecordingAudit()
    if action in GRANTED[caller]:
        Permission(audit).allow(caller, action, "x")
    else:
        with pytest.raises(PermissionDenied) as caught:
            Permission(audit).allow(caller, action, "x")
        assert caught.value.hint
        assert audit.records == [("AUTHZ", caller.name, "failure", {"action": action.value, "target": "x"})]


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


def test_allow_audit_unavailable_no_act():
    """No record, no act."""
    with pytest.raises(StoreUnavailable):
        Permission(FullAudit()).allow(AGENT, Action.ADD_CRL, "CN=CA")


def test_rights_every_action_has_a_row():
    """An action without a row would be a bug found by an operator."""
    assert set(RIGHTS) == set(Action)
