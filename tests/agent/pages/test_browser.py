"""The agent pages as a person uses them: Chromium with a client certificate."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from cryptography import x509
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tests.agent.pages.browser import chromium, prepare_home
from tests.agent.pages.looks import DESK, PHONE, SECONDS, look_as_ever, look_like, looks, require_fit, require_names

from vouchd.agent.pages.menu import MENU

pytestmark = [pytest.mark.process, pytest.mark.browser]

_PAUSE_SECONDS = 0.05  # a page is there sooner than selenium looks for it again by itself
PAGES = (*(entry.path.removeprefix("/agent/") for entry in MENU), "users/admin")


@pytest.fixture(scope="module")
def home(site, tmp_path_factory):
    """A home folder with the administrator's certificate."""
    folder = tmp_path_factory.mktemp("home")
    prepare_home(folder, site.file("ca/ca.crt"), site.layout.admin_pkcs12, site.layout.admin_password)
    return folder


@pytest.fixture(scope="module")
def browser(home):
    """Chromium of somebody whom the instance knows."""
    with chromium(home) as driver:
        yield driver


@contextmanager
def next_page(driver):
    """Wait until what is done inside has brought another page."""
    before = driver.find_element(By.TAG_NAME, "html")
    yield
    wait = WebDriverWait(driver, SECONDS, poll_frequency=_PAUSE_SECONDS)
    wait.until(lambda _: _gone(before))
    wait.until(lambda page: page.execute_script("return document.readyState") == "complete")


def _gone(element) -> bool:
    try:
        element.is_enabled()
    except WebDriverException:  # whatever the driver says of an element of a page that is no more
        return True
    return False


def text(driver) -> str:
    return driver.find_element(By.TAG_NAME, "main").text


def press(driver, label: str) -> None:
    with next_page(driver):
        driver.find_element(By.XPATH, f"//main//button[normalize-space()={label!r}]").click()


def press_after_typing(driver, label: str) -> None:
    """Press a button that takes something away, after typing what its form asks for."""
    form = driver.find_element(By.XPATH, f"//main//button[normalize-space()={label!r}]/ancestor::form")
    form.find_element(By.NAME, "typed").send_keys(form.find_element(By.CSS_SELECTOR, "label code").text)
    press(driver, label)


def console(driver) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser")]


def test_browser_without_certificate_is_refused_with_advice(site, tmp_path):
    """Who brings no certificate sees no facts, but how to come in."""
    prepare_home(tmp_path, site.file("ca/ca.crt"))
    with chromium(tmp_path) as driver:
        driver.get(site.url)
        assert driver.find_element(By.TAG_NAME, "h1").text == "Not allowed"
        assert "You did not provide a valid certificate" in text(driver)
        assert "PKCS #12" in text(driver)
        assert "First CA" not in driver.page_source


def test_agent_removes_and_adds_ca_pastes_crl_and_checks_certificates(site, browser):
    """The whole way of a CA: away, added again, its CRL looked at and taken, its certificates answered for."""
    browser.get(f"{site.url}/agent/authorities")
    with next_page(browser):
        browser.find_element(By.CSS_SELECTOR, "tbody th a").click()
    browser.find_element(By.XPATH, "//summary[normalize-space()='Remove this CA']").click()
    press_after_typing(browser, "Remove")
    assert "was removed" in text(browser)
    assert "No certificate authority yet" in text(browser)

    browser.get(f"{site.url}/agent/add-authority")
    browser.find_element(By.ID, "certificate-file").send_keys(str(site.file("ca/ca.crt")))
    browser.find_element(By.ID, "label").send_keys("The first CA")
    press(browser, "Add Certificate Authority")
    assert "The CA was added." in text(browser)
    assert "No CRL" in text(browser)

    browser.get(f"{site.url}/agent/add-crl")
    _paste(browser, "crl-text", site.file("next.crl").read_text())
    press(browser, "See what it changes")
    shown = text(browser)
    assert "Newly revoked\n+1" in shown
    assert "Entries now\n0" in shown
    press(browser, "Add this CRL")
    assert "The CRL was added and is answered from." in text(browser)

    for name, answer in (("lost", "revoked"), ("kept", "good")):
        browser.get(f"{site.url}/agent/check-certificate")
        _paste(browser, "certificate-text", site.file(f"{name}.crt").read_text())
        press(browser, "Check")
        assert browser.find_element(By.CLASS_NAME, "answer").text == answer
        assert ("reason keyCompromise" in text(browser)) is (answer == "revoked")

    browser.get(f"{site.url}/agent/authorities")
    (row,) = browser.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert "The first CA" in row.text
    assert "Current" in row.text
    assert console(browser) == []


