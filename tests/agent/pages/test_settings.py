"""Settings on their page: found by words, shown before they are changed, never over another change."""

from __future__ import annotations

import re

import pytest
from tests.agent.pages.pages_port import pages_port, words

from vouchd.agent.pages import menu

PAGE = menu.SETTINGS
KEY = "vouchd.request.maxCertIDs"
CHANGE = {"key": KEY, "value": "7"}


@pytest.fixture
def pages(tmp_path):
    with pages_port(tmp_path / "vouchd") as pages:
        for authority in pages.port.services.store.authorities():  # its CA has certified no signer of the instance
            pages.port.services.store.remove_authority(authority.id)
        yield pages


def line(pages) -> str | None:
    written = re.search(rf"^{re.escape(KEY)}=(.*)$", pages.port.services.layout.cs_cfg.read_text(), re.MULTILINE)
    return written and written[1]


def preview(pages, change: dict[str, str] = CHANGE) -> tuple[dict[str, str], str]:
    """The form that confirms a change, and the words of its page."""
    reply = pages.send(f"{PAGE}/change", change, at=f"{PAGE}/change")
    assert reply.status == 200, words(reply)
    fields = dict(re.findall(r'name="(key|value|default|revision)" value="([^"]*)"', reply.text))
    return fields, words(reply)


def test_settings_are_found_by_their_words(pages):
    """The list has the lines of CS.cfg, a search every key that there is."""
    assert KEY not in pages.show(PAGE).text
    assert KEY in pages.show(f"{PAGE}?q=certids+request").text
    assert "No key has these words." in words(pages.show(f"{PAGE}?q=nosuchword"))


def test_change_is_shown_then_made_then_waits_for_the_restart(pages):
    """Nothing is written before it is confirmed; the page says what the restart is for."""
    fields, shown = preview(pages)
    assert f"+{KEY}=7" in shown
    assert line(pages) is None
    done = words(pages.send(f"{PAGE}/change/confirm", fields, at=f"{PAGE}/change"))
    assert (line(pages), f"{KEY} was changed." in done) == ("7", True)
    assert "restarts with these settings" in words(pages.send(f"{PAGE}/restart", {}, at=f"{PAGE}/change"))
    assert pages.port.running.restarts_asked_for == 1


def test_line_is_taken_out(pages):
    """What holds without a line holds again."""
    pages.send(f"{PAGE}/change/confirm", preview(pages)[0], at=f"{PAGE}/change")
    fields, shown = preview(pages, {"key": KEY, "default": "yes"})
    assert f"-{KEY}=7" in shown
    pages.send(f"{PAGE}/change/confirm", fields, at=f"{PAGE}/change")
    assert line(pages) is None


def test_change_over_another_one_is_refused(pages):
    """What somebody else has written since it was shown is not overwritten."""
    first, second = preview(pages)[0], preview(pages, CHANGE | {"value": "8"})[0]
    pages.send(f"{PAGE}/change/confirm", first, at=f"{PAGE}/change")
    reply = pages.send(f"{PAGE}/change/confirm", second, at=f"{PAGE}/change")
    assert (reply.status, line(pages)) == (409, "7")


@pytest.mark.parametrize("change", [{"value": "none"}, {"key": "vouchd.no.such"}, {"key": ""}])
def test_change_that_cannot_be_is_refused_with_the_reason(pages, change):
    """A value that its key does not take, and a key that is none, are said so where they were typed."""
    reply = pages.send(f"{PAGE}/change", CHANGE | change, at=f"{PAGE}/change")
    assert 400 <= reply.status < 500
    assert line(pages) is None
