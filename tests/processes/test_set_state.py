"""What the manager makes of the other members: what is shown of them, and the checks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.cloning.test_peers import OTHER

from vouchd.api.checks import Check, checks
from vouchd.cloning.peers import PeerState
from vouchd.cloning.verdicts import Difference, Verification, VerifiedMember
from vouchd.instance.report import InstanceReport, ReplicationReport, ServedPoint, ServerReport
from vouchd.processes.set_state import OtherMembers
from vouchd.processes.store_watch import Published

OF_THE_SET = ("members", "behind", "clocks", "replication", "verification", "upkeep")


def checks_of(members: OtherMembers, points: tuple[ServedPoint, ...]) -> dict[str, Check]:
    """The readiness checks about the set, of an instance that knows of it what `members` does."""
    report = InstanceReport(
        1,
        2,
        ("127.0.0.1", 1),
        ("127.0.0.1", 2),
        issuing_points=points,
        members=members.reports(),
        behind=members.behind(),
        upkeep=members.failing(),
        replication=members.replication(),
    )
    named = {check.name: check for check in checks(report, members.verification(), 3)}
    return {name: named[name] for name in OF_THE_SET}


class Seen:
    """The other members of a manager that serves two CAs, as a test sets them."""

    def __init__(self) -> None:
        points = tuple(ServedPoint(name, "complete", name.upper(), 1, 1, 1, None, 1, 0, 0) for name in ("a", "b"))
        self.peers = SimpleNamespace(states=(), behind=frozenset(), elsewhere=lambda _: {})
        self.upkeep = SimpleNamespace(errors={})
        self.watch = SimpleNamespace(error="", published=Published(1, points))
        self.replication = SimpleNamespace(report=None)
        self.members = OtherMembers(self.peers, self.upkeep, self.watch, self.replication)

    def check(self, name: str):
        return checks_of(self.members, self.watch.published.points)[name]


@pytest.fixture
def seen():
    return Seen()


@pytest.mark.parametrize(("behind", "ok", "required"), [("", True, False), ("a", False, False), ("ab", False, True)])
def test_member_that_is_behind_for_every_ca_is_not_ready(seen, behind, ok, required):
    """Who has an answer for some CA stays in; who has none is taken out."""
    seen.peers.behind = frozenset(behind)
    check = seen.check("behind")
    assert (check.ok, check.required) == (ok, required)


def test_members_clocks_and_work_are_told_of(seen):
    """Who cannot be reached, whose clock differs and what fails is named."""
    seen.peers.states = (PeerState(OTHER, reachable=False, skew_seconds=-11, error="no connection"),)
    seen.upkeep.errors["following"] = "no connection"
    assert OTHER.id in seen.check("members").detail
    assert f"{OTHER.id} by -11 s" in seen.check("clocks").detail
    assert "following (no connection)" in seen.check("upkeep").detail
    (report,) = seen.members.reports()
    assert (report.role, report.reachable, report.error) == ("clone", False, "no connection")


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (ServerReport("o2:8443", "ds2:636", "green", 0), ""),
        (ServerReport("o2:8443", "ds2:636", "amber", 60), ""),
        (ServerReport("o2:8443", "ds2:636", "amber", 61), "behind for 61 s; `vouchd directory status`"),
        (ServerReport("o2:8443", "ds2:636", "red", why="not in reach", hint="start it"), "not in reach; start it"),
    ],
)
def test_server_that_changes_do_not_reach_is_named_with_what_to_do(seen, server, said):
    """A directory server that is cut off, or late for long, is advice with its reason and hint; a short lag is none."""
    assert seen.check("replication").ok  # before it was looked at
    seen.replication.report = ReplicationReport(1, (server,))
    check = seen.check("replication")
    assert (check.ok, check.required) == (not said, False)
    assert said in check.detail
    assert check.ok or server.server in check.detail


def test_member_that_answers_otherwise_is_told_of(seen):
    """The first difference of the newest comparison is advice; a member that is away is told of as such only."""
    one = Difference("status", "revoked 0x1 of A", "GET", "certStatus", "revoked", "good")
    comparison = Verification(
        1, (VerifiedMember("o2:1", differences=1, examples=(one,)), VerifiedMember("o3:1", "away"))
    )
    assert seen.check("verification").ok
    seen.members.verification = lambda: comparison
    check = seen.check("verification")
    assert (check.ok, check.required) == (False, False)
    assert "o2:1 (status: revoked 0x1 of A (GET): certStatus is revoked here, good there)" in check.detail
    assert "o3:1" not in check.detail


def test_instance_alone_has_nothing_to_tell():
    """Outside a set every check passes."""
    seen = Seen()
    alone = OtherMembers(None, seen.upkeep, seen.watch)
    assert all(check.ok for check in checks_of(alone, seen.watch.published.points).values())
    assert (alone.reports(), alone.behind()) == ((), ())
