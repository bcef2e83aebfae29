"""Four eyes in a set that runs: what waits is seen at every member, and the role itself is handed over by two."""

from __future__ import annotations

import json

import pytest
from tests.processes.running import eventually
from tests.whole.clones import clone_set

from vouchd.instance.lifecycle import status

pytestmark = pytest.mark.process

NAMED = "vouchd.fourEyes.operations=cloning.promote, authorities.remove"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A running master and its clone with four eyes on, and two administrators: the first one and bob."""
    with clone_set(tmp_path_factory.mktemp("pair")) as made:
        made.make_master(start=False)
        issued = ("--profile", "user", "--subject", "CN=Bob", "--out", "bob.crt", "--key-out", "bob.key")
        made.run("ca", "issue", "--ca", "lab", *issued)
        groups = ("--group", "administrators", "--group", "agents")
        made.run("user", "add", "bob", *groups, "--cert", "bob.crt", "--instance", "m")
        made.run("user", "groups", "admin", "--add", "agents", "--instance", "m")
        made.run("config", "set", NAMED, "--instance", "m")
        made.prepare()
        made.run("start", "--instance", "m")
        made.run(*made.create("c"))
        made.run("config", "set", NAMED, "--instance", "c")
        made.run("restart", "--instance", "c")
        yield made


def place(pair, member: str, who: str) -> list[str]:
    """The options by which that administrator asks that member."""
    options = ["--url", f"https://{pair.id_of(member)}", "--trust", "lab/ca.crt"]
    if who == "bob":
        return [*options, "--client-cert", "bob.crt", "--client-key", "bob.key"]
    _, certificate, _, key, _, password = pair.as_administrator()
    return [*options, "--client-cert", certificate, "--client-key", key, "--cert-password-file", password]


def approvals(pair, member: str) -> list[dict]:
    """All of them as that member shows them to bob."""
    return json.loads(pair.run("approval", "list", "--all", "--json", *place(pair, member, "bob")))


def waiting(pair, member: str) -> list[str]:
    """The operations that wait, as that member's own report has them."""
    return [one.operation for one in status(pair.layout(member)).report.waiting_approvals]


def test_what_waits_at_the_master_is_seen_at_the_clone_and_decided_at_the_master(pair):
    """The clone shows it, and leaves the decision, and the alert, to the master."""
    pair.run("authority", "remove", "CN=Lab CA", *place(pair, "m", "admin"), code=75)
    eventually(lambda: waiting(pair, "m") == ["authorities.remove"], "the master tells of it")
    (one,) = eventually(lambda: approvals(pair, "c"), "the clone shows it")
    assert (one["operation"], one["requester"], one["state"]) == ("authorities.remove", "admin", "waiting")
    assert waiting(pair, "c") == []
    assert "master" in pair.refused("approval", "approve", one["id"], *place(pair, "c", "bob"))
    pair.run("approval", "deny", one["id"], *place(pair, "m", "bob"))
    eventually(lambda: approvals(pair, "c")[0]["state"] == "denied", "the clone shows what became of it")
    eventually(lambda: waiting(pair, "m") == [], "nothing waits any more")


def test_role_is_handed_over_by_two(pair):
    """One administrator asks for it, the other one approves; then the clone is the master, and what was approved is shown there."""
    refusal = pair.done("clone", "promote", pair.id_of("c"), *place(pair, "m", "admin"), code=75)
    assert "a second agent has to approve cloning.promote" in refusal.stderr
    assert pair.members("m") == {pair.id_of("m"): False, pair.id_of("c"): True}
    (one,) = (one for one in approvals(pair, "m") if one["state"] == "waiting")
    done = pair.run("approval", "approve", one["id"], *place(pair, "m", "bob"))
    assert "the role was moved" in done
    roles = {pair.id_of("m"): True, pair.id_of("c"): False}
    eventually(lambda: pair.members("c") == pair.members("m") == roles, "both know the new master")
    eventually(lambda: one["id"] in {seen["id"] for seen in approvals(pair, "c")}, "the new master keeps it")
    states = {seen["id"]: seen["state"] for seen in approvals(pair, "c")}
    assert states[one["id"]] in {"approved", "done"}
