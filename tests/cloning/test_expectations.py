"""Answers of two programs: each habit of the other is found and explained by its name, and nothing else is explained."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import replace
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.client.answers import answer, ask_for, resigned
from tests.pki import CA, DAY, HOUR, NOW, Issued

from vouchd.client.inquiry import Question, build_request, encode_cert_id
from vouchd.client.parsing import parse_response
from vouchd.client.transport import Exchange, Method
from vouchd.cloning.comparison import Probe
from vouchd.cloning.expectations import Answer, Likeness, judge
from vouchd.errors import ClientError
from vouchd.pkix.signatures import ALGORITHMS

AUTHORITY = CA.create()
ROOT = Issued(AUTHORITY.certificate, AUTHORITY.key)
SIGNER = AUTHORITY.issue_signer(not_before=NOW - DAY)
OTHER_SIGNER = AUTHORITY.issue_signer("Another signer", kind="P-384", not_before=NOW - DAY)
QUESTION = ask_for(AUTHORITY)
MALFORMED, TRY_LATER, UNAUTHORIZED = (bytes((0x30, 3, 0x0A, 1, number)) for number in (1, 3, 6))
COMPROMISED = x509.ReasonFlags.key_compromise


def came(body: bytes, *, status: int = 200, kind: str = "application/ocsp-response") -> Answer:
    """An answer of those bytes."""
    exchange = Exchange("POST", "http://x/", status, (("Content-Type", kind),), body, 0.0)
    try:
        return Answer(exchange, parse_response(body))
    except ClientError as error:
        return Answer(exchange, None, str(error))


def judged(ours: bytes | Answer, theirs: bytes | Answer, question: Question = QUESTION, method: Method = Method.POST):
    """The comparison of two answers to it."""
    one, other = (came(each) if isinstance(each, bytes) else each for each in (ours, theirs))
    return judge(Probe("x", question, method), one, other, NOW)


def by(**more) -> bytes:
    """An answer of the signer."""
    return answer(AUTHORITY, SIGNER, **more)


def named(question: Question, name_hash: bytes) -> Question:
    """The same question with another hash of the issuer's name."""
    cert_ids = tuple(one._replace(issuer_name_hash=name_hash) for one in question.cert_ids)
    return replace(question, cert_ids=cert_ids, request_der=build_request([encode_cert_id(one) for one in cert_ids]))


def with_slashes() -> Question:
    """A question whose base64 has two slashes in a row."""
    for serial in range(1, 1 << 20):
        question = ask_for(AUTHORITY, 0xFFFFFFFFFFFF << 20 | serial)
        if "//" in base64.b64encode(question.request_der).decode():
            return question
    raise AssertionError("no such serial")


def by_key_info() -> bytes:
    """An answer whose responder ID is the hash of the whole key info, as Dogtag makes it."""
    info = SIGNER.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bits = SIGNER.certificate.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    old, new = (hashlib.sha1(data, usedforsecurity=False).digest() for data in (bits, info))
    return by(certs=(SIGNER, ROOT)).replace(old, new)


REVOKED = by(revoked=True, reason=COMPROMISED)
EXPECTED = {
    "reason": (REVOKED, by(revoked=True), QUESTION, Method.POST),
    "nextUpdate": (by(), by(next_update=None), QUESTION, Method.POST),
    "chain": (by(certs=(SIGNER,)), by(certs=(SIGNER, ROOT)), QUESTION, Method.POST),
    "responder ID": (by(), by(by_name=True), QUESTION, Method.POST),
    "errors": (UNAUTHORIZED, b"", QUESTION, Method.POST),
    "no CRL": (TRY_LATER, b"", QUESTION, Method.POST),
    "issuer name": (UNAUTHORIZED, by(), named(QUESTION, bytes(32)), Method.POST),
    "odd request": (MALFORMED, by(), QUESTION, Method.POST),
    "request size": (by(), b"", replace(QUESTION, request_der=QUESTION.request_der + bytes(5000)), Method.POST),
    "slashes": (by(), b"", with_slashes(), Method.GET),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_habit_of_the_other_program_is_explained_by_its_name(name):
    """A difference that is no mistake of either has a name, so that it does not hide one that is."""
    comparison = judged(*EXPECTED[name])
    assert comparison.likeness is Likeness.EXPECTED
    assert name in {one.expectation for one in comparison.differences}


def earlier(response_der: bytes) -> bytes:
    """The same answer, made an hour before."""
    produced_at = parse_response(response_der).basic.produced_at
    old, new = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at)).encode() for at in (produced_at, produced_at - HOUR))
    sign = partial(SIGNER.key.sign, signature_algorithm=ec.ECDSA(hashes.SHA256()))
    return resigned(response_der.replace(old, new), ALGORITHMS["SHA256withEC"].identifier_der, sign, (SIGNER,))


def test_answer_made_anew_is_expected():
    """producedAt of another moment alone is no difference to look at."""
    said = by()
    comparison = judged(said, earlier(said))
    assert [(one.field, one.expectation) for one in comparison.differences] == [("producedAt", "producedAt")]


def test_responder_id_of_the_whole_key_info_is_told_as_what_clients_do_not_find():
    """Dogtag's key hash is not RFC 6960's: it is explained, and so is that a client refuses the answer."""
    comparison = judged(by(certs=(SIGNER, ROOT)), by_key_info())
    names = {one.field: one.expectation for one in comparison.differences}
    assert names["responderID"] == "responder ID"
    assert names["client"] in {"key hash", ""}  # the signature is over another name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (by(), REVOKED),
        (REVOKED, by()),
        (by(), by(unknown=True)),
        (by(), by(this_update=NOW - 2 * HOUR)),
        (by(), by(next_update=NOW + 2 * DAY)),
        (REVOKED, by(revoked=True, reason=x509.ReasonFlags.superseded)),
        (by(), answer(AUTHORITY, OTHER_SIGNER)),
        (by(), UNAUTHORIZED),
        (TRY_LATER, by()),
        (by(), b""),
        (by(certs=(SIGNER,)), by(certs=(OTHER_SIGNER,))),
        (by(), by()[:-1] + bytes([by()[-1] ^ 1])),
        (came(by()), came(by(), kind="text/html")),
        (came(by()), came(by(), status=500)),
        (came(by()), Answer(None, None, "connection refused")),
    ],
)
def test_difference_that_matters_is_never_explained(ours, theirs):
    """What is said, when the CRL was made, who signs, whether a client takes it: nothing of that is a habit."""
    assert judged(ours, theirs).likeness is Likeness.UNEXPLAINED


def test_expectation_that_is_taken_away_explains_nothing():
    """An operator who wants both to tell reasons is told where one does not."""
    probe = Probe("x", QUESTION, Method.POST)
    one, other = came(REVOKED), came(by(revoked=True))
    assert judge(probe, one, other, NOW, None, frozenset({"reason"})).likeness is Likeness.UNEXPLAINED


def test_same_answer_is_equal():
    """Equal bytes are equal, and so are two errors of one kind."""
    said = by()
    assert judged(said, said).likeness is Likeness.EQUAL
    assert judged(UNAUTHORIZED, UNAUTHORIZED).likeness is Likeness.EQUAL
