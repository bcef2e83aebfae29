"""Who may do what: one call decides and leaves the record, before anything is done.

The groups and their rights are those of the Certificate System.
"""

from __future__ import annotations

from enum import StrEnum

from vouchd.core.facts import LOCAL, Caller, Group
from vouchd.core.ports import AuditSink
from vouchd.errors import PermissionDenied, StoreUnavailable


class Action(StrEnum):
    """An act that needs a right, named as the audit log has it."""

    LIST_AUTHORITIES = "list CAs"
    ADD_AUTHORITY = "add CA"
    REMOVE_AUTHORITY = "remove CA"
    SET_POLICY = "set policy"
    DECLARE_COMPROMISED = "declare CA compromised"
    SET_ISSUED_SERIALS = "set issued serials"
    READ_CRL = "read CRL"
    ADD_CRL = "add CRL"
    RELEASE_CRL = "release CRL"
    LOWER_NUMBER = "accept lower CRL number"
    RETIRE_POINT = "retire issuing point"
    DROP_CRL = "drop CRL"
    STEP_BACK = "step back to an older CRL"
    CHECK_STATUS = "check certificate status"
    READ_STATISTICS = "read statistics"
    LIST_SELFTESTS = "list self tests"
    RUN_SELFTESTS = "run self tests"
    TEST_ALERTS = "test alert carriers"
    TEST_TOKENS = "test tokens"
    LIST_CERTIFICATES = "list system certificates"
    CHANGE_CERTIFICATES = "change system certificates"
    EXPORT_KEYS = "export keys"
    LIST_USERS = "list users"
    ADD_USER = "add user"
    CHANGE_USER = "change user"
    REMOVE_USER = "remove user"
    READ_CONFIGURATION = "read configuration"
    CHANGE_CONFIGURATION = "change configuration"
    RESTART = "restart instance"
    READ_AUDIT = "read audit log"
    READ_DOMAIN = "read security domain"
    ISSUE_TOKEN = "issue join token"  # noqa: S105  the name of an act
    CHANGE_DOMAIN = "change security domain"
    MOVE_ROLE = "move the role of the master"
    JOIN_DOMAIN = "join security domain"
    FOLLOW = "follow this instance"
    VERIFY_MEMBERS = "verify members"
    LIST_APPROVALS = "list approvals"
    DECIDE_APPROVAL = "decide approval"


_ADMINISTRATORS = frozenset({Group.ADMINISTRATORS})
_AGENTS = frozenset({Group.AGENTS})
_AUDITORS = frozenset({Group.AUDITORS})
_DOMAIN = frozenset({Group.DOMAIN_ADMINISTRATORS})
_MEMBERS = frozenset({Group.OCSP_ADMINISTRATORS})  # the other instances of the set, each by its own key
# In place of all groups: who shows the subsystem key of the set, and no key of its own that the registry pins.
KEY_HOLDERS = "holders of the set's keys"
MEMBER_GROUPS = _MEMBERS | {Group.TRUSTED_MANAGERS}  # what a member may have, whatever its user's groups are
_STAFF = _ADMINISTRATORS | _AGENTS | _AUDITORS

