"""Answers of two programs to one question: equal, different as expected with the expectation named, or unexplained.

Two members of a set give the same bytes (`cloning.comparison`). Another program may be right and still give others: it
tells no reason, makes each answer anew, names its signer otherwise. Each such habit is one row of `EXPECTATIONS`, which
looks at one field and may say why the two differ in it. What no row explains is a difference that somebody has to look
at; what is said of a certificate, and when its CRL was made, is explained by what is known of the CRL alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vouchd.client.inquiry import Question, Reply
from vouchd.client.parsing import parse_response
from vouchd.client.response_acceptance import NonceRule, Terms
from vouchd.client.response_facts import ARCHIVE_CUTOFF, CRL_REFERENCE, INVALIDITY_DATE, BasicResponse, OCSPResponse
from vouchd.client.transport import Connection, Exchange, Method
from vouchd.cloning.comparison import Probe, outer_fields, signed_fields, status_fields, text_of
from vouchd.core.key_history import is_named
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import ClientError, MalformedRequest, OCSPResponseStatus, VouchdError
from vouchd.pkix import certs
from vouchd.pkix.ocsp import parse_request
from vouchd.pkix.reasons import Reason

_THEIR_REQUEST_BYTES = 5000
_NONCE_BYTES = 128
_POLICY_EXTENSIONS = frozenset({ARCHIVE_CUTOFF, CRL_REFERENCE, INVALIDITY_DATE})
SOUND = "sound"


class Likeness(StrEnum):
    """What a comparison came to."""

    EQUAL = "equal"
    EXPECTED = "expected"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: an OCSP response, or none and why; without an exchange there was no answer at all."""

    exchange: Exchange | None
    response: OCSPResponse | None
    problem: str = ""

    @property
    def basic(self) -> BasicResponse | None:
        """What is said, where anything is."""
        return self.response.basic if self.response else None

    @property
    def words(self) -> str:
        """What it is in a word or two."""
        if self.basic is not None:
            return "answer"
        if self.response is not None:
            return self.response.status.name
        if self.exchange is None:
            return self.problem
        size = len(self.exchange.body)
        return f"HTTP {self.exchange.http_status}, " + (f"{size} bytes that are no OCSP response" if size else "empty")


