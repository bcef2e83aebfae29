"""Four eyes: what one agent asks for is done when another one has approved it, once, and both are on record.

The second is another user than the first: by the user's id, whatever certificates it has. Nobody makes himself a second
one, as with four eyes on users are made and changed by two alone (settings/four_eyes). Both need the right to what is
asked for, at the moment of the approval too: the act is then carried out as the first one's, with the groups that user
has by then. It is marked as approved before it is carried out, so that it happens once or, where that is cut short, not
at all.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from vouchd.core.approval_facts import (
    MAX_ARGUMENT_BYTES,
    MAX_WAITING,
    MAX_WAITING_OF_ONE,
    Approval,
    Approvals,
    ApprovalState,
)
from vouchd.core.facts import Caller
from vouchd.core.ports import ApprovalStore, AuditSink, Clock, IdentityStore
from vouchd.core.records import rfc3339
from vouchd.errors import ApprovalPending, ConfigError, NotFound, PermissionDenied, StoreConflict
from vouchd.service.permission import Action, Permission

EVENT = "FOUR_EYES"
_ATTEMPTS = 5
_MAX_DETAIL = 2000
_MIN_DIGITS = 4
_MAX_OUTCOME = 500


class _FourEyesStore(ApprovalStore, IdentityStore, Protocol):
    """What waits, and the users."""


class FourEyes:
    """Every act passes `permission` first and is recorded in `audit`; `right` is what an operation needs, by name."""

    def __init__(
        self, store: _FourEyesStore, permission: Permission, audit: AuditSink, clock: Clock, expire_seconds: int
    ) -> None:
        self._store = store
        self._permission = permission
        self._audit = audit
        self._clock = clock
        self._expire_seconds = expire_seconds

    def approvals(self, caller: Caller) -> tuple[Approval, ...]:
        """All that wait, and what became of others, oldest first. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_APPROVALS, "*")
        return self._store.approvals().entries

    def find(self, reference: str, caller: Caller) -> Approval:
        """The one of that id, or of its first digits. Raises: NotFound, PermissionDenied."""
        self._permission.allow(caller, Action.LIST_APPROVALS, reference)
        return _named(self._store.approvals(), reference)

    def request(self, operation: str, arguments: Mapping[str, Any], right: Action, caller: Caller) -> Approval:
        """Put down what `caller` wants done; what waits already just so is not put down twice.

        Raises: PermissionDenied, also on a member that is not the master; ConfigError when too much waits.
        """
        text = json.dumps(arguments, sort_keys=True, separators=(",", ":"))
        self._permission.allow(caller, right, f"ask for {operation}")
        if len(text.encode()) > MAX_ARGUMENT_BYTES:
            raise ConfigError(f"more than {MAX_ARGUMENT_BYTES} bytes to be shown to a second agent", hint="send less")
        for _ in range(_ATTEMPTS):
            now, before = self._clock.now(), self._store.approvals()
            same = [one for one in before.waiting(now) if (one.operation, one.arguments) == (operation, text)]
            if same:
                return same[0]
            _require_room(before.waiting(now), caller)
            approval = Approval(
                id=secrets.token_hex(8),
                operation=operation,
                arguments=text,
                requester=caller.name,
                origin=caller.origin,
                requested_at=now,
                expires_at=now + self._expire_seconds,
            )
            try:
                self._store.put_approvals(before.with_entry(approval, now), before)
            except StoreConflict:
                continue
            self._record("request", approval, caller)
            return approval
        raise _busy()

    def approve(self, reference: str, right: Callable[[str], Action], caller: Caller) -> tuple[Approval, Caller]:
        """The one that is to be carried out now, by nobody else, and as whom.

        Raises: NotFound; PermissionDenied for who asked for it, or has not the right to it, or when who asked for it
        has that no more; StoreConflict when it was decided, or has expired.
        """
        before = self._store.approvals()
        approval = _named(before, reference)
        requester = self._second(approval, right(approval.operation), caller)
        decided = self._decided(before, approval, ApprovalState.APPROVED, caller)
        self._record("approve", decided, caller)
        return decided, requester

    def deny(self, reference: str, right: Callable[[str], Action], caller: Caller) -> Approval:
        """Have it not be done; who asked for it may take it back so. Raises: as `approve`."""
        before = self._store.approvals()
        approval = _named(before, reference)
        if caller.name != approval.requester:
            self._permission.allow(caller, right(approval.operation), f"deny {_what(approval)}")
        decided = self._decided(before, approval, ApprovalState.DENIED, caller)
        self._record("deny", decided, caller)
        return decided

    def carried_out(self, approval: Approval, outcome: str, caller: Caller, *, failed: bool) -> Approval:
        """Put down what came of it. Raises: StoreConflict, StoreUnavailable."""
        state = ApprovalState.FAILED if failed else ApprovalState.DONE
        after = replace(approval, state=state, outcome=outcome[:_MAX_OUTCOME])
        for _ in range(_ATTEMPTS):
            before = self._store.approvals()
            try:
                self._store.put_approvals(before.with_entry(after, self._clock.now()), before)
            except StoreConflict:
                continue
            self._record("execute", after, caller, "failure" if failed else "success")
            return after
        raise _busy()

    def _second(self, approval: Approval, right: Action, caller: Caller) -> Caller:
        """Who asked for it, as it may act now, where `caller` may approve it. Raises: PermissionDenied."""
        if caller.name == approval.requester:
            self._record("approve", approval, caller, "failure")
            raise PermissionDenied(
                f"{caller.name} asked for it, and four eyes are wanted", hint="another user who may do it approves it"
            )
        self._permission.allow(caller, right, f"approve {_what(approval)}")
        user = next((one for one in self._store.users() if one.id == approval.requester and one.enabled), None)
        origin = f"{approval.origin}, approved by {caller.name}"
        requester = Caller(approval.requester, user.groups if user else frozenset(), origin)
        if not self._permission.grants(requester, right):
            self._record("approve", approval, caller, "failure")
            raise PermissionDenied(
                f"{approval.requester}, who asked for it, may not {right} any more",
                hint="deny it; somebody who may can ask for it",
            )
        return requester

    def _decided(self, before: Approvals, approval: Approval, state: ApprovalState, caller: Caller) -> Approval:
        """It, decided, where nobody was quicker. Raises: StoreConflict."""
        for _ in range(_ATTEMPTS):
            now = self._clock.now()
            _require_waiting(approval, now)
            decided = replace(approval, state=state, decided_by=caller.name, decided_at=now)
            try:
                self._store.put_approvals(before.with_entry(decided, now), before)
            except StoreConflict:  # somebody decided this one, or another one
                before = self._store.approvals()
                approval = _named(before, approval.id)
                continue
            return decided
        raise _busy()

    def _record(self, act: str, approval: Approval, caller: Caller, outcome: str = "success") -> None:
        detail = {
            "requester": approval.requester,
            "arguments": approval.arguments[:_MAX_DETAIL],
            "sha256": hashlib.sha256(approval.arguments.encode()).hexdigest(),
            **({"approver": approval.decided_by} if approval.decided_by else {}),
            **({"why": approval.outcome} if approval.outcome else {}),
        }
        self._audit.record(EVENT, caller, outcome, operation=act, target=_what(approval), **detail)