def test_ca_that_no_signer_answers_for_is_refused_on_its_form(site, browser):
    """A CA without a signer is not added: the instance would not start any more; what was typed stays."""
    browser.get(f"{site.url}/agent/add-authority")
    browser.find_element(By.ID, "label").send_keys("A stranger")
    _paste(browser, "certificate-text", site.file("other/ca.crt").read_text())
    press(browser, "Add Certificate Authority")
    alert = browser.find_element(By.CSS_SELECTOR, "[role=alert]")
    assert "was not issued by" in alert.text
    assert browser.switch_to.active_element == alert
    assert browser.find_element(By.ID, "label").get_attribute("value") == "A stranger"
    (refusal,) = console(browser)
    assert "400 (Bad Request)" in refusal
    browser.get(f"{site.url}/agent/authorities")
    assert "A stranger" not in text(browser)


def test_preview_names_serials_and_says_that_a_crl_would_be_held_back(site, browser):
    """What a CRL that changes too much would do is shown before it is sent: which serials, and that it would wait."""
    limits = ("--quarantine-percent", "10", "--quarantine-entries", "0", "--quarantine-gains")
    site.vouchd("ca", "set", _label(site), *limits)
    for number in range(2):
        site.vouchd(
            "ca",
            "issue",
            "--subject",
            f"CN=gone {number}",
            "--name",
            "DNS:x.example.test",
            "--out",
            f"gone{number}.crt",
        )
        site.vouchd("ca", "revoke", f"gone{number}.crt")
    site.vouchd("ca", "crl", "--pem", "--out", "large.crl")
    browser.get(f"{site.url}/agent/add-crl")
    browser.find_element(By.ID, "crl-file").send_keys(str(site.file("large.crl")))
    press(browser, "See what it changes")
    serial = x509.load_pem_x509_certificate(site.file("gone0.crt").read_bytes()).serial_number
    assert hex(serial) in text(browser)
    assert "It would be held back" in text(browser)
    require_fit(browser, "held-back", [("light", 1280, 900), ("dark", 360, 900)])
    site.vouchd("ca", "set", _label(site), "--quarantine-percent", "default")


def _label(site) -> str:
    return json.loads(site.vouchd("ca", "list", "--json"))[0]["id"]


def test_administrator_adds_changes_and_removes_a_user(site, browser):
    """The life of a user on its pages: added with a certificate, moved to other groups, disabled, removed."""
    browser.get(f"{site.url}/agent/users")
    browser.find_element(By.ID, "id").send_keys("alice")
    browser.find_element(By.ID, "full_name").send_keys("Alice Example")
    browser.find_element(By.NAME, "AGENTS").click()
    browser.find_element(By.ID, "certificate-file").send_keys(str(site.file("kept.crt")))
    press(browser, "Add user")
    assert "The user was added." in text(browser)
    assert "CN=kept.example.test" in text(browser)
    _open(browser, "Change the groups")
    browser.find_element(By.NAME, "AGENTS").click()
    browser.find_element(By.NAME, "AUDITORS").click()
    press(browser, "Save groups")
    assert "read audit log" in text(browser)
    assert "add CRL" not in text(browser)
    press(browser, "Disable")
    assert "Disabled" in text(browser)
    press(browser, "Enable")
    press(browser, "Take away CN=kept.example.test")
    assert "No certificate" in text(browser)
    _paste(browser, "certificate-text", site.file("lost.crt").read_text())
    press(browser, "Register")
    assert "CN=lost.example.test" in text(browser)
    _open(browser, "Remove this user")
    press_after_typing(browser, "Remove")
    assert "alice was removed." in text(browser)
    assert console(browser) == []


