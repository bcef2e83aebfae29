"""The signers of the set on their page: requested for, taken in, switched to, retired."""

from __future__ import annotations

import re
from html import unescape

import pytest
from cryptography import x509
from tests.agent.pages.pages_port import pages_port, words
from tests.est_server import _Public
from tests.pki import DAY

from vouchd.clock import SystemClock

PAGE = "/agent/signers"


@pytest.fixture
def pages(tmp_path):
    with pages_port(tmp_path / "vouchd") as pages:
        yield pages


def nickname(pages) -> str:
    return pages.port.services.settings.default_signer


def ring(pages):
    return pages.port.services.store.keyring()


@pytest.mark.parametrize("act", ["request", "install", "switch", "retire"])
def test_signers_are_changed_by_administrators_alone(pages, act):
    """Whoever may see the page may not press its buttons."""
    assert pages.port.ask("GET", PAGE, "agent").status == 200
    assert "<form" not in pages.port.ask("GET", PAGE, "agent").text.partition("<main")[2]
    assert pages.port.ask("POST", f"{PAGE}/{nickname(pages)}/{act}", "agent", body={}).status == 403
    assert ring(pages).versions == ()


def test_signer_is_requested_for_installed_and_aimed_at_on_its_page(pages):
    """The page shows the request, takes the certificate that is pasted, and says what the set waits for."""
    name = nickname(pages)
    assert "current" in words(pages.show(PAGE))
    shown = pages.send(f"{PAGE}/{name}/request", {}, at=PAGE)
    pem = re.search(r"-----BEGIN CERTIFICATE REQUEST-----.*?-----END CERTIFICATE REQUEST-----\n", shown.text, re.DOTALL)
    csr = x509.load_pem_x509_csr(unescape(pem[0]).encode())
    now = SystemClock().now()
    issued = pages.site.issue_signer(key=_Public(csr.public_key()), not_before=now - DAY, not_after=now + DAY)
    done = pages.send(f"{PAGE}/{name}/install", {"certificate": issued.pem.decode()}, at=PAGE)
    assert "the set switches when every member could sign with it" in words(done)
    assert "to be switched to" in words(done)
    assert ring(pages).target == ((name, 2),)
    pages.send(f"{PAGE}/{name}/switch", {"number": "1"}, at=PAGE)
    assert ring(pages).target == ((name, 1),)
    assert "retired" in words(pages.send(f"{PAGE}/{name}/retire", {"number": "2", "typed": f"{name} 2"}, at=PAGE))


@pytest.mark.parametrize(
    ("act", "form"), [("switch", {"number": "x"}), ("retire", {}), ("install", {"certificate": " "})]
)
def test_form_that_does_not_say_what_is_meant_changes_nothing(pages, act, form):
    """A button without its number, and an empty paste, are refused with words."""
    refused = pages.send(f"{PAGE}/{nickname(pages)}/{act}", form, at="/agent/check-certificate")
    assert refused.status == 400
    assert ring(pages).versions == ()
