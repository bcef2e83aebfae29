"""Four eyes on the pages: what waits is shown to the letter, approved by another user, denied, or taken back."""

from __future__ import annotations

import re

import pytest
from tests.agent.pages.pages_port import pages_port, words

PAGE = "/agent/approvals"


@pytest.fixture
def pages(tmp_path):
    """Pages where declaring a CA compromised, and removing it, need two."""
    named = "authorities.compromised, authorities.not_compromised, authorities.remove"
    with pages_port(tmp_path / "vouchd", **{"vouchd.fourEyes.operations": named}) as site:
        yield site


def authority(pages):
    (only,) = pages.port.services.store.authorities()
    return only


def page_of_ca(pages) -> str:
    return f"/agent/authorities/{authority(pages).id}"


def answer_page(pages, act: str = "compromise", form=None) -> str:
    """The page that a form of the CA leads to when `agent` sends it."""
    form = {"typed": "Site", **(form or {"since": "2026-01-02T03:04:05Z", "answer": "tryLater"})}
    return words(pages.send(f"{page_of_ca(pages)}/{act}", form, user="agent"))


def waiting(pages) -> str:
    return re.search(rf'action="{PAGE}/([0-9a-f]+)/approve"', pages.show(PAGE).text)[1]


def test_form_of_a_ca_leads_to_what_waits_and_another_user_approves(pages):
    """The first sees that nothing is done yet, and no button to approve; the second sees all of it, and does it."""
    shown = answer_page(pages)
    assert "Nothing is done yet: a second agent has to approve authorities.compromised" in shown
    assert "You have asked for it: another user has to approve it." in shown
    assert "Approve, and do it" not in shown
    seen = words(pages.show(PAGE))
    for word in ("Site", "2026-01-02T03:04:05Z", "tryLater", "by agent from 127.0.0.1", "Approve, and do it", "Deny"):
        assert word in seen
    assert authority(pages).policy.compromised_at is None
    done = words(pages.send(f"{PAGE}/{waiting(pages)}/approve", {}, at=PAGE))
    assert "It was carried out; compromised_at was changed; compromised_answer was changed." in done
    assert "Nothing waits for a second agent." in done
    assert "by everybody" in done
    assert "Declared compromised or ended since 2026-01-02 03:04:05" in words(pages.show(page_of_ca(pages)))
    assert "take the declaration back" in words(pages.show(page_of_ca(pages)))


def test_declaration_is_taken_back_by_two_on_the_page_of_the_ca(pages):
    """The other form of the CA's page waits likewise."""
    answer_page(pages)
    pages.send(f"{PAGE}/{waiting(pages)}/approve", {}, at=PAGE)
    assert "authorities.not_compromised" in answer_page(pages, "compromise/withdraw", {"typed": "Site"})
    pages.send(f"{PAGE}/{waiting(pages)}/approve", {}, at=PAGE)
    assert authority(pages).policy.compromised_at is None


def test_denied_and_taken_back_says_so(pages):
    """Neither changes anything; both are shown among what was decided."""
    for user, said in (("everybody", "It was denied."), ("agent", "It was taken back.")):
        answer_page(pages)
        path = f"{PAGE}/{waiting(pages)}/deny"
        assert said in words(pages.send(path, {}, at=PAGE, user=user))
    assert words(pages.show(PAGE)).count("Denied") == 2
    assert authority(pages).policy.compromised_at is None


@pytest.mark.parametrize(("user", "status"), [("agent", 403), ("administrator", 403), ("auditor", 403)])
def test_who_may_not_approve_is_refused_by_the_form_too(pages, user, status):
    """A form that was made up, or kept from before, does no more than the buttons that are shown."""
    answer_page(pages)
    assert "Approve, and do it" not in words(pages.show(PAGE, user=user))
    approval = waiting(pages)
    at = PAGE if user == "agent" else "/agent/self-tests" if user == "administrator" else None
    token = re.search(r'name="token" value="([0-9a-f]{64})"', pages.show(at, user=user).text)[1] if at else "0" * 64
    refused = pages.port.ask("POST", f"{PAGE}/{approval}/approve", user, body={"token": token})
    assert refused.status == status
    assert authority(pages).policy.compromised_at is None


def test_decided_before_is_said_above_the_list(pages):
    """Of two the one who comes late is told who decided, and sees the page."""
    answer_page(pages)
    approval = waiting(pages)
    pages.send(f"{PAGE}/{approval}/deny", {}, at=PAGE, user="agent")
    late = pages.send(f"{PAGE}/{approval}/approve", {})
    assert late.status == 409
    assert "is denied: agent decided" in words(late)
    assert "Nothing waits for a second agent." in words(late)


@pytest.mark.parametrize("form", [{}, {"typed": "Sites"}, {"typed": "Site", "since": "yesterday"}])
def test_declaration_that_is_not_meant_or_not_understood_is_refused(pages, form):
    """Without the CA's name, or with a time that is none, nothing is put down."""
    assert pages.send(f"{page_of_ca(pages)}/compromise", form, user="agent").status == 400
    assert pages.port.services.store.approvals().entries == ()


def test_page_says_how_four_eyes_are_switched_on(tmp_path):
    """Where nothing needs two, the page leads to the setting."""
    with pages_port(tmp_path / "vouchd") as site:
        shown = site.show(PAGE)
    assert "Nothing: four eyes are off." in words(shown)
    assert 'href="/agent/settings?q=vouchd.fourEyes"' in shown.text
