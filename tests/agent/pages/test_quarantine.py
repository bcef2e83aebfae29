"""Releasing a CRL that is held back: first what it changes, and the number when it un-revokes thousands."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver.common.by import By
from tests.agent.pages.browser import chromium, prepare_home
from tests.processes.running import eventually

from vouchd.agent.pages.forms import MANY_LOST, Form, require_number_lost
from vouchd.errors import BadInput

FEW = "1"


@pytest.mark.parametrize(
    ("typed", "lost", "right"), [("", 999, True), ("", 1000, False), ("1 000", 1000, True), ("999", 1000, False)]
)
def test_number_is_asked_for_when_thousands_would_no_longer_be_revoked(typed, lost, right):
    """A slip of the finger un-revokes no thousands."""
    form = Form({"typed": typed}, {})
    assert MANY_LOST == 1000
    if right:
        require_number_lost(form, lost)
    else:
        with pytest.raises(BadInput, match=str(lost)):
            require_number_lost(form, lost)


@pytest.mark.process
def test_release_shows_what_it_changes_and_is_no_primary_button(site, tmp_path):
    """The page of the CA leads to what the CRL would change; only there it is released, and leaving it is the first choice."""
    authority = json.loads(site.vouchd("ca", "list", "--json"))[0]["id"]
    limits = ("--quarantine-percent", FEW, "--quarantine-entries", "0", "--quarantine-gains")
    site.vouchd("ca", "set", authority, *limits)
    names = ("--subject", "CN=held.example.test", "--name", "DNS:held.example.test")
    site.vouchd("ca", "issue", *names, "--out", "held.crt", "--key-out", "held.key")
    site.vouchd("ca", "revoke", "held.crt")
    site.vouchd("ca", "crl", "--pem", "--out", "held.crl")
    site.vouchd("crl", "add", "held.crl", code=75)
    prepare_home(tmp_path, site.file("ca/ca.crt"), site.file("vouchd/admin.p12"), site.file("vouchd/admin.password"))
    with chromium(tmp_path) as browser:
        browser.get(f"{site.url}/agent/authorities/{authority}")
        browser.find_element(By.LINK_TEXT, "See what it changes, and release").click()
        eventually(lambda: "Leave it held back" in browser.page_source, "the page of the release")
        page = browser.find_element(By.TAG_NAME, "main")
        assert "Newly revoked" in page.text
        (primary,) = page.find_elements(By.CSS_SELECTOR, ".button.primary")
        assert primary.text == "Leave it held back"
        page.find_element(By.XPATH, "//button[contains(., 'Release')]").click()
        eventually(lambda: "The CRL was released." in browser.page_source, "the page after the release")
    site.vouchd("ca", "set", authority, "--quarantine-percent", "default")
