"""What guards the agent pages: rights, tokens, the Content-Security-Policy."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

pytestmark = pytest.mark.process

PAGES = (
    "authorities",
    "add-authority",
    "add-crl",
    "check-certificate",
    "service",
    "approvals",
    "alerts",
    "certificates",
    "tokens",
    "sources",
    "settings",
    "settings/change",
    "audit",
    "self-tests",
)
FORMS = (
    *("add-authority", "add-crl", "add-crl/confirm", "check-certificate", "self-tests", "tokens"),
    *("alerts", "sources", "settings/change", "settings/change/confirm", "settings/restart"),
)
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


@pytest.fixture(scope="module")
def auditor(site):
    """A user in the group Auditors only."""
    site.vouchd("ca", "issue", "--profile", "user", "--subject", "CN=Ada", "--out", "ada.crt", "--key-out", "ada.key")
    leaf = x509.load_pem_x509_certificates(site.file("ada.crt").read_bytes())[0]
    site.file("leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    site.vouchd("user", "add", "ada", "--group", "Auditors", "--cert", "leaf.pem", "--instance", "vouchd")
    return "ada"


@pytest.mark.parametrize("page", PAGES)
def test_page_allows_nothing_inline_and_nothing_from_elsewhere(site, page):
    """Every page has the strict policy, and holds no script, style or handler that the policy would stop."""
    answer = site.ask(f"/agent/{page}")
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == POLICY
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", answer.text)
    assert not re.search(r"(?:src|href|action)=\"(?!/|#)", answer.text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("token", ["", "0" * 64])
def test_form_without_its_token_is_refused(site, form, token):
    """A form that this user did not fetch does nothing (cross-site request forgery)."""
    answer = site.ask(f"/agent/{form}", form={"token": token} if token else {"x": ""})
    assert answer.status == 403
    assert "the form is not from these pages" in answer.text


def test_token_of_another_user_is_refused(site, auditor):
    """A token counts for the certificate that it was given to only."""
    stolen = site.token(auditor)
    form = {"token": stolen, "serial": "0x1", "authority": ""}
    assert site.ask("/agent/check-certificate", form=form).status == 403
    assert site.ask("/agent/check-certificate", who=auditor, form=form).status == 404


def test_form_from_another_site_is_refused_even_with_a_token(site):
    """The browser's own word on where a form comes from counts as well."""
    form = {"token": site.token(), "serial": "0x1", "authority": ""}
    answer = site.ask("/agent/check-certificate", form=form, **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403


def test_menu_has_the_names_and_order_of_the_certificate_system(site):
    """The agent menu is the one that people know, with ours after it."""
    menu = re.search(r"<nav.*?</nav>", site.ask("/agent/service").text, re.DOTALL)[0]
    titles = [re.sub(r"<.*?>", "", link).strip() for link in re.findall(r"<a .*?</a>", menu, re.DOTALL)]
    assert titles == [
        "List Certificate Authorities",
        "Add Certificate Authority",
        "Add Certificate Revocation List",
        "Check Certificate Status",
        "OCSP Service",
        "Accept Lower CRL Number",
        "Approvals",
        "Alerts",
        "CRL Sources",
        "System Certificates",
        "Signers",
        "Tokens",
        "Clones",
        "Users",
        "Settings",
        "Audit Log",
        "Self Tests",
    ]


def test_auditor_sees_what_an_auditor_may_only(site, auditor):
    """A page that the caller's groups give no right to is neither in the menu nor answered."""
    text = site.ask("/agent/audit", who=auditor).text
    assert "Add Certificate Authority" not in text
    assert site.ask("/agent/add-authority", who=auditor).status == 403
    assert site.ask("/agent/add-crl", who=auditor).status == 403
    assert "Run all" not in site.ask("/agent/self-tests", who=auditor).text


@pytest.mark.parametrize("page", ["", "ocsp/agent/ocsp/", *(f"agent/{page}" for page in PAGES)])
def test_page_without_certificate_is_refused(site, page):
    """Nobody is let in without a certificate; the answer is a page that says so."""
    answer = site.ask(f"/{page}", who="")
    assert answer.status == 403
    assert "You did not provide a valid certificate" in answer.text
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/", "/ocsp/agent/ocsp/"])
def test_start_leads_to_the_first_page_of_the_menu(site, path):
    """Both addresses that people type lead to the list of CAs."""
    answer = site.ask(path)
    assert (answer.status, answer.headers["Location"]) == (303, "/agent/authorities")


def test_static_file_is_kept_for_ever_under_its_content_address(site):
    """The style sheet's address names its content, so a browser need not ask again."""
    address = re.search(r'href="(/static/agent\.css\?[0-9a-f]+)"', site.ask("/agent/service").text)[1]
    answer = site.ask(address, who="")
    assert answer.status == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert site.ask("/static/pages.py", who="").status == 404


def test_text_from_outside_is_shown_as_text(site):
    """What a caller sends is never markup on a page."""
    answer = site.ask("/agent/audit?text=%3Cscript%3Ealert(1)%3C/script%3E%22%3E")
    assert answer.status == 200
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize("query", ["since=yesterday", "until=9999-99-99", "before=x", "limit=-1", "outcome=%00"])
def test_audit_search_with_nonsense_is_no_error_of_the_server(site, query):
    """Whatever the query holds gets a page."""
    assert site.ask(f"/agent/audit?{query}").status in {200, 400}


def test_crl_of_an_unknown_ca_is_refused_before_anything_is_staged(site):
    """A CRL that nobody would take is told so at the first step, with what to do."""
    site.vouchd("ca", "crl", "--ca", "other", "--pem", "--out", "foreign.crl")
    form = {"token": site.token(path="/agent/add-crl"), "crl-text": site.file("foreign.crl").read_text()}
    answer = site.ask("/agent/add-crl", form=form)
    assert answer.status == 422
    assert "is no CA of this responder" in answer.text


def test_confirmation_without_a_staged_crl_changes_nothing(site):
    """A CRL is taken only after it was looked at, by the same user."""
    form = {"token": site.token(path="/agent/add-crl"), "staged": "ab" * 32}
    answer = site.ask("/agent/add-crl/confirm", form=form)
    assert answer.status == 404
    assert "is not held any more" in answer.text
