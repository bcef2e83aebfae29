"""The agent pages while the member's own directory server is away: the incident that they exist for."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import pytest
from tests.ds389 import HOSTS, PASSWORD, directories
from tests.processes.running import eventually
from tests.whole.clones import clone_set
from tests.whole.directory_sets import reached

from vouchd.agent.pages import menu
from vouchd.client.publishing import FORM
from vouchd.core.facts import Transport

pytestmark = pytest.mark.process

HOST = "ds1.vouchd.test"
BANNER = "The store is away. What is shown is what was known last, and nothing can be changed until it is back."
# What only makes sense with a store: said in words, with what is to be done.
NEEDS_STORE = {menu.ADD_AUTHORITY: "add CA", menu.ADD_CRL: "add CRL", menu.LOWER_NUMBER: "accept lower CRL number"}
FROM_STORE = (menu.SIGNERS, menu.APPROVALS)  # nothing of it is known elsewhere
SHOWN = {
    menu.AUTHORITIES: "CN=Lab CA",
    menu.USERS: "admin",
    f"{menu.USERS}/admin": "Online Certificate Status Manager Agents",
    menu.CLONES: "Who is in the set cannot be read now.",
    menu.SERVICE: "Answering on port",
    menu.CERTIFICATES: "ocspSigningCert",
    menu.TOKENS: "All keys are in files.",
    menu.CHECK: "CN=Lab CA",
    menu.AUDIT: "CRL_RETRIEVAL",
    menu.ALERTS: "Nobody is told.",
    menu.SOURCES: "CRLs are fetched from nowhere.",
    menu.SETTINGS: "vouchd.ee.port",
    menu.SELF_TESTS: "OCSPPresence",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A running instance whose directory server is killed once everybody has all groups."""
    with directories(HOST) as [directory], clone_set(tmp_path_factory.mktemp("pages")) as made:
        made.hosts = {"m": (HOST, HOSTS[HOST])}
        made.write("manager.password", PASSWORD)
        where = ("--directory", *reached(directory, Transport.PLAIN, "directory-"))
        made.make_master("m", *where, "--directory-password-file", "manager.password")
        made.run("user", "groups", "admin", "--instance", "m", *("--add=agents", "--add=auditors"))
        eventually(lambda: made.ask("m", "GET", "/agent/audit")[0] == 200, "an auditor")
        directory.kill()
        eventually(lambda: "vouchd_store_up 0" in made.health("m", "/metrics")[1], "the store is away")
        yield made


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_every_page_of_the_menu_is_tried():
    """A page that is added is tried here, too."""
    assert {entry.path for entry in menu.MENU} <= {*SHOWN, *NEEDS_STORE, *FROM_STORE}


@pytest.mark.parametrize("path", SHOWN)
def test_page_shows_what_was_known_last_under_a_banner(site, path):
    """Whoever was known last sees each page, with what this member knows and the word that nothing can be changed."""
    status, page = site.ask("m", "GET", path)
    assert (status, BANNER in words(page)) == (200, True)
    assert SHOWN[path] in words(page)


def test_page_of_a_ca_shows_what_was_known_last_under_a_banner(site):
    """So does the page behind each line of the list."""
    _, page = site.ask("m", "GET", menu.AUTHORITIES)
    place = re.search(r'href="(/agent/authorities/[0-9a-f]{64})"', page)[1]
    status, page = site.ask("m", "GET", place)
    assert (status, BANNER in words(page), "Certificate revocation list" in words(page)) == (200, True, True)


@pytest.mark.parametrize("path", FROM_STORE)
def test_page_of_what_only_the_store_knows_says_what_is_away(site, path):
    """Which server cannot be reached, and what to look at."""
    status, page = site.ask("m", "GET", path)
    assert status == 503
    assert HOST in words(page)
    assert "is the directory server running?" in words(page)


@pytest.mark.parametrize("path", NEEDS_STORE)
def test_page_that_needs_the_store_says_that_it_is_away(site, path):
    """What would add something says in words why not, and what to do."""
    status, page = site.ask("m", "GET", path)
    assert status == 503
    assert f"admin may not {NEEDS_STORE[path]} while the store is away" in words(page)
    assert "bring the directory server or database back, then try again" in words(page)


def test_checking_a_certificate_works_while_the_store_is_away(site):
    """What a client is told, and why, is known without the store."""
    _, page = site.ask("m", "GET", menu.CHECK)
    token = re.search(r'name="token" value="([0-9a-f]{64})"', page)[1]
    body = urlencode({"token": token, "certificate-text": (site.folder / "good.crt").read_text()}).encode()
    status, page = site.ask("m", "POST", menu.CHECK, body, FORM)
    assert (status, BANNER in words(page)) == (200, True)
    assert "good" in words(page).lower()
