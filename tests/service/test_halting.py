"""A responder that the self tests have halted: tryLater to everything, and nothing forgotten."""

from __future__ import annotations

import pytest
from tests.pki import CA, NOW
from tests.serving import point, request_for, responder, serving, signer, state

from vouchd.errors import OCSPResponseStatus


@pytest.mark.parametrize("nonce", [None, b"n" * 32])
def test_halted_responder_answers_try_later_only(nonce):
    """Also what was prepared before, and what is no request, gets tryLater that nobody may store."""
    ca = CA.create()
    answering = responder(state(serving(ca, point(ca))), signer(ca.issue_signer()))
    request = request_for(ca, 0x1234, nonce=nonce)
    assert answering.answer(request, NOW).status is OCSPResponseStatus.SUCCESSFUL
    answering.halt(True)
    for octets in (request, b"", b"junk"):
        answer = answering.answer(octets, NOW)
        assert (answer.status, answer.cause) == (OCSPResponseStatus.TRY_LATER, "self_test")
        assert not answer.terms.cacheable


def test_halted_responder_goes_on_from_the_newest_state():
    """What was published meanwhile is answered from when the halt is lifted."""
    ca = CA.create()
    answering = responder(state(), signer(ca.issue_signer()))
    answering.halt(True)
    answering.replace(state(serving(ca, point(ca))))
    request = request_for(ca, 0x1234)
    assert answering.answer(request, NOW).status is OCSPResponseStatus.TRY_LATER
    answering.halt(False)
    assert answering.answer(request, NOW).status is OCSPResponseStatus.SUCCESSFUL


def test_same_verdict_once_more_ends_nothing():
    """A manager that was restarted says again how it stands: what was answered before is current still."""
    ca = CA.create()
    answering = responder(state(serving(ca, point(ca))), signer(ca.issue_signer()))
    answer = answering.answer(request_for(ca, 0x1234), NOW)
    answering.halt(False)
    assert answer.terms.basis.current
    answering.halt(True)
    assert not answer.terms.basis.current