RIGHTS: dict[Action, frozenset[str]] = {
    Action.LIST_AUTHORITIES: _STAFF,
    Action.ADD_AUTHORITY: _AGENTS,
    Action.REMOVE_AUTHORITY: _AGENTS,
    Action.SET_POLICY: _ADMINISTRATORS,
    Action.DECLARE_COMPROMISED: _AGENTS,
    Action.SET_ISSUED_SERIALS: _AGENTS,
    Action.READ_CRL: _STAFF,
    Action.ADD_CRL: _AGENTS | {Group.TRUSTED_MANAGERS},
    Action.RELEASE_CRL: _AGENTS,
    Action.LOWER_NUMBER: _ADMINISTRATORS,
    Action.RETIRE_POINT: _AGENTS,
    Action.DROP_CRL: _AGENTS,
    Action.STEP_BACK: _ADMINISTRATORS,
    Action.CHECK_STATUS: _STAFF,
    Action.READ_STATISTICS: _STAFF,
    Action.LIST_SELFTESTS: _STAFF,
    Action.RUN_SELFTESTS: _ADMINISTRATORS | _AGENTS,
    Action.TEST_ALERTS: _ADMINISTRATORS,
    Action.TEST_TOKENS: _ADMINISTRATORS,
    Action.LIST_CERTIFICATES: _STAFF,
    Action.CHANGE_CERTIFICATES: _ADMINISTRATORS,
    Action.EXPORT_KEYS: _ADMINISTRATORS,
    Action.LIST_USERS: _ADMINISTRATORS | _AUDITORS,
    Action.ADD_USER: _ADMINISTRATORS,
    Action.CHANGE_USER: _ADMINISTRATORS,
    Action.REMOVE_USER: _ADMINISTRATORS,
    Action.READ_CONFIGURATION: _STAFF,
    Action.CHANGE_CONFIGURATION: _ADMINISTRATORS,
    Action.RESTART: _ADMINISTRATORS,
    Action.READ_AUDIT: _AUDITORS,
    Action.READ_DOMAIN: _STAFF | _DOMAIN | _MEMBERS,
    Action.ISSUE_TOKEN: _ADMINISTRATORS | _DOMAIN,
    Action.CHANGE_DOMAIN: _ADMINISTRATORS | _DOMAIN | _MEMBERS,
    Action.MOVE_ROLE: _ADMINISTRATORS | _DOMAIN,
    Action.JOIN_DOMAIN: _MEMBERS | {KEY_HOLDERS},
    Action.FOLLOW: _MEMBERS,
    Action.VERIFY_MEMBERS: _ADMINISTRATORS | _AGENTS | _DOMAIN,
    Action.LIST_APPROVALS: _STAFF | _DOMAIN,
    Action.DECIDE_APPROVAL: _ADMINISTRATORS | _AGENTS | _DOMAIN,  # and the right to what was asked for
}
# Reading changes nothing: it leaves a record only where it is refused. The audit log is the exception: who looked into
# it is worth knowing.
READINGS = frozenset(
    {
        Action.LIST_AUTHORITIES,
        Action.READ_CRL,
        Action.CHECK_STATUS,
        Action.READ_STATISTICS,
        Action.LIST_SELFTESTS,
        Action.LIST_CERTIFICATES,
        Action.LIST_USERS,
        Action.READ_CONFIGURATION,
        Action.READ_DOMAIN,
        Action.FOLLOW,
        Action.LIST_APPROVALS,
    }
)


def local_caller(name: str) -> Caller:
    """Whoever works on the instance folder itself: can do everything there anyhow, so has every right."""
    return Caller(name, _STAFF, LOCAL)


def source_caller(name: str, url: str) -> Caller:
    """A CRL source of the settings: may add CRLs and nothing else."""
    return Caller(f"source {name}", frozenset({Group.TRUSTED_MANAGERS}), url)


def directory_caller(name: str, url: str) -> Caller:
    """A directory that the settings name as the store: what its administrator puts there as a CA is to be added."""
    return Caller(f"source {name}", frozenset({Group.AGENTS}), url)


class Permission:
    """Decides by the caller's groups; `audit` takes the record."""

    def __init__(self, audit: AuditSink) -> None:
        self._audit = audit

    def grants(self, caller: Caller, action: Action) -> bool:
        """Whether `allow` would return; leaves no record, so it does not replace it."""
        if caller.read_only and action not in READINGS | {Action.READ_AUDIT}:
            return False
        return bool(caller.groups & RIGHTS[action])

    def allow_for(self, member_id: str, caller: Caller, action: Action) -> None:
        """Return when `caller` may do `action` to that member: a member may to itself alone. Raises: as `allow`."""
        if caller.member and caller.member != member_id:
            self._audit.record("AUTHZ", caller, "failure", action=action.value, target=member_id)
            raise PermissionDenied(
                f"{caller.member} is not {member_id}, and no member changes another one",
                hint="an administrator may, with a certificate of his own",
            )
        self.allow(caller, action, member_id)

    def allow(self, caller: Caller, action: Action, target: str) -> None:
        """Return when `caller` may do `action` to `target`, after that was recorded.

        Raises: PermissionDenied, recorded too; StoreUnavailable for what waits until the store is back; what the audit
        sink raises: no record, no act.
        """
        granted = self.grants(caller, action)
        if not granted or action not in READINGS:
            self._audit.record("AUTHZ", caller, "success" if granted else "failure", action=action.value, target=target)
        if not granted and caller.read_only and caller.groups & RIGHTS[action]:
            raise StoreUnavailable(
                f"{caller.name} may not {action} while the store is away",
                hint="users known last may read; bring the directory server or database back, then try again",
            )
        if not granted:
            groups = " or ".join(sorted(RIGHTS[action]))
            raise PermissionDenied(f"{caller.name} may not {action}", hint=f"this needs membership of {groups}")
