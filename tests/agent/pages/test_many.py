"""List Certificate Authorities with more CAs than a page shows: pages, and words that are sought."""

from __future__ import annotations

import pytest
from tests.agent.pages.pages_port import pages_port, words
from tests.pki import CA, shared_key

from vouchd.agent.pages import authorities
from vouchd.core.facts import Authority
from vouchd.pkix import certs

LIST = "/agent/authorities"
COUNT = 7


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    with pages_port(tmp_path_factory.mktemp("pages") / "vouchd") as pages:
        cas = [CA.create(f"Sheet {number}", key=shared_key("EC", 44)) for number in range(COUNT)]
        store = pages.port.services.store
        store.put_authorities(
            [Authority(certs.authority_id(ca.certificate), ca.der, f"Sheet {n}") for n, ca in enumerate(cas)]
        )
        yield pages


def shown(pages, query: str = "") -> set[int]:
    """Which of the CAs the page shows."""
    text = words(pages.show(LIST + query))
    return {number for number in range(COUNT) if f"Sheet {number} " in text.replace("CN=", "")}


@pytest.fixture
def short(monkeypatch) -> int:
    """Pages of three CAs."""
    monkeypatch.setattr(authorities, "PAGE", 3)
    return 3


@pytest.mark.usefixtures("short")
def test_list_is_shown_page_by_page(pages):
    """Every CA is on one page; a page that is not there is the last one."""
    total = len(pages.port.services.store.authorities())
    last = -(-total // 3)
    parts = [shown(pages, f"?page={number}") for number in range(1, last + 1)]
    assert set().union(*parts) == set(range(COUNT))
    assert sum(map(len, parts)) == COUNT
    assert shown(pages, "?page=99") == parts[-1]
    assert shown(pages, "?page=no") == parts[0]
    assert f"Page 1 of {last}" in words(pages.show(LIST))


@pytest.mark.usefixtures("short")
def test_list_of_what_is_sought(pages):
    """Words are sought in label, subject and id, whatever their case; nothing is said to be nothing."""
    assert shown(pages, "?find=sHEET+5") == {5}
    assert "No CA has" in words(pages.show(f"{LIST}?find=nowhere"))


def test_list_that_fits_has_no_pages(pages):
    """A short list has neither pages nor a field to search."""
    text = words(pages.show(LIST))
    assert shown(pages) == set(range(COUNT))
    assert "Find" not in text
    assert "Page 1 of" not in text
