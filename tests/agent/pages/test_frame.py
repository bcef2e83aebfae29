"""What stands around every page: the head that names the instance, and the page for an address that has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.agent.pages.pages_port import pages_port, words

from vouchd.agent.pages.rendering import Instance
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    with pages_port(tmp_path_factory.mktemp("pages") / "alone") as pages:
        yield pages


def test_wrong_address_leads_to_a_page_with_a_way_back(pages):
    """Whoever is known and asks for a page that is not there is told so on one."""
    reply = pages.show("/agent/no-such-page")
    assert reply.status == 404
    assert "Not found" in words(reply)
    assert 'href="/"' in reply.text


def test_wrong_address_tells_a_stranger_nothing(pages):
    """Who is not known is not told which pages there are."""
    assert (
        pages.port.ask("GET", "/agent/no-such-page", None).status == pages.port.ask("GET", "/agent/users", None).status
    )


@pytest.mark.parametrize(("seconds", "role"), [(300, "master"), (CLONE_REFRESH_SECONDS, "clone")])
def test_head_names_a_member_by_host_domain_and_role(pages, seconds, role):
    """In a set every page says which member it is of, and what that is in the set."""
    services = pages.port.services
    settings = replace(
        services.settings,
        refresh_seconds=seconds,
        of_set=replace(services.settings.of_set, host="ocsp1.example", domain="Example"),
    )
    port = services.settings.agent.port
    assert Instance.of(services.layout, settings) == Instance(f"ocsp1.example:{port}", "Example", role)


def test_head_names_an_instance_alone_by_its_folder(pages):
    """Outside a set there is no domain and no role to be named."""
    services = pages.port.services
    settings = replace(services.settings, of_set=replace(services.settings.of_set, host=""))
    assert Instance.of(services.layout, settings) == Instance(services.layout.root.name, "", "")