def test_last_administrator_is_not_removed_on_its_page(site, browser):
    """The instance never ends up with nobody who may change it, and the page says why."""
    browser.get(f"{site.url}/agent/users/admin")
    _open(browser, "Remove this user")
    press_after_typing(browser, "Remove")
    assert "Administrators" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    (refusal,) = console(browser)
    assert "409 (Conflict)" in refusal


def _open(driver, summary: str) -> None:
    driver.find_element(By.XPATH, f"//summary[normalize-space()={summary!r}]").click()


def _paste(driver, field: str, value: str) -> None:
    driver.execute_cdp_cmd("DOM.enable", {})
    driver.find_element(By.ID, field).click()
    driver.execute_cdp_cmd("Input.insertText", {"text": value})


def test_keyboard_alone_reaches_and_answers(site, browser):
    """Nobody needs a mouse: the menu, a form and its answer are worked with Tab, Enter and letters only."""
    browser.get(site.url)
    _tab_to(browser, lambda element: element.text == "Check Certificate Status")
    with next_page(browser):
        _keys(browser, Keys.ENTER)
    _tab_to(browser, lambda element: element.get_attribute("id") == "serial")
    _keys(browser, "0x1234")
    with next_page(browser):
        _keys(browser, Keys.ENTER)
    assert browser.find_element(By.CLASS_NAME, "answer").text == "good"
    focused = browser.switch_to.active_element
    assert focused.get_attribute("aria-label") == "Answer"


def test_skip_link_leads_past_the_menu(site, browser):
    """The first Tab offers to skip the menu."""
    browser.get(site.url)
    _keys(browser, Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to content"
    _keys(browser, Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"


def _keys(driver, keys: str) -> None:
    ActionChains(driver).send_keys(keys).perform()


def _tab_to(driver, wanted) -> None:
    for _ in range(60):
        _keys(driver, Keys.TAB)
        if wanted(driver.switch_to.active_element):
            return
    raise AssertionError("not reached with Tab")


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_is_silent_and_names_everything(site, browser, page):
    """In every size and colour nothing scrolls sideways; the console is empty, there is one h1, what can be used has a name."""
    browser.get(f"{site.url}/agent/{page}")
    (heading,) = browser.find_elements(By.TAG_NAME, "h1")
    assert heading.text
    require_names(browser)
    require_fit(browser, page.replace("/", "-"), looks(DESK, PHONE))
    assert console(browser) == []


def test_header_fits_with_the_long_name_of_a_member_and_of_a_user(site, browser):
    """On a phone a host name as long as they get neither pushes the page aside nor the user out of sight."""
    browser.get(site.url)
    look_like(browser, "light", 360, 740)
    names = {".top .instance": "ocsp1.certification-authorities.example.org:8443", ".who .name": "administrator"}
    for selector, name in names.items():
        browser.execute_script("document.querySelector(arguments[0]).textContent = arguments[1]", selector, name)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    who = browser.find_element(By.CSS_SELECTOR, ".who .name").rect
    assert who["x"] + who["width"] <= 360
    look_as_ever(browser)


def test_list_refreshes_itself_without_being_loaded_again(site, browser):
    """What changes is fetched: the same page shows a CA by the name that it was given elsewhere."""
    browser.get(f"{site.url}/agent/authorities")
    before = browser.find_element(By.TAG_NAME, "html")
    assert "Renamed CA" not in text(browser)
    site.vouchd("ca", "add", "ca/ca.crt", "--label", "Renamed CA", "--instance", "vouchd")
    WebDriverWait(browser, SECONDS).until(lambda driver: "Renamed CA" in text(driver))
    assert before.is_displayed()
