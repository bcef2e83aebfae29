"""Signers, and a CA that two agents declare compromised, as people do it: Chromium, a keyboard, a phone, in the dark."""

from __future__ import annotations

import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.agent.pages.browser import chromium, prepare_home
from tests.agent.pages.conftest import AgentSite, create_instance, running
from tests.agent.pages.looks import DESK, looks, require_fit, require_names
from tests.agent.pages.test_browser import (
    _keys,
    _paste,
    _tab_to,
    console,
    next_page,
    press,
    press_after_typing,
    text,
)
from tests.processes.running import eventually

from vouchd.instance.report import read_report

pytestmark = [pytest.mark.process, pytest.mark.browser]

SIGNERS, APPROVALS = "/agent/signers", "/agent/approvals"
NAMED = "authorities.compromised, authorities.not_compromised"


@pytest.fixture(scope="module")
def signers(tmp_path_factory):
    """A running instance with four eyes on, its administrator, who is an agent too, and another agent."""
    made = AgentSite(tmp_path_factory.mktemp("signers"))
    create_instance(made, "--workers", "1")
    issued = ("--profile", "user", "--subject", "CN=Ada", "--out", "ada.crt", "--key-out", "ada.key")
    made.vouchd("ca", "issue", *issued)
    made.vouchd("user", "add", "ada", "--group", "agents", "--cert", "ada.crt", "--instance", "vouchd")
    made.vouchd("user", "groups", "admin", "--add", "agents", "--instance", "vouchd")
    made.vouchd("ca", "create", "--ca", "tier2", "--subject", "CN=Tier two,O=Example")
    trusted = ("--trusted-responder", "--label", "Tier two", "--instance", "vouchd")
    made.vouchd("authority", "add", "tier2/ca.crt", *trusted)
    made.vouchd("config", "set", f"vouchd.fourEyes.operations={NAMED}", "--instance", "vouchd")
    with running(made):
        yield made


@pytest.fixture(scope="module")
def browser(signers, tmp_path_factory):
    """Chromium of the administrator."""
    home = tmp_path_factory.mktemp("home")
    prepare_home(home, signers.file("ca/ca.crt"), signers.layout.admin_pkcs12, signers.layout.admin_password)
    with chromium(home) as driver:
        yield driver


def look(driver, name: str) -> None:
    """In both colours, at a desk and on a phone, all of the page is there, and everything that can be used is named."""
    require_fit(driver, name, looks(DESK, (390, 844)))
    require_names(driver)


def state_of(driver, site, nickname: str, key: int) -> str:
    """What the page says of that key when it is loaded anew."""
    driver.get(f"{site.url}{SIGNERS}")
    row = f"//section[h2[contains(., {nickname!r})]]//tr[th[normalize-space()='Key {key}']]/td[1]"
    return driver.find_element(By.XPATH, row).text


def until_current(driver, site, nickname: str, key: int, what: str) -> None:
    """Wait until that key signs, asking as a script does, which costs less than a page; then the page says so as well."""

    def versions() -> list[dict]:
        return json.loads(site.ask(f"/api/v1/signers/{nickname}").text)["versions"]

    eventually(lambda: {one["number"]: one["state"] for one in versions()}.get(key) == "current", what)
    assert state_of(driver, site, nickname, key) == "current"


def done(driver, site, act, said: str) -> None:
    """Load the page and act on it until that is said: a switch restarts the instance, which takes no older form then."""

    def acted() -> bool:
        driver.get(f"{site.url}{SIGNERS}")
        act()
        shown = text(driver)
        assert said in shown or "the form is not from these pages" in shown
        return said in shown

    eventually(acted, said)


def _click(driver, button: str) -> None:
    with next_page(driver):
        driver.find_element(By.CSS_SELECTOR, button).click()


def certify(site, request: str) -> str:
    """The certificate that the CA gives for a request."""
    site.file("request.pem").write_text(request)
    site.file("signer.crt").unlink(missing_ok=True)
    site.vouchd("ca", "issue", "--profile", "ocsp-signing", "--csr", "request.pem", "--out", "signer.crt")
    return site.file("signer.crt").read_text()


