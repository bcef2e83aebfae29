"""The page of tokens in the browser, and the verbs beside it: how a token does, trying it, what failed."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver.common.by import By
from tests.agent.pages.browser import chromium, prepare_home
from tests.agent.pages.conftest import AgentSite, create_instance, running
from tests.agent.pages.looks import DESK, looks, require_fit
from tests.agent.pages.test_browser import console, press, text
from tests.processes.running import eventually
from tests.softhsm import PIN, SoftHSM, meddling_module

pytestmark = [pytest.mark.process, pytest.mark.browser]

PAGE = "/agent/tokens"


@pytest.fixture(scope="module")
def hsm(tmp_path_factory):
    """SoftHSM with a token `ocsp`, behind a module that fails when it is told to."""
    softhsm = SoftHSM(tmp_path_factory.mktemp("hsm") / "softhsm")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in softhsm.environment.items():
            patch.setenv(name, value)
        softhsm.add("ocsp")
        yield softhsm


@pytest.fixture(scope="module")
def tokens(hsm, tmp_path_factory):
    """A running instance whose signing key is on that token, and a user with its administrators' rights."""
    made = AgentSite(tmp_path_factory.mktemp("tokens"))
    made.file("pin").touch(0o600)
    made.file("pin").write_text(PIN)
    where = ("--token", "ocsp", "--module", str(meddling_module()), "--pin-file", "pin")
    create_instance(made, *where, "--algorithm", "SHA256withRSA", "--workers", "1")
    issued = ("--profile", "user", "--subject", "CN=Ada", "--out", "ada.crt", "--key-out", "ada.key")
    made.vouchd("ca", "issue", *issued)
    groups = ("--group", "administrators", "--group", "agents")
    made.vouchd("user", "add", "ada", *groups, "--cert", "ada.crt", "--instance", "vouchd")
    with running(made):
        eventually(lambda: said(made, "list")[0]["sessions"] == 2, "the sessions of the manager process")
        yield made


@pytest.fixture
def obedient(hsm):
    """The module does what it should again afterwards."""
    yield hsm
    hsm.order()


@pytest.fixture(scope="module")
def browser(tokens, tmp_path_factory):
    """Chromium of the administrator."""
    home = tmp_path_factory.mktemp("home")
    prepare_home(home, tokens.file("ca/ca.crt"), tokens.layout.admin_pkcs12, tokens.layout.admin_password)
    with chromium(home) as driver:
        yield driver


def said(site, *words: str, url: bool = False, code: int = 0):
    """What `vouchd token` gives as JSON, on the folder or over the port."""
    where = ("--instance", "vouchd")
    if url:
        where = ("--url", site.url, "--cert", "ada.crt", "--key", "ada.key", "--trust", "ca/ca.crt")
    return json.loads(site.vouchd("token", *words, *where, "--json", code=code))


def test_token_is_tried_on_its_page_and_shows_what_failed(tokens, obedient, browser):
    """State, sessions and keys at a glance; a trial says how long a signature takes; a failure stays with its time."""
    browser.get(f"{tokens.url}{PAGE}")
    shown = text(browser)
    for words in ("In use", "2 of 2", "ocspSigningCert", "SHA256withRSA", "None since the start"):
        assert words in shown
    press(browser, "Test ocsp")
    assert "ocsp: every key signs." in text(browser)
    assert "ms a signature" in text(browser)
    require_fit(browser, "tokens", looks(DESK, (390, 844)))
    obedient.order("wrong")
    eventually(lambda: said(tokens, "list")[0]["usable"] is False, "the token fails")
    browser.get(f"{tokens.url}{PAGE}")
    press(browser, "Test ocsp")
    assert "ocsp: not every key signs." in text(browser)
    assert "Fails" in browser.find_element(By.CSS_SELECTOR, "td[data-label=State]").text
    assert "token ocsp" in browser.find_element(By.CSS_SELECTOR, "td[data-label='Last failure']").text
    require_fit(browser, "tokens-fails", [("light", 1280, 844), ("dark", 390, 844)])
    assert PIN not in browser.page_source
    assert console(browser) == []


def test_token_that_lets_nobody_in_is_said_on_its_page(tokens, obedient):
    """Why, and what to do; the list stays on the page."""
    obedient.order("locked")
    form = {"label": "ocsp", "token": tokens.token(path=PAGE)}
    answer = tokens.ask(PAGE, form=form)
    assert answer.status == 503
    assert "token ocsp: its PIN is locked" in answer.text
    assert "have its security officer set the PIN anew" in answer.text
    assert "ocspSigningCert" in answer.text


def test_token_that_does_not_exist_is_not_tried(tokens):
    """A label from elsewhere leads nowhere."""
    assert tokens.ask(PAGE, form={"label": "other", "token": tokens.token(path=PAGE)}).status == 404


def test_verbs_of_tokens_say_the_same_on_the_folder_and_over_the_port(tokens):
    """State, content and trial of a token do not depend on where one asks."""
    eventually(lambda: said(tokens, "list")[0]["sessions"] == 2, "the sessions are there again")
    for words in (("list",), ("show", "ocsp"), ("show", "hardware-ocsp")):
        assert said(tokens, *words) == said(tokens, *words, url=True)
    trials = [said(tokens, "test", "ocsp", url=url) for url in (False, True)]
    assert [[(one["key"], one["result"]) for one in trial] for trial in trials] == [[("ocspSigningCert", "good")]] * 2


def test_failing_key_ends_the_trial_with_one_either_way(tokens, obedient):
    """A script sees by the exit code that a key does not sign."""
    obedient.order("wrong")
    assert said(tokens, "test", "ocsp", code=1) == said(tokens, "test", "ocsp", url=True, code=1)


def test_trial_of_a_token_is_in_the_audit_log_and_for_administrators(tokens):
    """Who tried a token, since a trial logs in there."""
    said(tokens, "test", "ocsp", url=True)
    records = [json.loads(line) for line in tokens.layout.audit_log.read_text().splitlines()]
    assert any(one["caller"] == "ada" and "test tokens" in json.dumps(one) for one in records if "caller" in one)
