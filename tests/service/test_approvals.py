"""Four eyes: what one asks for is done once, when another who may has approved it in time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest
from tests.memory_store import MemoryStore
from tests.service.recording import AGENT, AUDITOR, RecordingAudit

from vouchd.core.approval_facts import MAX_ARGUMENT_BYTES, MAX_WAITING, MAX_WAITING_OF_ONE, ApprovalState
from vouchd.core.facts import Group, User
from vouchd.errors import ApprovalPending, ConfigError, NotFound, PermissionDenied, StoreConflict
from vouchd.service.approvals import EVENT, FourEyes, pending
from vouchd.service.permission import Action, Permission

OPERATION, RIGHT = "authorities.compromised", Action.DECLARE_COMPROMISED
BOB = replace(AGENT, name="bob", origin="192.0.2.9")
CAROL = replace(AGENT, name="carol")
ARGUMENTS = {"path": {"authority": "ab" * 32}, "query": {}, "body": {"answer": "revoked"}}


@dataclass
class World:
    """A store with two agents, and a clock that is set."""

    store: MemoryStore = field(default_factory=MemoryStore)
    audit: RecordingAudit = field(default_factory=RecordingAudit)
    at: int = 1000

    def __post_init__(self) -> None:
        for name in (AGENT.name, BOB.name):
            self.store.put_user(User(name, name, frozenset({Group.AGENTS})), None)

    def now(self) -> int:
        return self.at

    @property
    def four_eyes(self) -> FourEyes:
        """As after each restart: nothing is remembered but in the store."""
        return FourEyes(self.store, Permission(self.audit), self.audit, self, 600)

    def ask_for(self, arguments=ARGUMENTS, caller=AGENT):
        return self.four_eyes.request(OPERATION, arguments, RIGHT, caller)

    def approve(self, approval, caller=BOB):
        return self.four_eyes.approve(approval.id, lambda _: RIGHT, caller)

    def change(self, user_id: str, **changes: object) -> None:
        user = next(one for one in self.store.users() if one.id == user_id)
        self.store.put_user(replace(user, **changes), user)

    @property
    def acts(self) -> list[tuple[str, str, str]]:
        return [
            (detail["operation"], name, outcome)
            for event, name, outcome, detail in self.audit.records
            if event == EVENT
        ]


@pytest.fixture
def world():
    return World()


def test_request_waits_and_another_user_approves(world):
    """The act is then the first one's, with its groups of now; both names stand in each record from then on."""
    approval = world.ask_for()
    assert world.four_eyes.approvals(AUDITOR) == (approval,)
    decided, requester = world.approve(approval)
    assert (decided.state, decided.decided_by) == (ApprovalState.APPROVED, "bob")
    assert (requester.name, requester.groups) == (AGENT.name, AGENT.groups)
    assert requester.origin == f"{AGENT.origin}, approved by bob"
    world.four_eyes.carried_out(decided, "it was changed", BOB, failed=False)
    assert world.four_eyes.find(approval.id, AUDITOR).outcome == "it was changed"
    assert world.acts == [
        ("request", AGENT.name, "success"),
        ("approve", "bob", "success"),
        ("execute", "bob", "success"),
    ]
    event, _, _, detail = world.audit.records[-1]
    assert (event, detail["requester"], detail["approver"]) == (EVENT, AGENT.name, "bob")
    assert "revoked" in detail["arguments"]


def test_requester_approves_nothing_of_its_own(world):
    """Four eyes are two users', whatever certificate the first one comes with; the attempt is on record."""
    approval = world.ask_for()
    with pytest.raises(PermissionDenied, match="asked for it"):
        world.approve(approval, replace(AGENT, origin="192.0.2.77"))
    assert world.four_eyes.find(approval.id, AUDITOR) == approval
    assert world.acts[-1] == ("approve", AGENT.name, "failure")


def test_right_is_wanted_of_both_at_both_moments(world):
    """Who may not do it alone can neither ask for it nor approve it; nor is it done for one that may no more."""
    with pytest.raises(PermissionDenied):
        world.ask_for(caller=AUDITOR)
    approval = world.ask_for()
    with pytest.raises(PermissionDenied):
        world.approve(approval, AUDITOR)
    for change in ({"groups": frozenset({Group.AUDITORS})}, {"enabled": False}):
        world.change(AGENT.name, **change)
        with pytest.raises(PermissionDenied, match="may not declare CA compromised any more"):
            world.approve(approval)
    world.store.remove_user(AGENT.name)
    with pytest.raises(PermissionDenied):
        world.approve(approval)
    assert world.four_eyes.find(approval.id, AUDITOR).state is ApprovalState.WAITING


