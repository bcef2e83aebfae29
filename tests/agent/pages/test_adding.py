"""Adding CAs and users on their pages: in every form, each CA of a bundle; no success is told without its effect."""

from __future__ import annotations

import base64

import pytest
from tests.agent.pages.pages_port import pages_port, words
from tests.cli.test_certificate_files import BUNDLES, ONE
from tests.pki import CA, shared_key

ADD = "/agent/add-authority"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    with pages_port(tmp_path_factory.mktemp("pages") / "vouchd") as pages:
        yield pages


def text(data: bytes) -> str:
    """What a person can paste."""
    return data.decode() if b"-----BEGIN" in data else base64.b64encode(data).decode()


@pytest.mark.parametrize("form", ONE)
def test_page_takes_a_ca_in_each_form(pages, form):
    """The CA is added whatever it is wrapped in; trust settings beside it are said to be left out."""
    ca = CA.create(f"CA in {form}", key=shared_key("EC", 41))
    shown = words(pages.send(ADD, {"certificate-text": text(ONE[form](ca))}))
    assert "The CA was added." in shown
    assert ("were left out" in shown) is ("trusted" in form)


@pytest.mark.parametrize("form", BUNDLES)
def test_page_takes_each_ca_of_a_bundle(pages, form):
    """Of a bundle every CA is added, and what is none is named."""
    first, second = (CA.create(f"{number} CA of {form}", key=shared_key("EC", 42)) for number in ("First", "Second"))
    leaf = second.issue("www.example.test")
    shown = words(pages.send(ADD, {"certificate-text": text(BUNDLES[form](leaf, first, second))}))
    assert "2 CAs were added." in shown
    assert "'CN=www.example.test' is no CA and was left out" in shown
    names = {one.label for one in pages.port.services.store.authorities()}
    assert {f"CN=First CA of {form}", f"CN=Second CA of {form}"} <= names


def test_page_with_a_bundle_and_one_label_adds_nothing(pages):
    """One name for several CAs is a mistake that is told before anything is added."""
    before = pages.port.facts()
    cas = [CA.create(f"CA {number}", key=shared_key("EC", 43)) for number in range(2)]
    reply = pages.send(ADD, {"certificate-text": text(BUNDLES["PEM"](*cas)), "label": "both"})
    assert reply.status == 400
    assert "one label for several CAs" in words(reply)
    assert pages.port.facts() == before


UNCHANGED = "Nothing was changed: it was there already, just so."


def test_page_that_adds_a_ca_again_says_that_nothing_was_changed(pages):
    """A CA that is there just so is no success of adding it; one that is there otherwise is changed, which is named."""
    ca = CA.create("Twice CA", key=shared_key("EC", 44))
    form = {"certificate-text": text(ca.pem), "label": "Twice"}
    assert "The CA was added." in words(pages.send(ADD, form))
    before = pages.port.facts()
    assert UNCHANGED in words(pages.send(ADD, form))
    assert pages.port.facts() == before
    shown = words(pages.send(ADD, form | {"label": "Thrice"}))
    assert "It was there already: its label is Thrice, and was Twice." in shown


def test_page_that_changes_a_user_to_what_it_is_says_that_nothing_was_changed(pages):
    """The forms of users tell no success either that has no effect; one that is there otherwise is refused."""
    form = {"id": "grace", "AUDITORS": "on"}
    assert "The user was added." in words(pages.send("/agent/users", form))
    before = pages.port.facts()
    certificate = {"certificate-text": text(pages.port.users["agent"].pem)}
    for path, again in (
        ("/agent/users", form),
        ("/agent/users/grace/groups", {"AUDITORS": "on"}),
        ("/agent/users/grace/enabled", {"enabled": "yes"}),
        ("/agent/users/agent/certificates", certificate),
    ):
        assert UNCHANGED in words(pages.send(path, again)), path
    refused = pages.send("/agent/users", form | {"AGENTS": "on"})
    assert (refused.status, "with other groups" in words(refused)) == (409, True)
    assert pages.port.facts() == before
