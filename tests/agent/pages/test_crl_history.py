"""CRL history on its page: what is kept, downloads, and the difference of two that are chosen."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from tests.agent.agent_port import crl
from tests.agent.pages.pages_port import pages_port, words

from vouchd.agent.pages import crls
from vouchd.clock import SystemClock


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of an instance that has taken a second CRL: 12 on hold, and 20 to 26."""
    with pages_port(tmp_path_factory.mktemp("history") / "vouchd") as made:
        services = made.port.services
        listed = {12: x509.ReasonFlags.certificate_hold, **dict.fromkeys(range(20, 27))}
        taken = crl(made.site, listed, age=60)
        services.ingesting.accept_crl(taken, "test", services.caller, SystemClock().now())
        yield made


@pytest.fixture
def place(pages) -> str:
    (site,) = (one for one in pages.port.services.store.authorities() if one.label == "Site")
    return f"/agent/authorities/{site.id}/points/complete"


def test_history_leads_to_downloads_and_to_the_difference(pages, place):
    """From the CA's page to the list; each CRL comes as it was stored; the two newest are chosen."""
    assert f'href="{place}/history"' in pages.show(place.partition("/points")[0]).text
    page = pages.show(place + "/history")
    links = re.findall(r'href="(/api/v1/[^"]+)" download', page.text)
    assert [pages.show(link).status for link in links] == [200, 200]
    (before,) = re.findall(r'name="before" value="([0-9a-f]+)" checked', page.text)
    (after,) = re.findall(r'name="after" value="([0-9a-f]+)" checked', page.text)
    text = words(pages.show(f"{place}/difference?before={before}&after={after}"))
    assert "Came +7 Went 0 Listed otherwise 1" in text
    assert "0xc changed" in text
    assert "keyCompromise" in text
    assert "certificateHold" in text


def test_difference_of_many_comes_in_parts(pages, place, monkeypatch):
    """Each part says which it is, and leads to the next and the one before."""
    monkeypatch.setattr(crls, "PART", 3)
    two = re.findall(r'name="before" value="([0-9a-f]+)"', pages.show(place + "/history").text)
    query = f"{place}/difference?before={two[1]}&after={two[0]}"
    first = pages.show(query)
    assert "1 to 3 of 8, by serial number" in words(first)
    assert 'rel="prev"' not in first.text
    last = pages.show(query + "&skip=6")
    assert "7 to 8 of 8, by serial number" in words(last)
    assert 'rel="next"' not in last.text
    assert "0x1a" in last.text


@pytest.mark.parametrize("query", ["", "?before=zz&after=1", "?before=deadbeef&after=deadbeef&skip=x"])
def test_crl_that_is_not_kept_is_said_on_the_list(pages, place, query):
    """Whoever chose wrongly is on the list again, with the reason."""
    page = pages.show(f"{place}/difference{query}")
    assert 400 <= page.status < 500
    assert "CRL history" in words(page)
    assert 'role="alert"' in page.text
