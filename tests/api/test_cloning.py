"""The set changed over REST: tokens, the role of the master, a member taken out; who may is who has the right."""

from __future__ import annotations

import json

import pytest
from tests.agent.domain_site import HOST, Master, a_clone, a_master

from vouchd.cloning.registry import master_of

SECOND = a_clone(2).id


@pytest.fixture
def master(tmp_path) -> Master:
    with a_master(tmp_path / "instance") as master:
        master.member(2)
        yield master


def ask(master: Master, method: str, path: str, user: str, body: object = None) -> tuple[int, dict]:
    """Status and JSON value of the answer."""
    data = None if body is None else json.dumps(body).encode()
    reply = master.ask(method, f"/api/v1{path}", user, body=data, headers={"Content-Type": "application/json"})
    return reply.status, json.loads(reply.body)


def test_token_lets_one_instance_join(master):
    """A token that was given over REST is as good as any, and for as long as was asked for."""
    status, answer = ask(master, "POST", "/join-tokens", "domain", {"seconds": 60})
    assert status == 201
    assert answer["good_until"].endswith("Z")
    assert master.joining(3).join(a_clone(3), answer["token"]).member.clone


def test_role_is_handed_over_by_the_master_alone(master):
    """It appoints by its own key; what is the master already stays so, and afterwards the role is another's to give."""
    status, moved = ask(master, "POST", f"/members/{SECOND}/promote", "administrator")
    assert (status, moved) == (200, {"master": SECOND, "term": 2, "changes": ["the role was moved"]})
    promoted = master_of(master.services.store.members())
    assert (promoted.id, bool(promoted.appointment)) == (SECOND, True)
    assert ask(master, "POST", f"/members/{SECOND}/promote", "administrator") == (200, moved | {"changes": []})
    status, problem = ask(master, "POST", f"/members/{HOST}:8443/promote", "administrator")
    assert (status, problem["error"]) == (400, "ConfigError")
    assert SECOND in problem["title"]


def test_member_taken_out_is_told_with_what_it_still_knows(master):
    """Who takes a member out learns what is to be renewed where it is in wrong hands."""
    status, left = ask(master, "DELETE", f"/members/{SECOND}", "domain")
    assert (status, left["left"]) == (200, SECOND)
    words = " ".join(one["what"] for one in left["still_known"])
    assert "signing keys" in words
    assert "subsystem" in words
    assert all(one["renewal"] for one in left["still_known"])
    assert ask(master, "DELETE", f"/members/{SECOND}", "domain")[0] == 404


def test_master_of_others_is_not_destroyed(master):
    """It would leave a set without a head: nothing is stopped, and the registry stays."""
    status, problem = ask(master, "POST", "/members/destroy", "domain", {})
    assert (status, problem["error"], master.running.stopped) == (400, "ConfigError", False)
    assert len(master.services.store.members()) == 2


def test_last_member_is_destroyed_and_stops_when_it_has_answered(master):
    """With nobody to take leave of it goes alone."""
    ask(master, "DELETE", f"/members/{SECOND}", "domain")
    status, destroyed = ask(master, "POST", "/members/destroy", "domain", {})
    assert (status, destroyed["left"], master.running.stopped) == (200, f"{HOST}:8443", True)


@pytest.mark.parametrize("user", ["agent", "auditor", "publisher", "enterprise", "member of nothing"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/join-tokens"),
        ("POST", f"/members/{SECOND}/promote"),
        ("POST", "/members/destroy"),
        ("DELETE", f"/members/{SECOND}"),
    ],
)
def test_changes_of_the_set_need_the_right(master, user, method, path):
    """Nobody else, and no member, changes the set."""
    before = master.services.store.members()
    assert ask(master, method, path, user, {} if path in {"/join-tokens", "/members/destroy"} else None)[0] == 403
    assert master.services.store.members() == before


def test_replication_of_an_embedded_store_is_none(master):
    """It is said, with the reason."""
    status, problem = ask(master, "GET", "/replication", "auditor")
    assert (status, problem["error"]) == (400, "ConfigError")
