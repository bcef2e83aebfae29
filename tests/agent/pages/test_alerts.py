"""Alerts on their page: what stands and what is over, which page helps, and a test message by each carrier."""

from __future__ import annotations

import pytest
from tests.agent.pages.pages_port import pages_port, words
from tests.alerts.planted import NOW, PLANTED, SOUND
from tests.alerts.receivers import DEADLINE_SECONDS, nobody, web_server

from vouchd.agent.pages import menu
from vouchd.agent.pages.alerts import PAGE_OF
from vouchd.alerts.conditions import CONDITIONS
from vouchd.alerts.ledger import Ledger

PAGE = menu.ALERTS


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of an instance with a carrier that works and one that nobody listens to, and the requests that come."""
    with web_server() as (port, requests):
        carriers = {
            "vouchd.alert.good.by": "webhook",
            "vouchd.alert.good.url": f"http://127.0.0.1:{port}/",
            "vouchd.alert.bad.by": "webhook",
            "vouchd.alert.bad.url": f"http://127.0.0.1:{nobody()}/",
        }
        with pages_port(tmp_path_factory.mktemp("alerts") / "vouchd", **carriers) as pages:
            with pages.port.services.layout.password_conf.open("a") as passwords:
                passwords.write("alert.good=correct horse\nalert.bad=battery staple\n")
            yield pages, requests


@pytest.fixture
def pages(site):
    return site[0]


@pytest.fixture
def ledger(pages):
    path = pages.port.services.layout.alerts
    yield Ledger(path, "o1.example:8443", ())
    path.unlink(missing_ok=True)


def test_every_condition_has_a_page_that_helps():
    """An alert leads somewhere, and to a page that is in the menu."""
    assert set(PAGE_OF) == {condition.name for condition in CONDITIONS}
    assert set(PAGE_OF.values()) <= {entry.path for entry in menu.MENU}
    assert len({condition.title for condition in CONDITIONS}) >= len(CONDITIONS) - 1


def test_alert_that_stands_is_said_in_words_with_what_helps(pages, ledger):
    """Since when, how grave, what was seen, the command, the page, and the chapter."""
    assert "No alert stands" in words(pages.show(PAGE))
    ledger.look(PLANTED["crl-expired"][0])
    page = pages.show(PAGE)
    (alert,) = ledger.standing
    assert f"A CRL has ended {alert.subject} Critical" in words(page)
    assert alert.words in words(page)
    assert "have the CA publish, or: vouchd crl retire" in words(page)
    assert 'href="/agent/authorities?find=' in page.text


def test_alert_that_is_over_is_shown_with_its_end(pages, ledger):
    """What was in the night is seen in the morning."""
    ledger.look(PLANTED["audit"][0])
    ledger.look(SOUND)
    text = words(pages.show(PAGE))
    assert "No alert stands" in text
    assert "Resolved lately" in text
    assert "The audit log cannot be written Critical" in text


def test_carrier_is_shown_with_its_last_outcome(pages, ledger):
    """That one delivers, and since when and why another fails."""
    path = pages.port.services.layout.alerts
    path.write_text(
        f'{{"outcomes": {{"good": {{"at": {NOW}}}, "bad": {{"at": {NOW}, "error": "connection refused"}}}}}}'
    )
    text = words(pages.show(PAGE))
    assert "Delivering delivered 20" in text
    assert "Failing connection refused failing since 20" in text


def test_test_message_goes_out_from_the_page_and_its_failure_is_said(site):
    """By one carrier, or by all; what the receiver got is a test."""
    pages, requests = site
    assert "good: the test message went out in" in words(pages.send(PAGE, {"name": "good"}, at=PAGE))
    assert b'"test"' in requests.get(timeout=DEADLINE_SECONDS)[2]
    both = words(pages.send(PAGE, {}, at=PAGE))
    assert "good: the test message went out in" in both
    assert "efused" in both


def test_carriers_are_tried_by_administrators_alone(pages):
    """An agent sees what stands, and sends nothing."""
    assert "Send a test message" not in words(pages.show(PAGE, user="agent"))
    assert pages.port.ask("POST", PAGE, "agent", body={}).status == 403
