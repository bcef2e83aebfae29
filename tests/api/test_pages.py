"""Long lists come in pages, which together are the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA

from vouchd.api.pages import Page, page_of
from vouchd.cli import instance as reached
from vouchd.cli import lifecycle
from vouchd.cli.instance import all_authorities, all_issuing_points
from vouchd.errors import NotFound


@given(st.integers(0, 30), st.integers(1, 10))
def test_pages_one_after_the_other_are_the_whole_list(count, limit):
    """Whatever the limit: each page begins behind the one before, and the first that is shorter is the last."""
    every, entries, after = [f"{number}" for number in range(count)], [], ""
    while True:
        page = page_of(every, str, Page(after, limit))
        entries += page
        if len(page) < limit:
            break
        after = page[-1]
    assert entries == every


def test_page_after_what_is_gone_is_refused():
    """Nothing is left out in silence: who pages on from a CA that was removed begins again."""
    with pytest.raises(NotFound) as caught:
        page_of(["a", "b"], str, Page("c"))
    assert "first page" in caught.value.hint


def test_lists_of_the_api_are_paged_and_the_commands_ask_for_all_pages(api, monkeypatch):
    """A page of one, the next by its name; a command puts all of them together."""
    for number in range(3):
        api.ask("POST", "/authorities", {"certificate": CA.create(f"Paged {number}").pem.decode()})
    monkeypatch.setattr(reached, "MOST", 1)

    class Remote:
        def call(self, name: str, after: str, limit: int) -> list:
            path = {"authorities.list": "/authorities", "crls.list": "/issuing-points"}[name]
            return api.get(f"{path}?after={after}&limit={limit}")

    every = api.get("/authorities")
    assert len(every) > 3
    assert list(all_authorities(Remote())) == every
    assert list(all_issuing_points(Remote())) == api.get("/issuing-points")
    assert [one["id"] for one in api.get(f"/authorities?after={every[0]['id']}&limit=2")] == [
        one["id"] for one in every[1:3]
    ]
    assert api.ask("GET", "/authorities?limit=0")[0] == 400
    assert api.ask("GET", "/authorities?after=nothing")[0] == 404


def test_status_shows_some_issuing_points_and_tells_of_the_others(api, capsys):
    """With many CAs what follows them stays on the screen; a program gets all of them."""
    report = api.get("/instance")
    point = {"label": "CA", "scope": "complete", "crl_number": 7, "entries": 1}
    point |= {"this_update": "2026-01-01T00:00:00Z", "next_update": "2026-01-02T00:00:00Z"}
    report["issuing_points"] = [point] * 150
    lifecycle._show(report, json_output=False)
    shown = capsys.readouterr().out
    assert shown.count(point["this_update"]) == 100
    assert "50 more: vouchd crl list" in shown
    lifecycle._show(report, json_output=True)
    assert capsys.readouterr().out.count(point["this_update"]) == 150
