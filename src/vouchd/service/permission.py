"""Who may do what: one call decides and leaves the record, before anything is done.

The groups and their rights are those of the Certificate System.
"""

from __future__ import annotations

from enum import StrEnum

from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink
from vouchd.errors import PermissionDenied

ADMINISTRATORS = "Administrators"
AGENTS = "Online Certificate Status Manager Agents"
AUDITORS = "Auditors"
TRUSTED_MANAGERS = "Trusted Managers"


class Action(StrEnum):
    """An act that needs a right, named as the audit log has it."""

    LIST_AUTHORITIES = "list CAs"
    ADD_AUTHORITY = "add CA"
    REMOVE_AUTHORITY = "remove CA"
    SET_POLICY = "set policy"
    SET_ISSUED_SERIALS = "set issued serials"
    ADD_CRL = "add CRL"
    RELEASE_CRL = "release CRL"
    DROP_CRL = "drop CRL"


RIGHTS: dict[Action, frozenset[str]] = {
    Action.LIST_AUTHORITIES: frozenset({AGENTS, ADMINISTRATORS, AUDITORS}),
    Action.ADD_AUTHORITY: frozenset({AGENTS}),
    Action.REMOVE_AUTHORITY: frozenset({AGENTS}),
    Action.SET_POLICY: frozenset({ADMINISTRATORS}),
    Action.SET_ISSUED_SERIALS: frozenset({AGENTS}),
    Action.ADD_CRL: frozenset({AGENTS, TRUSTED_MANAGERS}),
    Action.RELEASE_CRL: frozenset({AGENTS}),
    Action.DROP_CRL: frozenset({AGENTS}),
}
# Reading changes nothing: it leaves a record only where it is refused.
_READINGS = frozenset({Action.LIST_AUTHORITIES})


def local_caller(name: str) -> Caller:
    """Whoever works on the instance folder itself: can do everything there anyhow, so is administrator and agent."""
    return Caller(name, frozenset({ADMINISTRATORS, AGENTS}), "local")


def source_caller(name: str, url: str) -> Caller:
    """A CRL source of the settings: may add CRLs and nothing else."""
    return Caller(f"source {name}", frozenset({TRUSTED_MANAGERS}), url)


class Permission:
    """Decides by the caller's groups; `audit` takes the record."""

    def __init__(self, audit: AuditSink) -> None:
        self._audit = audit

    def allow(self, caller: Caller, action: Action, target: str) -> None:
        """Return when `caller` may do `action` to `target`, after that was recorded.

        Raises: PermissionDenied, recorded too; what the audit sink raises: no record, no act.
        """
        granted = bool(caller.groups & RIGHTS[action])
        if not granted or action not in _READINGS:
            self._audit.record("AUTHZ", caller, "success" if granted else "failure", action=action.value, target=target)
        if not granted:
            groups = " or ".join(sorted(RIGHTS[action]))
            raise PermissionDenied(f"{caller.name} may not {action}", hint=f"this needs membership of {groups}")