def inquire(connection: Connection, question: Question, method: Method) -> Answer:
    """Ask, and take whatever comes."""
    try:
        exchange = connection.exchange(question.request_der, method)
    except ClientError as error:
        return Answer(None, None, str(error))
    try:
        return Answer(exchange, parse_response(exchange.body))
    except ClientError as error:
        return Answer(exchange, None, str(error))


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field in which two answers differ; `expectation` is the name of what explains it, empty: nothing does."""

    field: str
    ours: str
    theirs: str
    expectation: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """How two answers to one probe compare."""

    probe: Probe
    differences: tuple[FieldDifference, ...]

    @property
    def likeness(self) -> Likeness:
        """Equal, expected or unexplained: one field that nothing explains is enough."""
        if not self.differences:
            return Likeness.EQUAL
        explained = all(one.expectation for one in self.differences)
        return Likeness.EXPECTED if explained else Likeness.UNEXPLAINED


@dataclass(frozen=True, slots=True)
class Case:
    """One field of two answers, with all that may explain it."""

    field: str  # without the number of the single response
    ours: object
    theirs: object
    our_answer: Answer
    their_answer: Answer
    question: Question
    method: Method
    serving: ServingAuthority | None  # the CA as it is served here
    at: int

    @property
    def one_is_absent(self) -> bool:
        """Whether one side has the field and the other has not."""
        return (self.ours is None) != (self.theirs is None)

    @property
    def basics(self) -> tuple[BasicResponse, BasicResponse] | None:
        """What both say, where both do."""
        ours, theirs = self.our_answer.basic, self.their_answer.basic
        return (ours, theirs) if ours is not None and theirs is not None else None


@dataclass(frozen=True, slots=True)
class Expectation:
    """A habit of another program that makes two right answers differ; `explains` looks at one field."""

    name: str
    about: str
    explains: Callable[[Case], bool]


def judge(
    probe: Probe,
    ours: Answer,
    theirs: Answer,
    at: int,
    state: ServingState | None = None,
    unexpected: frozenset[str] = frozenset(),
) -> Judged:
    """The two answers to one probe; `unexpected` are names of expectations that explain nothing this time."""
    serving = _serving(state, probe.question)
    differences = []
    for field, one, other in _differing(probe, ours, theirs, at):
        bare = field.partition(" ")[0]
        case = Case(bare, one, other, ours, theirs, probe.question, probe.method, serving, at)
        name = next(
            (row.name for row in EXPECTATIONS if row.name not in unexpected and row.explains(case)),
            "",
        )
        differences.append(FieldDifference(field, _shown(one), _shown(other), name))
    return Judged(probe, tuple(differences))


def _differing(probe: Probe, ours: Answer, theirs: Answer, at: int) -> Iterator[tuple[str, object, object]]:
    if ours.basic is None or theirs.basic is None:
        if ours.words != theirs.words:
            yield "outcome", ours.words, theirs.words
        return
    fields = [_fields(probe, answer, at) for answer in (ours, theirs)]
    for name in dict.fromkeys((*fields[0], *fields[1])):
        if fields[0].get(name) != fields[1].get(name):
            yield name, fields[0].get(name), fields[1].get(name)


def _fields(probe: Probe, answer: Answer, at: int) -> dict[str, object]:
    response, exchange = answer.response, answer.exchange
    if response is None or exchange is None:
        return {}
    fields = {**status_fields(response), **signed_fields(response), **outer_fields(response, signature=False)}
    for name, value in fields.items():
        if name.startswith("revocationReason") and value == Reason.ABSENT.name:
            fields[name] = None
    kind = (exchange.header("Content-Type") or "").partition(";")[0].strip().lower()
    return {**fields, "HTTP status": exchange.http_status, "contentType": kind, "client": _verified(probe, answer, at)}


def _verified(probe: Probe, answer: Answer, at: int) -> str:
    """What a client makes of it: `sound`, or why it refuses it."""
    question = probe.question
    if question.issuer is None or answer.exchange is None or answer.response is None:
        return SOUND
    try:
        Reply(question, answer.exchange, answer.response).verify(at, Terms(nonce=NonceRule.ACCEPT))
    except VouchdError as error:
        return str(error)
    return SOUND


def _shown(value: object) -> str:
    if isinstance(value, tuple) and value and all(isinstance(one, bytes) for one in value):
        return ", ".join(hashlib.sha256(one).hexdigest()[:16] for one in value)
    return text_of(value)


def _serving(state: ServingState | None, question: Question) -> ServingAuthority | None:
    if state is None or question.issuer is None:
        return None
    name = certs.subject_der(question.issuer)
    return next((one for one in state.authorities if is_named(one.authority, name)), None)


# What each expectation looks at.


def _no_ocsp_error(case: Case) -> bool:
    """An error there is an empty body or a page, here an OCSP error that says which."""
    response, exchange = case.our_answer.response, case.their_answer.exchange
    refused = response is not None and response.basic is None and response.status is not OCSPResponseStatus.TRY_LATER
    return case.field == "outcome" and refused and case.their_answer.response is None and exchange is not None


def _no_crl(case: Case) -> bool:
    """A CA without a CRL: tryLater here, an empty body there."""
    response = case.our_answer.response
    later = response is not None and response.status is OCSPResponseStatus.TRY_LATER
    empty = case.their_answer.response is None and case.their_answer.exchange is not None
    return case.field == "outcome" and later and empty and (case.serving is None or not case.serving.points)


def _expired_crl(case: Case) -> bool:
    """A CRL past its nextUpdate is answered from there as if it were fresh, and tryLater here."""
    response = case.our_answer.response
    later = response is not None and response.status is OCSPResponseStatus.TRY_LATER
    points = case.serving.points if case.serving else ()
    ended = any((point.epoch.next_update or case.at) < case.at for point in points)
    return case.field == "outcome" and later and ended and case.their_answer.basic is not None


def _of_another_name(case: Case) -> bool:
    """A CertID whose key hash is the CA's and whose name hash is not: told there, refused here."""
    response = case.our_answer.response
    if case.field != "outcome" or case.question.issuer is None or case.their_answer.basic is None:
        return False
    refused = response is not None and response.status is OCSPResponseStatus.UNAUTHORIZED
    hashes = [certs.issuer_hashes(case.question.issuer, one.digest) for one in case.question.cert_ids]
    pairs = zip(case.question.cert_ids, hashes, strict=True)
    return refused and any(
        one.issuer_key_hash == key_hash and one.issuer_name_hash != name_hash for one, (name_hash, key_hash) in pairs
    )


def _large_request(case: Case) -> bool:
    """A request of more than 5,000 bytes is answered here."""
    is_large = len(case.question.request_der) > _THEIR_REQUEST_BYTES
    return case.field == "outcome" and is_large and case.their_answer.basic is None


def _folded_slashes(case: Case) -> bool:
    """A GET whose base64 has two slashes in a row, which Tomcat makes one."""
    slashes = "//" in base64.b64encode(case.question.request_der).decode()
    return case.field == "outcome" and case.method is Method.GET and slashes and case.their_answer.basic is None


def _odd_request(case: Case) -> bool:
    """A request that RFC 6960 or RFC 9654 forbids: malformedRequest here, answered there."""
    response = case.our_answer.response
    malformed = response is not None and response.status is OCSPResponseStatus.MALFORMED_REQUEST
    return case.field == "outcome" and malformed and case.their_answer.basic is not None