def test_request_expires_by_the_clock(world):
    """At its end it cannot be approved any more, nor denied, and asking again makes another one."""
    approval = world.ask_for()
    world.at = approval.expires_at
    with pytest.raises(StoreConflict, match="has expired"):
        world.approve(approval)
    with pytest.raises(StoreConflict, match="has expired"):
        world.four_eyes.deny(approval.id, lambda _: RIGHT, BOB)
    again = world.ask_for()
    assert again.id != approval.id
    assert world.approve(again)[0].id == again.id


def test_two_approvals_at_one_moment_one_carries_it_out(world):
    """Of several who approve at once one is told to do it, and the others that it was decided."""
    approval = world.ask_for()
    start, outcomes = threading.Barrier(5), []

    def decide() -> None:
        start.wait(30)
        try:
            outcomes.append(world.approve(approval)[0].state)
        except StoreConflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait(30)
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [ApprovalState.APPROVED, *["conflict"] * 3]


def test_decision_about_one_does_not_stand_in_the_way_of_another(world):
    """All of them are one fact: a change of another one between reading and writing is gone round."""
    first, second = world.ask_for(), world.ask_for(ARGUMENTS | {"body": None})
    stale = world.store.approvals()
    world.four_eyes.deny(second.id, lambda _: RIGHT, BOB)

    reads = iter([stale])
    read = world.store.approvals
    world.store.approvals = lambda: next(reads, None) or read()
    assert world.approve(first)[0].state is ApprovalState.APPROVED


def test_denied_is_not_done_and_can_be_taken_back_by_who_asked(world):
    """Either may say no, somebody without the right may not; after that nobody can approve."""
    for caller in (BOB, AGENT):
        approval = world.ask_for()
        with pytest.raises(PermissionDenied):
            world.four_eyes.deny(approval.id, lambda _: RIGHT, AUDITOR)
        denied = world.four_eyes.deny(approval.id, lambda _: RIGHT, caller)
        assert (denied.state, denied.decided_by) == (ApprovalState.DENIED, caller.name)
        with pytest.raises(StoreConflict, match="denied"):
            world.approve(approval)


def test_what_waits_already_is_not_put_down_twice(world):
    """The same once more, by whomever, leads to the one that waits, and says whose it is."""
    approval = world.ask_for()
    assert world.ask_for() == world.ask_for(caller=CAROL) == approval
    assert len(world.store.approvals().entries) == 1
    error = pending(approval, CAROL)
    assert isinstance(error, ApprovalPending)
    assert f"{AGENT.name} has asked for it before" in str(error)
    assert approval.id in error.hint


def test_what_can_wait_is_bounded_for_one_and_for_all(world):
    """One agent cannot fill the list for all others, and nothing too large is put down."""

    def ask(number: int, caller) -> None:
        world.ask_for({"path": {"authority": str(number)}, "query": {}, "body": None}, caller)

    for number in range(MAX_WAITING_OF_ONE):
        ask(number, AGENT)
    with pytest.raises(ConfigError, match="wait for a second agent"):
        ask(99, AGENT)
    for number in range(MAX_WAITING_OF_ONE, MAX_WAITING):
        ask(number, replace(AGENT, name=f"agent-{number}"))
    with pytest.raises(ConfigError, match="wait for a second agent"):
        ask(99, CAROL)
    world.at += 600
    with pytest.raises(ConfigError, match="bytes to be shown"):
        world.ask_for({"body": "x" * MAX_ARGUMENT_BYTES})


def test_reference_is_the_id_or_its_first_digits(world):
    """Some digits do where they name one; fewer than four, and those of none, name nothing."""
    approval = world.ask_for()
    assert world.four_eyes.find(approval.id[:6].upper(), AUDITOR) == approval
    for reference in ("", approval.id[:3], "0" * 16):
        with pytest.raises(NotFound):
            world.four_eyes.find(reference, AUDITOR)
