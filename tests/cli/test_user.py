"""`vouchd user list | add | remove | groups | certs | enable | disable`."""

from __future__ import annotations

import json

import pytest

from vouchd.cli.main import main
from vouchd.cli.user import WORDS
from vouchd.core.facts import Group
from vouchd.settings.layout import Layout

AGENTS = "Online Certificate Status Manager Agents"


def listed(capsys) -> dict[str, dict]:
    """The users by id, as `list --json` prints them, but for those that the instance was made with."""
    capsys.readouterr()
    assert main(["user", "list", "--json"]) == 0
    return {user["id"]: user for user in json.loads(capsys.readouterr().out)}


@pytest.fixture
def alice(instance, capsys):
    """The instance, with the agent alice and her certificate `alice.pem`; `second.pem` is nobody's."""
    instance.issue("alice", 1001)
    instance.issue("second", 1002)
    certificate = instance.file("alice.pem")
    assert main(["user", "add", "alice", "--name", "Alice Example", "-g", "agents", "--cert", certificate]) == 0
    capsys.readouterr()
    return instance


def test_add_shows_the_user_and_list_has_it(alice, capsys):
    """A user is made with name, groups and certificate in one command."""
    user = listed(capsys)["alice"]
    assert (user["full_name"], user["groups"], user["enabled"]) == ("Alice Example", [AGENTS], True)
    (certificate,) = user["certificates"]
    assert (certificate["serial"], certificate["issuer"]) == ("0x3e9", "CN=Site CA")
    assert main(["user", "list"]) == 0
    assert "Alice Example" in capsys.readouterr().out


def test_add_is_recorded_in_the_audit_log(alice):
    """Who may come in is an administrative act, on record like the others."""
    lines = Layout(alice.instance).audit_log.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    details = [line["detail"] for line in records if line["event"] == "CONFIG_ROLE"]
    assert [detail["user"] for detail in details][-1] == "alice"
    assert AGENTS in details[-1]["groups"]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["add", "alice"], 73, "is there already"),
        (["add", "a b"], 65, "the body.id: expected"),
        (["add", "bob", "-g", "agent"], 78, "no group is called 'agent'"),
        (["add", "bob", "--cert", "nowhere.pem"], 78, "nowhere.pem: cannot be read"),
        (["remove", "bob"], 66, "no user 'bob'"),
        (["groups", "bob"], 66, "no user 'bob'"),
        (["groups", "alice", "--add", "agents", "--remove", "agents"], 78, "both added and removed"),
        (["certs", "alice", "--remove", "00000000"], 66, "has no certificates"),
    ],
)
def test_wrong_input_is_told_and_changes_nothing(alice, capsys, arguments, code, words):
    """Each mistake has its exit code and words, and leaves the users as they were."""
    before = listed(capsys)
    assert main(["user", *arguments]) == code
    assert words in capsys.readouterr().err
    assert listed(capsys) == before


def test_groups_added_and_removed_by_short_word_or_full_name(alice, capsys):
    """A group is called by our word or by the Certificate System's name, in any case."""
    assert main(["user", "groups", "alice", "--add", "AUDITORS", "--add", "trusted managers"]) == 0
    assert main(["user", "groups", "alice", "--remove", "agents", "--json"]) == 0
    assert listed(capsys)["alice"]["groups"] == ["Auditors", "Trusted Managers"]


def test_groups_every_group_has_a_word():
    """No group is out of the command line's reach."""
    assert set(WORDS.values()) == set(Group)


def test_groups_without_options_shows_the_user(alice, capsys):
    """Nothing given, nothing changed, everything shown."""
    assert main(["user", "groups", "alice"]) == 0
    assert AGENTS in capsys.readouterr().out


def test_certs_added_and_removed(alice, capsys):
    """A renewed certificate is registered beside the old one, which goes by the beginning of its SHA-256."""
    old = listed(capsys)["alice"]["certificates"][0]["sha256"]
    assert main(["user", "certs", "alice", "--add", alice.file("second.pem"), "--remove", old[:12], "--json"]) == 0
    (left,) = json.loads(capsys.readouterr().out)
    assert left["serial"] == "0x3ea"


def test_certs_of_another_user_refused(alice, capsys):
    """A certificate names one user, who is told."""
    main(["user", "add", "bob"])
    assert main(["user", "certs", "bob", "--add", alice.file("alice.pem")]) == 73
    assert "user alice has this certificate already" in capsys.readouterr().err


def test_disable_and_enable(alice, capsys):
    """A user is refused without being forgotten, and let in again."""
    assert main(["user", "disable", "alice"]) == 0
    assert listed(capsys)["alice"]["enabled"] is False
    assert main(["user", "enable", "alice"]) == 0
    assert listed(capsys)["alice"]["enabled"] is True


def test_last_administrator_stays(alice, capsys):
    """Removing the last administrator is refused, with what to do first; afterwards it is possible."""
    main(["user", "groups", "alice", "--add", "administrators"])
    for user in listed(capsys):
        if user != "alice":
            assert main(["user", "remove", user]) == 0
    assert main(["user", "remove", "alice"]) == 77
    assert "another user an administrator first" in capsys.readouterr().err
    main(["user", "add", "bob", "-g", "administrators"])
    assert main(["user", "remove", "alice"]) == 0
    assert set(listed(capsys)) == {"bob"}
