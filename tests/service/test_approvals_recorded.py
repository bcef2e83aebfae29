"""What stands in the log, and in the store, of each act that waits for a second agent."""

from __future__ import annotations

import hashlib
import json

import pytest
from tests.service.recording import AGENT, AUDITOR
from tests.service.test_approvals import ARGUMENTS, BOB, OPERATION, RIGHT, World

from vouchd.core.approval_facts import MAX_ARGUMENT_BYTES, Approval, ApprovalState
from vouchd.errors import ConfigError, PermissionDenied, StoreConflict
from vouchd.service.approvals import EVENT, pending
from vouchd.service.permission import Action

TEXT = json.dumps(ARGUMENTS, sort_keys=True, separators=(",", ":"))
ACTION = "declare CA compromised"


@pytest.fixture
def world():
    return World()


def log(world: World) -> list[tuple]:
    """What was recorded since it was read last: event, who, outcome, details."""
    records = list(world.audit.records)
    world.audit.records.clear()
    return records


def entry(approval: Approval, operation: str, name: str, outcome: str = "success", **more: str) -> tuple:
    """The record of one act on it."""
    detail = {
        "operation": operation,
        "target": f"{OPERATION} ({approval.id})",
        "requester": AGENT.name,
        "arguments": TEXT,
        "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
    }
    return EVENT, name, outcome, detail | more


def right(name: str, target: str, outcome: str = "success") -> tuple:
    """That the right to it was looked at."""
    return "AUTHZ", name, outcome, {"action": ACTION, "target": target}


def test_request_is_kept_and_recorded_to_the_letter(world):
    """What is to be done, who wants it and from where, since when and until when; as it will be carried out."""
    approval = world.ask_for()
    assert len(approval.id) == 16
    assert approval == Approval(approval.id, OPERATION, TEXT, AGENT.name, AGENT.origin, 1000, 1600)
    assert log(world) == [right(AGENT.name, f"ask for {OPERATION}"), entry(approval, "request", AGENT.name)]
    assert world.four_eyes.approvals(AUDITOR) == (approval,)


def test_approval_and_its_outcome_are_recorded(world):
    """Who approved, and in the end what came of it, with its words as far as they can be shown."""
    approval = world.ask_for()
    log(world)
    world.at = 1599
    decided, _ = world.approve(approval)
    assert (decided.state, decided.decided_by, decided.decided_at) == (ApprovalState.APPROVED, "bob", 1599)
    target = f"approve {OPERATION} ({approval.id})"
    assert log(world) == [right("bob", target), entry(approval, "approve", "bob", approver="bob")]
    for failed, state, outcome in ((False, ApprovalState.DONE, "success"), (True, ApprovalState.FAILED, "failure")):
        after = world.four_eyes.carried_out(decided, "x" * 501, BOB, failed=failed)
        assert (after.state, after.outcome) == (state, "x" * 500)
        assert world.four_eyes.find(approval.id, AUDITOR) == after
        assert log(world) == [entry(approval, "execute", "bob", outcome, approver="bob", why="x" * 500)]


def test_refused_approval_is_recorded(world):
    """Of who asked for it, and of an act that who asked may not do any more."""
    approval = world.ask_for()
    log(world)
    with pytest.raises(PermissionDenied):
        world.approve(approval, AGENT)
    assert log(world) == [entry(approval, "approve", AGENT.name, "failure")]
    world.change(AGENT.name, enabled=False)
    with pytest.raises(PermissionDenied):
        world.approve(approval)
    target = f"approve {OPERATION} ({approval.id})"
    assert log(world) == [right("bob", target), entry(approval, "approve", "bob", "failure")]


def test_denial_is_recorded(world):
    """By another one with the right to it, or by who asked, who needs none to take it back."""
    for caller in (BOB, AGENT):
        approval = world.ask_for()
        log(world)
        world.four_eyes.deny(approval.id, lambda _: RIGHT, caller)
        grants = [right("bob", f"deny {OPERATION} ({approval.id})")] if caller is BOB else []
        assert log(world) == [*grants, entry(approval, "deny", caller.name, approver=caller.name)]


def test_long_arguments_are_recorded_cut_with_the_digest_of_all(world):
    """The log has what fits, and what tells one long request from another."""
    arguments = {"body": "x" * (MAX_ARGUMENT_BYTES - len('{"body":""}'))}
    approval = world.ask_for(arguments)
    (_, _, _, detail) = log(world)[-1]
    assert (len(approval.arguments), len(detail["arguments"])) == (MAX_ARGUMENT_BYTES, 2000)
    assert detail["sha256"] == hashlib.sha256(approval.arguments.encode()).hexdigest()
    with pytest.raises(ConfigError):
        world.ask_for({"body": arguments["body"] + "x"})
    with pytest.raises(ConfigError):
        world.ask_for({"body": "ü" * (MAX_ARGUMENT_BYTES // 6 + 1)})


@pytest.mark.parametrize("act", ["request", "approve", "execute"])
@pytest.mark.parametrize(("conflicts", "done"), [(4, True), (5, False)])
def test_act_is_tried_five_times_while_others_decide(world, act: str, conflicts: int, done: bool):
    """All of what waits is one fact, so others get in between; nobody tries for ever, and nothing is half done."""
    waiting = None if act == "request" else world.ask_for()
    decided = world.approve(waiting)[0] if act == "execute" else waiting
    before, put = world.store.approvals(), world.store.put_approvals
    left = [None] * conflicts

    def quicker(approvals, replaces):
        if left:
            left.pop()
            raise StoreConflict("another one was quicker")
        put(approvals, replaces)

    world.store.put_approvals = quicker
    acts = {
        "request": world.ask_for,
        "approve": lambda: world.approve(waiting),
        "execute": lambda: world.four_eyes.carried_out(decided, "done", BOB, failed=False),
    }
    if done:
        acts[act]()
        assert world.store.approvals() != before
    else:
        with pytest.raises(StoreConflict, match="others decide all the time"):
            acts[act]()
        assert world.store.approvals() == before


def test_who_is_told_that_it_waits_is_told_what_and_until_when(world):
    """Its id, for the second one; that another one has asked for it, where that is so."""
    approval = world.ask_for()
    message = f"nothing is done yet: a second agent has to approve {OPERATION} ({approval.id}) by 1970-01-01T00:26:40Z"
    assert str(pending(approval, AGENT)) == message
    assert str(pending(approval, BOB)) == f"{message}; {AGENT.name} has asked for it before"


def test_right_that_is_wanted_of_the_second_one_is_that_of_the_operation(world):
    """To approve it and to deny it: another operation may need another right."""
    operations: list[str] = []

    def right_of(operation: str) -> Action:
        operations.append(operation)
        return RIGHT

    world.four_eyes.approve(world.ask_for().id, right_of, BOB)
    world.four_eyes.deny(world.ask_for().id, right_of, BOB)
    assert operations == [OPERATION, OPERATION]