def pending(approval: Approval, caller: Caller) -> ApprovalPending:
    """What is said to who asked for something that waits now."""
    whose = "" if approval.requester == caller.name else f"; {approval.requester} has asked for it before"
    until = f"by {rfc3339(approval.expires_at)}{whose}"
    return ApprovalPending(
        f"nothing is done yet: a second agent has to approve {_what(approval)} {until}",
        hint=f"another user who may do it: vouchd approval approve {approval.id}, or the page Approvals",
    )


def _what(approval: Approval) -> str:
    return f"{approval.operation} ({approval.id})"


def _named(approvals: Approvals, reference: str) -> Approval:
    digits = reference.lower()
    named = [one for one in approvals.entries if len(digits) >= _MIN_DIGITS and one.id.startswith(digits)]
    if len(named) != 1:
        raise NotFound(
            f"{len(named) or 'no'} approvals {reference[:40]!r}", hint="vouchd approval list shows those there are"
        )
    return named[0]


def _require_waiting(approval: Approval, now: int) -> None:
    state = approval.state_at(now)
    if state is ApprovalState.EXPIRED:
        raise StoreConflict(
            f"{_what(approval)} has expired: nobody approved it by {rfc3339(approval.expires_at)}",
            hint="whoever wants it done asks for it again",
        )
    if state is not ApprovalState.WAITING:
        raise StoreConflict(f"{_what(approval)} is {state}: {approval.decided_by} decided", hint="look at it again")


def _require_room(waiting: tuple[Approval, ...], caller: Caller) -> None:
    own = sum(one.requester == caller.name for one in waiting)
    if len(waiting) >= MAX_WAITING or own >= MAX_WAITING_OF_ONE:
        raise ConfigError(
            f"{len(waiting)} requests wait for a second agent, {own} of them of {caller.name}",
            hint="approve or deny some first: vouchd approval list",
        )


def _busy() -> StoreConflict:
    return StoreConflict("others decide all the time", hint="try again")
