"""Drafts signed alone or together, and what an answer says of its own size and times."""

from __future__ import annotations

import pytest
from tests.pki import CA, HOUR, NOW, serial_octets, shared_key
from tests.service.test_answering import read, statuses, verify_signature
from tests.serving import point, request_for, responder, serving, signer, state

from vouchd.core.policy import UnknownIssuerPolicy
from vouchd.errors import OCSPResponseStatus, TokenUnavailable
from vouchd.service.assembling import Draft, signatures, signed_together

ONE = CA.create("CA one")
FOREIGN = CA.create("Foreign CA", key=shared_key("EC", 3))
SIGNER = ONE.issue_signer()


class AwaySigner(type(signer(SIGNER))):
    """A signer whose token is away."""

    def sign(self, data: bytes, algorithm: str) -> bytes:
        raise TokenUnavailable(f"no token for {len(data)} octets with {algorithm}")

    def sign_all(self, data: list[bytes], algorithm: str) -> list[bytes]:
        raise TokenUnavailable(f"no token for {len(data)} answers with {algorithm}")


def drafts(made) -> list[Draft]:
    """Drafts of several answers that wait for their signatures."""
    ours = responder(state(serving(ONE, point(ONE))), made)
    return [ours.draft(request_for(ONE, number, nonce=bytes(16)), NOW) for number in (1, 2, 300)]


def test_drafts_that_are_signed_together_become_what_each_becomes_alone():
    """In their order, each with the signature over itself."""
    waiting = drafts(signer(SIGNER))
    together = signed_together(waiting)
    assert [one.response_der for one in together] == [one.signed().response_der for one in waiting]
    assert signatures(waiting) == [one.parts[3] for one in together]
    for one in together:
        verify_signature(one, SIGNER.certificate)


def test_draft_whose_token_is_away_is_answered_try_later():
    """Alone or among others: each client is told to come again, and why is known to who counts."""
    away = AwaySigner("signer", SIGNER.key, SIGNER.der, (), "")
    waiting = drafts(away)
    for answer in (waiting[0].signed(), *signed_together(waiting)):
        assert (answer.status, answer.cause) == (OCSPResponseStatus.TRY_LATER, "token")


@pytest.mark.parametrize("chain", [(), (ONE,)])
def test_size_of_an_answer_is_that_of_its_octets(chain):
    """Whoever sends it has counted before joining: prepared for the first, and taken again for those as long."""
    ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER, chain=chain), send_root=True)
    for number in (1, 2, 2**64, 3):
        answer = ours.answer(request_for(ONE, number), NOW)
        assert answer.size == len(answer.response_der)
    error = ours.answer(b"junk", NOW)
    assert (error.size, error.produced_at) == (len(error.response_der), 0)


def test_serials_that_were_issued_and_that_were_not_share_nothing():
    """Where the CA keeps a list of those issued, each serial that no CRL lists is looked up."""
    ours = responder(state(serving(ONE, point(ONE), issued={serial_octets(1001)})), signer(SIGNER))
    for nonce in (None, bytes(16)):
        for number, expected in ((1001, "good"), (1002, "unknown"), (1001, "good"), (1003, "unknown")):
            assert statuses(ours.answer(request_for(ONE, number, nonce=nonce), NOW)) == [expected]


def test_unknown_of_nobodys_serial_says_the_time_of_the_newest_acceptance():
    """In its octets, too, whenever it is asked; and it speaks of no extended definition."""
    ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER), unknown_issuer=UnknownIssuerPolicy.UNKNOWN)
    for at in (NOW, NOW + 5):
        answer = read(ours.answer(request_for(FOREIGN, 1), at))
        assert int(answer.this_update_utc.timestamp()) == NOW - HOUR + 60
        assert len(answer.extensions) == 0
