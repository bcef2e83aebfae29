"""What was added to a CA is taken away on its pages: an issuing point, a CRL number that went up, a certificate."""

from __future__ import annotations

import hashlib
import re

import pytest
from tests.agent.agent_port import LOCAL, crl
from tests.agent.pages.pages_port import pages_port, words
from tests.pki import CA, shared_key
from tests.service.world import partition

from vouchd.clock import SystemClock
from vouchd.pkix.pem import as_pem
from vouchd.pkix.scope import COMPLETE_SCOPE

LOWER = "/agent/lower-crl-number"
PAGES = {
    "retire": ("GET", "/agent/authorities/{ca}/points/complete/retire", "administrator"),
    "retire it": ("POST", "/agent/authorities/{ca}/points/complete/retire", "administrator"),
    "restore": ("POST", "/agent/authorities/{ca}/points/complete/restore", "administrator"),
    "remove a certificate": ("POST", "/agent/authorities/{ca}/certificates/remove", "administrator"),
    "lower number": ("GET", LOWER, "agent"),
    "see what a lower number changes": ("POST", LOWER, "agent"),
    "take a lower number": ("POST", f"{LOWER}/confirm", "agent"),
}


@pytest.fixture
def pages(tmp_path):
    with pages_port(tmp_path / "vouchd") as pages:
        yield pages


def authority(pages):
    return next(one for one in pages.port.services.store.authorities() if one.label == "Site")


def page_of(pages) -> str:
    return f"/agent/authorities/{authority(pages).id}"


def accept(pages, **kw) -> None:
    revoked = kw.pop("revoked", {12: None})
    services = pages.port.services
    services.ingesting.accept_crl(crl(pages.site, revoked, **kw), "test", LOCAL, SystemClock().now())
    pages.port.publish()


@pytest.mark.parametrize("what", PAGES)
def test_page_is_for_those_alone_who_may(pages, what):
    """The right of the operation decides who comes to its page."""
    method, path, refused = PAGES[what]
    assert pages.port.ask(method, path.format(ca=authority(pages).id), refused, body={}).status == 403


def test_issuing_point_is_retired_after_its_preview_and_comes_again(pages):
    """The preview says what is revoked no longer; retired the point is gone and takes no CRL, until it is let come again."""
    accept(pages, revoked={7: None, 8: None}, age=60, idp=partition("http://ca.test/1.crl", only_user=True))
    scope = next(one.issuing_point.scope_id for one in pages.port.services.store.epochs() if one.idp_der)
    retire = f"{page_of(pages)}/points/{scope}/retire"
    assert retire in pages.show(page_of(pages)).text
    before = pages.port.facts()
    shown = words(pages.show(retire))
    assert "Entries 2" in shown
    assert re.search("No longer revoked, at most .2 ", shown)
    assert pages.port.facts() == before
    done = pages.send(retire, {}, at=retire)
    assert "The issuing point was retired." in words(done)
    assert authority(pages).retired_scopes == (scope,)
    assert [one.issuing_point.scope_id for one in pages.port.services.store.epochs()] == [COMPLETE_SCOPE]
    restored = pages.send(f"{page_of(pages)}/points/{scope}/restore", {}, at=page_of(pages))
    assert "CRLs of that scope are taken again." in words(restored)
    assert authority(pages).retired_scopes == ()


def test_issuing_point_with_thousands_is_retired_by_their_number_alone(pages):
    """A slip of the finger un-revokes no thousands."""
    many = dict.fromkeys(range(1000, 2200))
    accept(pages, revoked=many, age=60, idp=partition("http://ca.test/1.crl", only_user=True))
    scope = next(one.issuing_point.scope_id for one in pages.port.services.store.epochs() if one.idp_der)
    retire = f"{page_of(pages)}/points/{scope}/retire"
    refused = pages.send(retire, {}, at=retire)
    assert (refused.status, authority(pages).retired_scopes) == (400, ())
    assert "1200 certificates would no longer be revoked" in words(refused)
    assert "was retired" in words(pages.send(retire, {"typed": "1200"}, at=retire))


