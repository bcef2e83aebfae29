"""Answers are compared at three levels, and what is different is found and named."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from tests.client.answers import answer, ask_for, resigned
from tests.pki import CA, DAY, NOW

from vouchd.client.inquiry import Question, Reply, read
from vouchd.client.transport import Exchange, Method
from vouchd.cloning.comparison import Level, Probe, compare
from vouchd.core.records import rfc3339
from vouchd.errors import VouchdError
from vouchd.pkix.certs import key_hash
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.signing.software import SoftwareSigner

AUTHORITY = CA.create()
NONCE = bytes(range(32))
QUESTION = ask_for(AUTHORITY)
WITH_NONCE = ask_for(AUTHORITY, nonce=NONCE)
ANSWER = answer(AUTHORITY, AUTHORITY)
ANSWER_WITH_NONCE = answer(AUTHORITY, AUTHORITY, query=WITH_NONCE, nonce=NONCE)


def reply(question: Question, body: bytes) -> Reply:
    exchange = Exchange("POST", "http://x/", 200, (("Content-Type", "application/ocsp-response"),), body, 0.0)
    return Reply(question, exchange, read(exchange))


def flipped(body: bytes, position: int, mask: int = 1) -> bytes:
    return body[:position] + bytes([body[position] ^ mask]) + body[position + 1 :]


def compared(question: Question, one: bytes, other: bytes):
    return compare(Probe("x", question, Method.POST), reply(question, one), reply(question, other), NOW)


def test_same_answer_is_identical_at_every_level():
    """Two equal answers are the same byte for byte, and those with a nonce in all that is signed."""
    assert (compared(QUESTION, ANSWER, ANSWER).alike, compared(QUESTION, ANSWER, ANSWER).identical) == (
        Level.BYTES,
        True,
    )
    again = compared(WITH_NONCE, ANSWER_WITH_NONCE, ANSWER_WITH_NONCE)
    assert (again.alike, again.identical) == (Level.RESPONSE_DATA, True)


@given(st.integers(0, len(ANSWER) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found_and_named(position, mask):
    """Whatever byte of an answer differs, the answers are not called identical, and a field is named."""
    try:
        other = reply(QUESTION, flipped(ANSWER, position, mask))
    except VouchdError:  # no OCSP response any more, which is told as such
        return
    comparison = compare(Probe("x", QUESTION, Method.POST), reply(QUESTION, ANSWER), other, NOW)
    assert not comparison.identical
    assert comparison.differences[0].field


def test_other_signature_over_the_same_data_is_different_in_bytes_alone():
    """A signature that differs is told at the level of bytes; what is signed is still the same."""
    signature = reply(QUESTION, ANSWER).response.basic.signature
    comparison = compared(QUESTION, ANSWER, flipped(ANSWER, ANSWER.index(signature) + 10))
    assert (comparison.alike, [one.field for one in comparison.differences]) == (Level.RESPONSE_DATA, ["signature"])


@pytest.mark.parametrize("place", ["signature", "nonce"])
def test_forged_answer_with_a_nonce_is_not_identical(place):
    """With a nonce the bytes differ anyhow: the signature and the nonce are verified instead."""
    signature = reply(WITH_NONCE, ANSWER_WITH_NONCE).response.basic.signature
    start = ANSWER_WITH_NONCE.index(signature if place == "signature" else NONCE)
    assert not compared(WITH_NONCE, ANSWER_WITH_NONCE, flipped(ANSWER_WITH_NONCE, start + 10)).identical


def test_nonce_that_one_left_out_is_a_difference():
    """A member that does not repeat the nonce answers differently."""
    other = answer(AUTHORITY, AUTHORITY, query=WITH_NONCE)
    assert not compared(WITH_NONCE, ANSWER_WITH_NONCE, other).identical


def test_nonce_that_both_leave_out_leaves_the_bytes_to_compare():
    """Where the policy ignores nonces the answers are those without one, the same byte for byte."""
    comparison = compared(WITH_NONCE, ANSWER, ANSWER)
    assert (comparison.alike, comparison.identical) == (Level.BYTES, True)


def signed_at_random(original: bytes, ca: CA, name: str, *certs: CA) -> bytes:
    """The answer under a signature of an algorithm that signs at random."""
    signer = SoftwareSigner("x", ca.key, ca.der)
    return resigned(original, ALGORITHMS[name].identifier_der, lambda data: signer.sign(data, name), certs)


@pytest.mark.parametrize("by_token", [True, False])
def test_ecdsa_signature_of_a_token_is_not_compared_but_verified(by_token):
    """A token signs with ECDSA at random: then the level is ResponseData; a key in a file has to give the same bytes."""
    ca = CA.create("Token CA", kind="EC")
    original = answer(ca, ca)  # once: the library writes the second into producedAt

    def signed() -> bytes:
        at_random = ec.ECDSA(hashes.SHA256())
        row = ALGORITHMS["SHA256withEC"]
        return resigned(original, row.identifier_der, lambda data: ca.key.sign(data, at_random), ())

    query = ask_for(ca)
    on_tokens = {key_hash(ca.certificate)} if by_token else set()
    probe = Probe("x", query, Method.POST)
    comparison = compare(probe, reply(query, signed()), reply(query, signed()), NOW, on_tokens)
    assert comparison.identical is by_token
    assert comparison.wanted is (Level.RESPONSE_DATA if by_token else Level.BYTES)


@pytest.mark.parametrize(("kind", "name"), [("RSA", "SHA256withRSA/PSS"), ("ML-DSA-44", "ML-DSA-44")])
def test_signature_made_at_random_is_not_compared_but_verified(kind, name):
    """RSA-PSS and ML-DSA never sign alike: the level is ResponseData, and what is wrong is a difference still."""
    ca = CA.create("Random CA", kind=kind)
    query, original = ask_for(ca), answer(ca, ca)  # once: the library writes the second into producedAt
    one, other = (signed_at_random(original, ca, name) for _ in range(2))
    assert one != other
    comparison = compared(query, one, other)
    assert (comparison.alike, comparison.wanted, comparison.identical) == (
        Level.RESPONSE_DATA,
        Level.RESPONSE_DATA,
        True,
    )
    forged = flipped(other, other.index(reply(query, other).response.basic.signature) + 10)
    assert [one.field for one in compared(query, one, forged).differences] == ["verification"]
    with_certificate = signed_at_random(original, ca, name, ca)
    (different,) = compared(query, one, with_certificate).differences
    assert (different.level, different.field) == (Level.BYTES, "certs")


def test_answer_that_both_give_out_of_date_is_no_difference():
    """What a client would refuse of both alike is not for a comparison to tell."""
    old = {"query": WITH_NONCE, "nonce": NONCE, "next_update": NOW - 7200, "this_update": NOW - 86400}
    late = answer(AUTHORITY, AUTHORITY, **old)
    assert compared(WITH_NONCE, late, late).identical


def test_difference_is_told_in_words_that_people_read():
    """Times are dates, reasons have their names, and what is not there is absent."""
    revoked = answer(AUTHORITY, AUTHORITY, revoked=True, reason=x509.ReasonFlags.key_compromise)
    first = compared(QUESTION, ANSWER, revoked).differences[0]
    assert (first.level.words, first.field, first.ours, first.theirs) == ("status", "certStatus", "good", "revoked")
    without = answer(AUTHORITY, AUTHORITY, next_update=None)
    first = compared(QUESTION, ANSWER, without).differences[0]
    assert (first.field, first.ours, first.theirs) == ("nextUpdate", rfc3339(NOW + DAY), "absent")
