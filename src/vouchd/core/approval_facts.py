"""What was asked for and waits for a second agent: a fact of the set, so that each member shows it.

All of them are one fact, as the keyring is: of two who decide at one moment one does. What is to be done stands in it
as it will be carried out, to the letter; nothing in it changes but what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

Record = dict[str, Any]

# All of them together stay below a mebibyte: a value of a directory server.
MAX_WAITING = 24
MAX_WAITING_OF_ONE = 8
MAX_ARGUMENT_BYTES = 24 << 10
MAX_KEPT = 16  # of those that are over, so that it is seen what became of them
KEPT_SECONDS = 7 * 86400


class ApprovalState(StrEnum):
    """What became of it."""

    WAITING = "waiting"
    EXPIRED = "expired"  # nobody decided in time; never stored, it follows from the time
    DENIED = "denied"
    APPROVED = "approved"  # it is being carried out, or that was cut short
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Approval:
    """One operation that `requester` asked for, with its arguments as a JSON text; times are POSIX seconds.

    `origin` is where the requester came from. `outcome` says in words what came of carrying it out.
    """

    id: str
    operation: str
    arguments: str
    requester: str
    origin: str
    requested_at: int
    expires_at: int
    state: ApprovalState = ApprovalState.WAITING
    decided_by: str = ""
    decided_at: int | None = None
    outcome: str = ""

    def state_at(self, at: int) -> ApprovalState:
        """What became of it by that time."""
        late = self.state is ApprovalState.WAITING and self.expires_at <= at
        return ApprovalState.EXPIRED if late else self.state

    @property
    def parts(self) -> Mapping[str, Any]:
        """The arguments: `path`, `query` and `body` as JSON values."""
        parts: Mapping[str, Any] = json.loads(self.arguments)
        return parts

    @property
    def order(self) -> tuple[int, str]:
        """Sort key: oldest first."""
        return self.requested_at, self.id

    @property
    def over_since(self) -> int:
        """When it was decided, or will have expired."""
        return self.expires_at if self.decided_at is None else self.decided_at


@dataclass(frozen=True, slots=True)
class Approvals:
    """All of them, oldest first; `change` counts the changes, so that of two the newer is known."""

    change: int = 0
    entries: tuple[Approval, ...] = ()

    def waiting(self, at: int) -> tuple[Approval, ...]:
        """Those that can be decided at that time."""
        return tuple(one for one in self.entries if one.state_at(at) is ApprovalState.WAITING)

    def find(self, approval_id: str) -> Approval | None:
        """That one."""
        return next((one for one in self.entries if one.id == approval_id), None)

    def with_entry(self, entry: Approval, at: int) -> Approvals:
        """With that one added, or in place of the one of its id; of those that are over the latest stay for a while."""
        others = [one for one in self.entries if one.id != entry.id]
        open_ones = [one for one in others if one.state_at(at) is ApprovalState.WAITING]
        over = sorted((one for one in others if one not in open_ones), key=lambda one: one.over_since)
        kept = [one for one in over if one.over_since > at - KEPT_SECONDS][-MAX_KEPT:]
        return replace(self, entries=tuple(sorted([*open_ones, *kept, entry], key=lambda one: one.order)))


def newest_approvals(several: Iterable[Approvals]) -> Approvals:
    """The newest of several, taken alike by every member."""
    return max(several, key=lambda one: (one.change, repr(one)), default=Approvals())


def approvals_record(approvals: Approvals) -> Record:
    """The record of all of them."""
    return {"change": approvals.change, "entries": [asdict(one) for one in approvals.entries]}


def read_approvals(record: Record) -> Approvals:
    """Those of a record; a field that is missing has its default, an unknown one is passed over."""
    return Approvals(int(record.get("change", 0)), tuple(map(_read_one, record.get("entries", ()))))


def _read_one(record: Record) -> Approval:
    known = {name: record[name] for name in (one.name for one in fields(Approval)) if name in record}
    approval = Approval(**known | {"state": ApprovalState(known.get("state", ApprovalState.WAITING))})
    texts = (approval.id, approval.operation, approval.arguments, approval.requester, approval.origin)
    numbers = (approval.requested_at, approval.expires_at, approval.decided_at or 0)
    if not all(isinstance(text, str) for text in (*texts, approval.decided_by, approval.outcome)):
        raise TypeError("not a text")
    if not all(type(number) is int for number in numbers):
        raise TypeError("not a time")
    if not isinstance(json.loads(approval.arguments), dict):
        raise TypeError("no arguments")
    return approval
