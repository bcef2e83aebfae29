"""Whether two responders answer alike: byte for byte, in what is signed, in what is said.

An answer that repeats a nonce is signed anew, and so are all answers where the algorithm signs at random (RSA-PSS,
ML-DSA, ECDSA on a token): their signatures cannot be the same bytes. All else must be, and a client must take both or
neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum

from vouchd.client.inquiry import Question, Reply
from vouchd.client.response_acceptance import NonceRule, Terms
from vouchd.client.response_facts import BasicResponse, OCSPResponse, SingleResponse
from vouchd.client.transport import Method
from vouchd.core.records import rfc3339
from vouchd.errors import ClientError
from vouchd.pkix.signatures import ALGORITHMS

PRODUCED_AT = "producedAt"
_SHOWN = 60
_AT_RANDOM = frozenset(row.identifier_der for row in ALGORITHMS.values() if not row.deterministic)
_ECDSA = frozenset(row.identifier_der for row in ALGORITHMS.values() if row.key_type == "EC")


class Level(IntEnum):
    """How far two answers are alike; each level includes those below."""

    NOTHING = 0
    STATUS = 1  # what is said of each certificate
    RESPONSE_DATA = 2  # all that is signed
    BYTES = 3

    @property
    def words(self) -> str:
        """How people call it."""
        return "ResponseData" if self is Level.RESPONSE_DATA else self.name.lower()


@dataclass(frozen=True, slots=True)
class Probe:
    """One question and how it travels; `kind` says in a word of what it is, `authority` is the label of its CA."""

    kind: str
    question: Question
    method: Method
    authority: str = ""
    form: str = ""  # what is unusual of it: `SHA-1`, `signed`

    @property
    def way(self) -> str:
        """How it is asked: `GET`, `POST`, `POST with a nonce`, `GET, SHA-1`."""
        way = self.method.value + (" with a nonce" if self.question.nonce is not None else "")
        return f"{way}, {self.form}" if self.form else way


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference found at a level: the field's name and both values as text."""

    level: Level
    field: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the answers to one probe are alike, of `wanted` at most; `differences`: the first of each level."""

    probe: Probe
    alike: Level
    wanted: Level
    differences: tuple[Difference, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether they are as much alike as they can be."""
        return not self.differences

    @property
    def of_two_moments(self) -> bool:
        """Whether they differ in when they were made, and in nothing before that: a second may have passed between."""
        return bool(self.differences) and all(one.field == PRODUCED_AT for one in self.differences)


def compare(
    probe: Probe, ours: Reply, theirs: Reply, at: int, on_tokens: Collection[bytes] = frozenset()
) -> Comparison:
    """The answers to one probe, seen at POSIX time `at`; `on_tokens`: key hash and name (DER) of signers on tokens."""
    anew = _signed_anew(ours.response, on_tokens) or _signed_anew(theirs.response, on_tokens)
    differences = list(_differences(ours, theirs, anew=anew))
    if anew and not differences:
        differences += _unsound(ours, theirs, at)
    alike = Level(min((difference.level for difference in differences), default=Level.BYTES + 1) - 1)
    wanted = Level.RESPONSE_DATA if anew else Level.BYTES
    return Comparison(probe, min(alike, wanted), wanted, tuple(sorted(differences, key=lambda one: one.level)))


def _signed_anew(response: OCSPResponse, on_tokens: Collection[bytes]) -> bool:
    """Whether another answer that says the same has a signature of other bytes."""
    basic = response.basic
    if basic is None:
        return False
    if basic.algorithm_der in _ECDSA:
        responder = basic.responder_key_hash or basic.responder_name_der
        return basic.nonce is not None or responder in on_tokens
    return basic.nonce is not None or basic.algorithm_der in _AT_RANDOM


def _differences(ours: Reply, theirs: Reply, *, anew: bool) -> Iterator[Difference]:
    one, other = ours.response, theirs.response
    said = _first(status_fields(one), status_fields(other))
    if said:
        yield Difference(Level.STATUS, *said)
    signed = _first(signed_fields(one), signed_fields(other))
    data = (one.basic.response_data_der if one.basic else b"", other.basic.response_data_der if other.basic else b"")
    if signed or said or data[0] != data[1]:
        yield Difference(Level.RESPONSE_DATA, *(signed or said or ("responseData", data[0].hex(), data[1].hex())))
    whole = _first(outer_fields(one, signature=not anew), outer_fields(other, signature=not anew))
    if whole or (not anew and ours.exchange.body != theirs.exchange.body):
        yield Difference(Level.BYTES, *(whole or signed or said or ("response", one.der.hex(), other.der.hex())))


def _unsound(ours: Reply, theirs: Reply, at: int) -> Iterator[Difference]:
    """Where a client would refuse one of two answers that say the same; that of a CA nobody knows it cannot verify."""
    if ours.question.issuer is None:
        return
    terms = Terms(nonce=NonceRule.ACCEPT)
    replies = []
    for reply in (ours, theirs):
        try:
            reply.verify(at, terms)
            replies.append("sound")
        except ClientError as error:
            replies.append(str(error))
    if replies[0] != replies[1]:
        yield Difference(Level.RESPONSE_DATA, "verification", *map(text_of, replies))


def _first(ours: dict[str, object], theirs: dict[str, object]) -> tuple[str, str, str] | None:
    """The first field in which two answers differ, with both values."""
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        if ours.get(name) != theirs.get(name):
            return name, text_of(ours.get(name)), text_of(theirs.get(name))
    return None


def status_fields(response: OCSPResponse) -> dict[str, object]:
    """What is said of each certificate."""
    fields: dict[str, object] = {"responseStatus": response.status.name}
    for place, single in _placed(response.basic):
        fields[f"certID{place}"] = single.cert_id
        fields[f"certStatus{place}"] = single.status.value
        fields[f"revocationTime{place}"] = _moment(single.revocation_time)
        fields[f"revocationReason{place}"] = None if single.reason is None else single.reason.name
    return fields


def signed_fields(response: OCSPResponse) -> dict[str, object]:
    """What else is signed."""
    basic = response.basic
    if basic is None:
        return {}
    fields: dict[str, object] = {"responderID": basic.responder_key_hash or basic.responder_name_der}
    for place, single in _placed(basic):
        fields[f"thisUpdate{place}"] = _moment(single.this_update)
        fields[f"nextUpdate{place}"] = _moment(single.next_update)
        fields[f"singleExtensions{place}"] = single.extensions
    fields[PRODUCED_AT] = _moment(basic.produced_at)
    fields["responseExtensions"] = basic.extensions
    return fields


def outer_fields(response: OCSPResponse, *, signature: bool) -> dict[str, object]:
    """What stands around that."""
    basic: BasicResponse | None = response.basic
    if basic is None:
        return {}
    fields: dict[str, object] = {"signatureAlgorithm": basic.algorithm_der, "certs": basic.certificates}
    return fields | ({"signature": basic.signature} if signature else {})


def _placed(basic: BasicResponse | None) -> Iterator[tuple[str, SingleResponse]]:
    """The single responses, each with its number where there are several."""
    singles = basic.singles if basic else ()
    for number, single in enumerate(singles):
        yield f" {number}" if len(singles) > 1 else "", single


def _moment(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def text_of(value: object) -> str:
    """A value in words, cut where it is long."""
    text = value.hex() if isinstance(value, bytes) else "absent" if value is None else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
