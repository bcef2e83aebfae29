"""Members on their pages: the role handed over, a member taken out, join tokens; what it changes is said first."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from tests.agent.agent_port import Reply
from tests.agent.domain_site import HOST, Master, a_clone, a_master
from tests.agent.pages.pages_port import words

from vouchd.agent.pages import menu
from vouchd.cloning.registry import master_of

SECOND = a_clone(2).id
PAGE = menu.CLONES
OF_SECOND = f"{PAGE}/{SECOND}"


@dataclass
class Site:
    """A master with one clone, whose pages an administrator looks at."""

    master: Master

    def show(self, path: str, user: str = "administrator") -> Reply:
        return self.master.ask("GET", path, user)

    def send(self, path: str, form: dict[str, str], user: str = "administrator") -> Reply:
        token = re.search(r'name="token" value="([0-9a-f]{64})"', self.show(PAGE, user).text)[1]
        reply = self.master.ask("POST", path, user, body={**form, "token": token})
        return self.show(reply.headers["Location"], user) if reply.status == 303 else reply

    @property
    def members(self) -> list[str]:
        return [one.id for one in self.master.services.store.members()]

    @property
    def tokens(self) -> list[str]:
        return [one.digest[:16] for one in self.master.services.store.tokens()]


@pytest.fixture
def site(tmp_path):
    with a_master(tmp_path / "instance") as master:
        master.member(2)
        yield Site(master)


def test_role_is_handed_over_when_the_member_is_typed(site):
    """Who becomes what is said first; without the name nothing moves."""
    shown = words(site.show(OF_SECOND))
    assert f"Becomes the master {SECOND}, within seconds, with term 2" in shown
    assert f"Becomes a clone {HOST}:8443" in shown
    assert "this instance has not seen it yet" in shown
    refused = site.send(OF_SECOND + "/promote", {"typed": "ocsp2"})
    assert refused.status == 400
    assert f"if that is right, type: {SECOND}" in words(refused)
    assert master_of(site.master.services.store.members()).id == f"{HOST}:8443"
    site.send(OF_SECOND + "/promote", {"typed": SECOND})
    assert master_of(site.master.services.store.members()).id == SECOND
    clone = words(site.show(f"{PAGE}/{HOST}:8443"))
    assert f"{SECOND} is the master, and hands the role over itself" in clone
    assert f"on the page of {HOST}:8443 there, or: vouchd clone promote --force" in clone


def test_member_is_taken_out_with_what_that_changes_said_first(site):
    """Tokens that become void, what it still knows; the master of others cannot be taken out, which is said."""
    site.master.token()
    shown = words(site.show(OF_SECOND))
    assert "Join tokens 1 become void" in shown
    assert "new ones for all who stay: vouchd domain renew" in shown
    assert "move the role first" in words(site.show(f"{PAGE}/{HOST}:8443"))
    assert site.send(OF_SECOND + "/remove", {}).status == 400
    assert SECOND in site.members
    assert f"{SECOND} is out of the set." in words(site.send(OF_SECOND + "/remove", {"typed": SECOND}))
    assert (site.members, site.tokens) == ([f"{HOST}:8443"], [])
    assert site.show(OF_SECOND).status == 404


def test_join_token_is_made_shown_once_listed_and_void(site):
    """It is as good as any, its page alone has it, and what was taken back lets nobody in."""
    made = site.send(PAGE + "/tokens", {"minutes": "5"})
    token = re.search(r"<pre class=\"wrap\">([\w-]{40,})</pre>", made.text)[1]
    (name,) = site.tokens
    listed = site.show(PAGE)
    assert name in words(listed)
    assert token not in listed.text
    assert f"The join token {name} is void." in words(site.send(PAGE + "/tokens/void", {"id": name}))
    assert site.tokens == []
    assert "nobody may join" in words(site.show(PAGE))
    assert site.send(PAGE + "/tokens/void", {"id": name}).status == 404


@pytest.mark.parametrize("minutes", ["", "soon", "0", "999999999", "-5"])
def test_time_that_is_none_makes_no_token(site, minutes):
    """Nothing is made, and the reason is said."""
    assert 400 <= site.send(PAGE + "/tokens", {"minutes": minutes}).status < 500
    assert site.tokens == []


@pytest.mark.parametrize("act", ["/tokens", "/tokens/void", f"/{SECOND}/promote", f"/{SECOND}/remove"])
def test_set_is_changed_by_those_who_have_the_right(site, act):
    """Staff sees who is in the set and what could be done, and no more."""
    for path in (PAGE, OF_SECOND):
        page = site.show(path, "auditor")
        assert page.status == 200
        assert "<form" not in page.text.partition("<main")[2]
    assert site.master.ask("POST", PAGE + act, "auditor", body={}).status == 403


def test_taking_out_with_its_keys_renewed_shows_each_step(site):
    """Ticked, what it knew is disowned at once, and the page of the clones says what is done and what waits for whom."""
    done = words(site.send(OF_SECOND + "/remove", {"typed": SECOND, "renew": "yes"}))
    assert "being renewed, step by step, for all who stay" in done
    assert "request a new key for each signer waits ocspSigningCert" in done
    assert site.master.services.store.keyring().disowned
    assert SECOND not in site.members


def test_keys_of_the_set_are_renewed_from_the_page_of_the_clones(site):
    """Also for a member that was taken out long ago; an auditor sees the steps and begins nothing."""
    assert "Renew the keys of the set" in words(site.show(PAGE))
    assert "Renew them" not in words(site.show(PAGE, "auditor"))
    assert "The keys of the set are being renewed." in words(site.send(PAGE + "/renewal", {}))
    assert "Renew them" not in words(site.show(PAGE))
    assert site.master.services.store.keyring().unasked == (SECOND,)
