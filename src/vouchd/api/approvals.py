"""What waits for a second agent: shown with all that will be done, approved, or denied."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode

from msgspec import UNSET, Struct

from vouchd.api import shapes
from vouchd.api.four_eyes import held_back
from vouchd.api.model import Changes, Moment, about
from vouchd.api.operation import PREFIX, Call, Operation, operation_of
from vouchd.core import approval_facts as facts
from vouchd.core.approval_facts import ApprovalState
from vouchd.errors import ConfigError, PermissionDenied, StoreConflict, VouchdError
from vouchd.service.permission import Action
from vouchd.settings.four_eyes import Guarded


class Approval(Struct, frozen=True):
    """What one agent has asked for, and what became of it."""

    id: Annotated[str, about("Its id.", "9f2c6a01b1d04e1b")]
    operation: Annotated[str, about("The operation that is to be carried out.", "authorities.compromised")]
    about: Annotated[str, about("What that does.", "Declare a CA compromised or ended")]
    method: Annotated[str, about("The method of its request.", "PUT")]
    path: Annotated[str, about("Where that goes.", "/api/v1/authorities/4f2a91c07bd1e6f3/compromise")]
    query: Annotated[str, about("Its parameters, as in a URL; empty: none.", "renew=true")]
    body: Annotated[str, about("Its body, as JSON; empty: none.", '{"answer": "revoked"}')]
    subject: Annotated[str, about("What that is about, in the words of today; may be empty.", "Example Root")]
    requester: Annotated[str, about("Who asked for it.", "alice")]
    origin: Annotated[str, about("From where.", "192.0.2.7")]
    requested_at: Annotated[Moment, about("When.")]
    expires_at: Annotated[Moment, about("Until when it can be approved.")]
    state: Annotated[
        ApprovalState, about("`approved`: it is being carried out, or that was cut short, and it may be done or not.")
    ]
    decided_by: Annotated[str | None, about("Who has approved or denied it; null: nobody.", "bob")]
    decided_at: Annotated[Moment | None, about("When.")]
    outcome: Annotated[str, about("What came of it, in words; may be empty.", "compromised_at was changed")]
    changes: Changes = UNSET


class FourEyes(Struct, frozen=True):
    """What needs two agents."""

    operations: Annotated[list[str], about("The operations that do; none: four eyes are off.", ["users.add"])]
    expires_seconds: Annotated[int, about("How long a request waits.", 86400)]


def _all(call: Call) -> list[Approval]:
    return [_shape(call, one) for one in call.services.four_eyes.approvals(call.caller)]


def _one(call: Call) -> Approval:
    return _shape(call, call.services.four_eyes.find(call.path["approval"], call.caller))


def _setting(call: Call) -> FourEyes:
    settings = call.services.settings.four_eyes
    guarded = [str(name) for name in Guarded if name in settings.guarded]
    return FourEyes(operations=guarded, expires_seconds=settings.expire_seconds)


def _approve(call: Call) -> Approval:
    services, caller = call.services, call.caller
    if caller.is_local:
        services.four_eyes.find(call.path["approval"], caller)
        raise PermissionDenied(
            "the second of four eyes is a user with a certificate, not the folder", hint="--url, --cert"
        )
    approval, requester = services.four_eyes.approve(call.path["approval"], _right, caller)
    parts, operation = approval.parts, operation_of(approval.operation)
    wanted = replace(call, caller=requester, path=parts["path"], query=parts["query"], body=parts["body"])
    try:
        if held_back(approval.operation, parts["path"], services) != parts.get("crl", ""):
            raise StoreConflict("another CRL is held back by now than was asked about", hint="look at it, and ask anew")
        answer = operation.run(operation.read(wanted))
    except VouchdError as error:
        services.four_eyes.carried_out(approval, str(error), caller, failed=True)
        raise
    changes = getattr(answer, "changes", UNSET)
    outcome = "; ".join(changes) if changes else "it was so already" if changes == [] else ""
    try:
        after = services.four_eyes.carried_out(approval, outcome, caller, failed=False)
    except PermissionDenied:  # the role was handed over by it: from now on another member keeps the approvals
        after = approval
    call.running.settle(0)
    return _shape(call, after, ["it was carried out", *(changes or ())])


def _deny(call: Call) -> Approval:
    denied = call.services.four_eyes.deny(call.path["approval"], _right, call.caller)
    call.running.settle(0)
    return _shape(call, denied, ["it was denied" if denied.requester != call.caller.name else "it was taken back"])


def _right(name: str) -> Action:
    """The right that the operation of that name needs. Raises: ConfigError."""
    access = operation_of(name).access if name in set(Guarded) else None
    if not isinstance(access, Action):
        raise ConfigError(
            f"{name[:80]} is no operation of this version", hint="a newer member has put it down: deny it"
        )
    return access


def _shape(call: Call, one: facts.Approval, changes: Changes = UNSET) -> Approval:
    parts, at = one.parts, call.clock.now()
    known = operation_of(one.operation) if one.operation in set(Guarded) else None
    return Approval(
        id=one.id,
        operation=one.operation,
        about=known.about if known else "",
        method=known.method if known else "",
        path=PREFIX + known.path.format(**parts["path"]) if known else "",
        query=urlencode({name: _word(value) for name, value in sorted(parts["query"].items())}),
        body="" if parts["body"] is None else json.dumps(parts["body"], sort_keys=True, indent=1, ensure_ascii=False),
        subject=_subject(call, parts["path"]) + (f", CRL {parts['crl'][:16]}…" if "crl" in parts else ""),
        requester=one.requester,
        origin=one.origin,
        requested_at=shapes.moment(one.requested_at),
        expires_at=shapes.moment(one.expires_at),
        state=one.state_at(at),
        decided_by=one.decided_by or None,
        decided_at=shapes.maybe_moment(one.decided_at),
        outcome=one.outcome,
        changes=changes,
    )


def _word(value: Any) -> str:
    """A parameter as a URL has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _subject(call: Call, path: dict[str, Any]) -> str:
    """What a person calls what it is about."""
    if "authority" in path:
        authority = call.services.store.authority(path["authority"])
        return authority.label if authority else ""
    return str(next(iter(path.values()), ""))


OPERATIONS = (
    Operation(
        "GET",
        "/approvals",
        "approvals.list",
        "What waits for a second agent, and what became of what did",
        Action.LIST_APPROVALS,
        _all,
        list[Approval],
    ),
    Operation("GET", "/approvals/{approval}", "approvals.get", "One of these", Action.LIST_APPROVALS, _one, Approval),
    Operation(
        "GET", "/four-eyes", "approvals.setting", "What needs two agents", Action.LIST_APPROVALS, _setting, FourEyes
    ),
    Operation(
        "POST",
        "/approvals/{approval}/approve",
        "approvals.approve",
        "Approve what another user has asked for: it is carried out, as it is shown",
        Action.DECIDE_APPROVAL,
        _approve,
        Approval,
        refusals={409: "It was decided before, or has expired."},
    ),
    Operation(
        "POST",
        "/approvals/{approval}/deny",
        "approvals.deny",
        "Deny what another user has asked for, or take back what one has asked for oneself: nothing is done",
        Action.DECIDE_APPROVAL,
        _deny,
        Approval,
        refusals={409: "It was decided before, or has expired."},
    ),
)
