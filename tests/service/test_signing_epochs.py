"""Other signers sign from one answer to the next, in every process that looks at one word."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509 import ocsp
from tests.pki import CA, NOW
from tests.serving import point, request_for, responder, serving, signer, state

from vouchd.service.signing_epochs import SigningEpochs, SigningSet


def made(ca: CA, *names: str):
    return [signer(ca.issue_signer(), name) for name in names]


def signed_by(answering, request: bytes) -> x509.Certificate:
    return ocsp.load_der_ocsp_response(answering.answer(request, NOW).response_der).certificates[0]


def test_turn_signs_with_the_set_that_the_word_names():
    """What was prepared with one signer is not given once the word names another set."""
    ca = CA.create()
    old, new = made(ca, "s", "s")
    answering, word = responder(state(serving(ca, point(ca))), old), [1]
    epochs = SigningEpochs(answering, {1: SigningSet({"s": old}, "s"), 2: SigningSet({"s": new}, "s")}, word)
    request = request_for(ca, 7, nonce=bytes(16))
    before = signed_by(answering, request)
    word[0] = 2
    assert epochs.seen != word[0]
    epochs.turn()
    after = signed_by(answering, request)
    assert [before.serial_number, after.serial_number] == [
        x509.load_der_x509_certificate(one.certificate_der).serial_number for one in (old, new)
    ]
    assert epochs.seen == 2


def test_turn_to_a_set_that_was_not_loaded_signs_nothing():
    """Who does not have the new signers answers tryLater: never with the old ones."""
    ca = CA.create()
    (old,) = made(ca, "s")
    answering, word = responder(state(serving(ca, point(ca))), old), [1]
    epochs = SigningEpochs(answering, {1: SigningSet({"s": old}, "s")}, word)
    word[0] = 5
    epochs.turn()
    answer = answering.answer(request_for(ca, 7), NOW)
    assert (answer.status.name, answer.cause) == ("TRY_LATER", "no_signer")