def test_signer_is_added_installed_rolled_back_and_retired(signers, browser):
    """The whole life of a signer and of the next key of the one that signs, on the page alone."""
    browser.get(f"{signers.url}{SIGNERS}")
    browser.find_element(By.ID, "nickname").send_keys("tier2")
    browser.find_element(By.ID, "subject").send_keys("CN=OCSP tier 2,O=Example")
    press(browser, "Add signer")
    assert "The signer was added; its request is below." in text(browser)
    assert state_of(browser, signers, "tier2", 1) == "requested"
    look(browser, "added")
    section = browser.find_element(By.XPATH, "//section[h2[contains(., 'tier2')]]")
    pasted = certify(signers, section.find_element(By.TAG_NAME, "pre").text)
    _paste(browser, "certificate-tier2", "no certificate")
    with next_page(browser):
        browser.find_element(By.XPATH, "//form[.//textarea[@id='certificate-tier2']]//button").click()
    assert browser.find_element(By.CSS_SELECTOR, ".alert.bad").text
    assert browser.find_element(By.ID, "certificate-tier2").get_attribute("value") == "no certificate"
    assert [line for line in console(browser) if "400 (Bad Request)" not in line] == []
    _paste(browser, "certificate-tier2", pasted)
    with next_page(browser):
        browser.find_element(By.XPATH, "//form[.//textarea[@id='certificate-tier2']]//button").click()
    until_current(browser, signers, "tier2", 1, "the new signer signs")

    default = browser.find_element(By.XPATH, "//h2[span[normalize-space()='default']]").text.split()[0]
    form = f"form[action='{SIGNERS}/{default}/%s'] button"
    done(browser, signers, lambda: _click(browser, form % "request"), "The request is below.")
    section = browser.find_element(By.XPATH, f"//section[h2[contains(., {default!r})]]")
    issued = certify(signers, section.find_element(By.TAG_NAME, "pre").text)

    def install() -> None:
        _paste(browser, f"certificate-{default}", issued)
        press(browser, "Install it")

    done(browser, signers, install, "The certificate was taken in")
    until_current(browser, signers, default, 2, "the next key signs")
    assert state_of(browser, signers, default, 1) in {"rehearsed", "staged"}
    look(browser, "switched")
    done(browser, signers, lambda: _click(browser, form % "switch"), "The set switches")
    until_current(browser, signers, default, 1, "it is rolled back")
    browser.find_element(By.CSS_SELECTOR, "details.danger summary").click()
    look(browser, "retiring")

    def retire() -> None:
        browser.find_element(By.CSS_SELECTOR, "details.danger summary").click()
        press_after_typing(browser, "Retire key 2")

    done(browser, signers, retire, "The key was retired.")
    assert state_of(browser, signers, default, 2) == "retired"
    assert [line for line in console(browser) if "403 (Forbidden)" not in line] == []


def test_ca_is_declared_compromised_by_two_agents_with_the_keyboard(signers, browser, tmp_path):
    """One asks for it on the page of the CA, without a mouse; the other one sees all of it and has it done."""
    browser.get(f"{signers.url}/agent/authorities")
    with next_page(browser):
        browser.find_element(By.LINK_TEXT, "Tier two").click()
    page = browser.current_url
    _tab_to(browser, lambda element: element.text == "Declare it compromised or ended")
    _keys(browser, Keys.ENTER)
    look(browser, "declaring")
    _tab_to(browser, lambda element: element.get_attribute("id") == "since")
    _keys(browser, "2026-01-02T03:04:05Z")
    _tab_to(browser, lambda element: element.get_attribute("id") == "typed-compromised")
    _keys(browser, "Tier two")
    with next_page(browser):
        _keys(browser, Keys.ENTER)
    assert "Nothing is done yet: a second agent has to approve authorities.compromised" in text(browser)
    assert "Take it back" in text(browser)
    eventually(lambda: waiting(signers) == ["authorities.compromised"], "alerts and metrics know of it")

    home = tmp_path / "home"
    _pkcs12(signers, tmp_path)
    prepare_home(home, signers.file("ca/ca.crt"), tmp_path / "ada.p12", tmp_path / "password")
    with chromium(home) as second:
        second.get(f"{signers.url}{APPROVALS}")
        assert "2026-01-02T03:04:05Z" in text(second)
        look(second, "approving")
        _tab_to(second, lambda element: element.text.startswith("Approve, and do it"))
        with next_page(second):
            _keys(second, Keys.ENTER)
        assert "It was carried out; compromised_at was changed." in text(second)
        second.find_element(By.CSS_SELECTOR, "details.card summary").click()
        look(second, "approved")
        assert console(second) == []
    eventually(lambda: waiting(signers) == [], "nothing waits any more")
    browser.get(page)
    assert "Declared compromised or ended since" in text(browser)
    look(browser, "compromised")
    assert console(browser) == []


def waiting(site) -> list[str]:
    """The operations that wait for a second agent, as the report of the instance has them."""
    return [one.operation for one in read_report(site.layout.serving).waiting_approvals]


def _pkcs12(site, folder) -> None:
    """The other agent's key and certificate as a file for a browser."""
    key = load_pem_private_key(site.file("ada.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(site.file("ada.crt").read_bytes())
    bundle = pkcs12.serialize_key_and_certificates(b"ada", key, certificate, None, BestAvailableEncryption(b"secret"))
    (folder / "ada.p12").write_bytes(bundle)
    (folder / "password").write_text("secret")