def _chain(case: Case) -> bool:
    """One sends more of the certificates above the signer than the other; a client builds the same path."""
    if case.field != "certs" or not isinstance(case.ours, tuple) or not isinstance(case.theirs, tuple):
        return False
    ours, theirs = set(case.ours), set(case.theirs)
    if ours <= theirs or theirs <= ours:
        return all(map(_is_above, ours ^ theirs))
    return False


def _is_above(certificate_der: bytes) -> bool:
    try:
        constraints = certs.load_certificate(certificate_der).extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, x509.ExtensionNotFound):
        return False
    return constraints.value.ca


def _responder_id(case: Case) -> bool:
    """One names the signer by its name and the other by the hash of its key; it is the same signer."""
    if case.field != "responderID" or case.basics is None:
        return False
    ours, theirs = (_signers(basic, case.basics) for basic in case.basics)
    return bool(ours & theirs)


def _signers(basic: BasicResponse, both: tuple[BasicResponse, BasicResponse]) -> set[bytes]:
    """The certificates sent along that a responder ID names; the hash may be of the whole key info (Dogtag)."""
    result = set()
    for der in {der for each in both for der in each.certificates}:
        certificate = certs.load_certificate(der)
        if basic.responder_name_der is not None:
            named = basic.responder_name_der == certs.subject_der(certificate)
        else:
            info = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            bits = certs.public_key_bits(certificate)
            digests = {hashlib.sha1(data, usedforsecurity=False).digest() for data in (info, bits)}
            named = basic.responder_key_hash in digests
        if named:
            result.add(der)
    return result


def _key_info_hash(case: Case) -> bool:
    """The responder ID there is a hash of the whole SubjectPublicKeyInfo, which clients do not find."""
    if case.field != "client" or case.basics is None or case.ours != SOUND:
        return False
    ours, theirs = case.basics
    return theirs.responder_key_hash is not None and bool(_signers(ours, case.basics) & _signers(theirs, case.basics))


def _preferred(case: Case) -> bool:
    """The client named signature algorithms that it prefers, which are followed here (RFC 6960 section 4.4.7)."""
    if case.field != "signatureAlgorithm":
        return False
    try:
        return case.ours in parse_request(case.question.request_der).preferred
    except MalformedRequest:
        return False


def _policy_extensions(case: Case) -> bool:
    """A CA's policy here adds extensions to what is said of a certificate."""
    if case.field != "singleExtensions" or case.theirs:
        return False
    extensions = case.ours if isinstance(case.ours, tuple) else ()
    return {getattr(one, "oid", "") for one in extensions} <= _POLICY_EXTENSIONS


def _nonce(case: Case) -> bool:
    """The nonce there is copied in whatever form and length it came."""
    nonce = case.question.nonce
    return case.field == "responseExtensions" and nonce is not None and len(nonce) > _NONCE_BYTES


def _delta(case: Case) -> bool:
    """A delta CRL is in use here; there it is refused, and the base is older."""
    points = case.serving.points if case.serving else ()
    fields = {"certStatus", "revocationTime", "revocationReason", "thisUpdate", "nextUpdate"}
    return case.field in fields and any(point.epoch.delta is not None for point in points)


def _live_times(case: Case) -> bool:
    """The CA's policy here counts thisUpdate by the clock."""
    return case.field == "thisUpdate" and case.serving is not None and case.serving.authority.policy.live_this_update


EXPECTATIONS: tuple[Expectation, ...] = (
    *(
        Expectation(name, (explains.__doc__ or "").strip(), explains)
        for name, explains in (
            ("errors", _no_ocsp_error),
            ("no CRL", _no_crl),
            ("expired CRL", _expired_crl),
            ("issuer name", _of_another_name),
            ("request size", _large_request),
            ("slashes", _folded_slashes),
            ("odd request", _odd_request),
            ("delta CRL", _delta),
            ("live times", _live_times),
            ("chain", _chain),
            ("responder ID", _responder_id),
            ("key hash", _key_info_hash),
            ("preferred algorithm", _preferred),
            ("extensions", _policy_extensions),
            ("nonce", _nonce),
        )
    ),
    Expectation(
        "reason",
        "One of the two does not tell why a certificate was revoked.",
        lambda case: case.field == "revocationReason" and case.one_is_absent,
    ),
    Expectation(
        "nextUpdate",
        "One of the two does not tell when the next CRL comes.",
        lambda case: case.field == "nextUpdate" and case.one_is_absent,
    ),
    Expectation(
        "producedAt",
        "One of the two makes each answer anew; the other's was made when the CRL came, or with a slot of the clock.",
        lambda case: case.field == "producedAt",
    ),
)
WORDS: Mapping[str, str] = {one.name: one.about for one in EXPECTATIONS}
