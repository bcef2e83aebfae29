"""The page of the clones while the registry cannot be read: from what was seen of the other members."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.agent.pages.pages_port import pages_port, words

from vouchd.errors import StoreUnavailable
from vouchd.instance.report import MemberReport

OTHER = MemberReport("o2.example.org:8443", "master", reachable=True, seen_at=1_700_000_000)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    def away():
        raise StoreUnavailable("ds1: cannot be reached")

    with pages_port(tmp_path / "vouchd") as pages:
        pages.show("/agent/clones")  # who comes is known from before
        monkeypatch.setattr(pages.port.services.store, "members", away)
        yield pages


def test_page_shows_the_members_as_they_were_seen_last(pages, monkeypatch):
    """This instance with its role, and the others as it saw them last."""
    report = pages.port.running.report
    monkeypatch.setattr(pages.port.running, "report", lambda: replace(report(), members=(OTHER,)))
    shown = words(pages.show("/agent/clones"))
    assert f"{OTHER.id} master" in shown
    assert "this instance Up to date" in shown
    assert "stands alone" not in shown


def test_page_does_not_take_a_member_for_one_that_stands_alone(pages):
    """Where nobody was seen it is said that the registry cannot be read."""
    shown = words(pages.show("/agent/clones"))
    assert "Who is in the set cannot be read now." in shown
    assert "ds1: cannot be reached" in shown
