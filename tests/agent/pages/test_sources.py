"""CRL Sources on their page: added, paused, removed; and what is refused stays typed."""

from __future__ import annotations

import re

import pytest
from tests.agent.pages.pages_port import pages_port, words

from vouchd.agent.pages import menu

PAGE = menu.SOURCES
NEW = {"name": "main", "url": "main.crl", "interval": "600"}


@pytest.fixture
def pages(tmp_path):
    with pages_port(tmp_path / "vouchd") as pages:
        for authority in pages.port.services.store.authorities():  # its CA has certified no signer of the instance
            pages.port.services.store.remove_authority(authority.id)
        yield pages


def lines(pages) -> dict[str, str]:
    """What CS.cfg says of the source."""
    text = pages.port.services.layout.cs_cfg.read_text()
    return dict(re.findall(r"^vouchd\.source\.main\.(\w+)=(.*)$", text, re.MULTILINE))


def test_source_is_added_paused_resumed_and_removed_on_its_page(pages):
    """Each act is a line in CS.cfg, and the instance restarts with it."""
    done = pages.send(PAGE, NEW, at=PAGE)
    assert "main is fetched from; the instance restarts with it." in words(done)
    assert lines(pages) == {"url": "main.crl", "intervalInSec": "600"}
    pages.send(f"{PAGE}/main/paused", {"paused": "yes"}, at=PAGE)
    assert lines(pages)["paused"] == "true"
    pages.send(f"{PAGE}/main/paused", {"paused": "no"}, at=PAGE)
    assert lines(pages)["paused"] == "false"
    assert "nothing was done" in words(pages.send(f"{PAGE}/main/remove", {"typed": "other"}, at=PAGE))
    assert lines(pages)
    assert "main was removed" in words(pages.send(f"{PAGE}/main/remove", {"typed": "main"}, at=PAGE))
    assert lines(pages) == {}
    assert pages.port.running.restarts_asked_for == 4


@pytest.mark.parametrize(
    "change", [{"url": "gopher://crl.example/"}, {"interval": "0"}, {"interval": "soon"}, {"name": "two words"}]
)
def test_source_that_cannot_be_is_refused_and_stays_typed(pages, change):
    """Nothing is written, the reason is said, and nobody types it all again."""
    form = NEW | change
    reply = pages.send(PAGE, form, at=PAGE)
    assert 400 <= reply.status < 500
    assert all(f'value="{text}"' in reply.text for text in form.values())
    assert lines(pages) == {}


@pytest.mark.parametrize("act", ["", "/main/paused", "/main/remove"])
def test_sources_are_changed_by_administrators_alone(pages, act):
    """An agent sees them, and changes none."""
    assert "Add a source" not in words(pages.show(PAGE, user="agent"))
    assert pages.port.ask("POST", PAGE + act, "agent", body={}).status == 403