def test_what_is_left_uncovered_by_a_retirement_is_said_first(pages):
    """Without the complete CRL every serial becomes unknown: the preview says so, and the page of the CA afterwards."""
    accept(pages, revoked={7: None}, age=60, idp=partition("http://ca.test/1.crl", only_user=True))
    retire = f"{page_of(pages)}/points/{COMPLETE_SCOPE}/retire"
    assert "What the CRLs that are left do not list becomes unknown." in words(pages.show(retire))


def test_lower_number_is_taken_with_its_reason_after_a_preview(pages):
    """Taken as any other it is refused; an administrator sees what it changes and takes it, and the reason is shown."""
    accept(pages, number=900, age=120)
    newer = as_crl_pem(crl(pages.site, {12: None, 13: None}, number=5, age=60))
    refused = pages.send("/agent/add-crl", {"crl-text": newer}, at="/agent/add-crl")
    assert "It would be refused" in words(refused)
    before = pages.port.facts()
    shown = pages.send(LOWER, {"crl-text": newer, "reason": "mistyped"}, at=LOWER)
    assert "Newly revoked +1" in words(shown)
    assert pages.port.facts() == before
    staged = shown.text.split('name="staged" value="')[1].split('"')[0]
    without = pages.send(f"{LOWER}/confirm", {"staged": staged, "reason": ""}, at=LOWER)
    assert (without.status, pages.port.facts()) == (400, before)
    done = pages.send(f"{LOWER}/confirm", {"staged": staged, "reason": "mistyped"}, at=LOWER)
    assert "The CRL with the lower number was taken" in words(done)
    (epoch,) = pages.port.services.store.epochs()
    assert (epoch.newest.crl_number, epoch.renumbering) == (5, "mistyped")
    assert "taken for: mistyped" in words(pages.show(page_of(pages)))


def as_crl_pem(der: bytes) -> str:
    return as_pem(der).replace("CERTIFICATE", "X509 CRL")


def test_certificate_is_taken_out_of_the_history_when_its_digits_are_typed(pages):
    """The page names each other certificate of the CA, and removes the one that is meant."""
    renewed = CA.create("Site CA", key=shared_key("EC", 51))
    pages.port.services.authorities.add(renewed.der, LOCAL)
    (former,) = authority(pages).history
    digest = hashlib.sha256(former).hexdigest()
    assert f'value="{digest}"' in pages.show(page_of(pages)).text
    remove = f"{page_of(pages)}/certificates/remove"
    unconfirmed = pages.send(remove, {"certificate": digest}, at=page_of(pages))
    assert (unconfirmed.status, len(authority(pages).certificates)) == (400, 2)
    done = pages.send(remove, {"certificate": digest, "typed": digest[:8]}, at=page_of(pages))
    assert "The certificate was taken out of the CA's history." in words(done)
    assert len(authority(pages).certificates) == 1
    assert pages.send(remove, {"certificate": digest, "typed": digest[:8]}, at=page_of(pages)).status == 404


def test_page_of_a_ca_and_the_list_show_what_its_crls_leave_unknown(pages):
    """A CRL that only names its distribution point: its page and the list say that what it does not list is unknown."""
    assert "cover" not in words(pages.show("/agent/authorities"))
    retire = f"{page_of(pages)}/points/{COMPLETE_SCOPE}/retire"
    accept(pages, revoked={7: None}, age=60, idp=partition("http://ca.test/all.crl"))
    pages.send(retire, {}, at=retire)
    for path in ("/agent/authorities", page_of(pages)):
        shown = words(pages.show(path))
        assert "names its distribution point" in shown
        assert f"vouchd authority set {authority(pages).id[:16]} --named-point-covers-all" in shown
