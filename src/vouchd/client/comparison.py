"""Whether two responders answer alike: byte for byte, in what is signed, in what is said.

An answer to a request with a nonce is made and signed anew: its bytes are not asked to be the same, but all that is
signed, the nonce with it, and both signatures must verify.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from vouchd.client.ocsp import Question, Reply, send
from vouchd.client.response import BasicResponse, OCSPResponse
from vouchd.client.transport import Connection, Method
from vouchd.client.verification import NonceRule, Terms
from vouchd.errors import ClientError

_SHOWN = 60


class Level(IntEnum):
    """How far two answers are alike; each level includes those below."""

    NOTHING = 0
    STATUS = 1  # what is said of each certificate
    RESPONSE_DATA = 2  # all that is signed
    BYTES = 3


@dataclass(frozen=True, slots=True)
class Probe:
    """One question, how it travels, and what it is about in a word: good, revoked, held, unknown."""

    about: str
    question: Question
    method: Method


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference found at a level: the field's name and both values as text."""

    level: Level
    field: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the answers to one probe are alike, of `wanted` at most; `differences` one for each level that is not."""

    probe: Probe
    alike: Level
    wanted: Level
    differences: tuple[Difference, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether they are as much alike as they can be."""
        return self.alike >= self.wanted


def compare_answers(probe: Probe, ours: Connection, theirs: Connection, at: int) -> Comparison:
    """Ask both and compare, at POSIX time `at`. Raises: ClientError when one gives no OCSP response."""
    first, second = send(ours, probe.question, probe.method), send(theirs, probe.question, probe.method)
    return compare(probe, first, second, at)


def compare(probe: Probe, ours: Reply, theirs: Reply, at: int) -> Comparison:
    """The answers to one probe."""
    wanted = Level.BYTES if probe.question.nonce is None else Level.RESPONSE_DATA
    found = [difference for difference in _differences(ours, theirs) if difference.level <= wanted]
    if probe.question.nonce is not None and not found:
        found += _unsound(ours, theirs, at)
    alike = Level(min((difference.level for difference in found), default=Level.BYTES + 1) - 1)
    return Comparison(probe, min(alike, wanted), wanted, tuple(sorted(found, key=lambda one: one.level)))


def _differences(ours: Reply, theirs: Reply) -> Iterator[Difference]:
    one, other = ours.response, theirs.response
    said = _first(_status_fields(one), _status_fields(other))
    if said:
        yield Difference(Level.STATUS, *said)
    signed = _first(_signed_fields(one), _signed_fields(other))
    data = (one.basic.response_data_der if one.basic else b"", other.basic.response_data_der if other.basic else b"")
    if signed or said or data[0] != data[1]:
        yield Difference(Level.RESPONSE_DATA, *(signed or said or ("responseData", data[0].hex(), data[1].hex())))
    if ours.exchange.body != theirs.exchange.body:
        whole = _first(_outer_fields(one), _outer_fields(other))
        yield Difference(Level.BYTES, *(whole or signed or said or ("response", one.der.hex(), other.der.hex())))


def _unsound(ours: Reply, theirs: Reply, at: int) -> Iterator[Difference]:
    """What a client would refuse of two answers that say the same; an error status is not signed."""
    if ours.question.issuer is None or ours.response.basic is None:
        return
    terms = Terms(nonce=NonceRule.REQUIRE)
    told = []
    for reply in (ours, theirs):
        try:
            reply.verify(at, terms)
            told.append("sound")
        except ClientError as error:
            told.append(str(error))
    if told != ["sound", "sound"]:
        yield Difference(Level.RESPONSE_DATA, "verification", *map(_text, told))


def _first(ours: dict[str, object], theirs: dict[str, object]) -> tuple[str, str, str] | None:
    """The first field in which two answers differ, with both values."""
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        if ours.get(name) != theirs.get(name):
            return name, _text(ours.get(name)), _text(theirs.get(name))
    return None


def _status_fields(response: OCSPResponse) -> dict[str, object]:
    fields: dict[str, object] = {"responseStatus": response.status.name}
    for number, single in enumerate(response.basic.singles if response.basic else ()):
        fields[f"certID {number}"] = single.cert_id
        fields[f"certStatus {number}"] = single.status.value
        fields[f"revocationTime {number}"] = single.revocation_time
        fields[f"revocationReason {number}"] = single.reason
    return fields


def _signed_fields(response: OCSPResponse) -> dict[str, object]:
    basic = response.basic
    if basic is None:
        return {}
    fields: dict[str, object] = {"responderID": basic.responder_key_hash or basic.responder_name_der}
    fields["producedAt"] = basic.produced_at
    for number, single in enumerate(basic.singles):
        fields[f"thisUpdate {number}"] = single.this_update
        fields[f"nextUpdate {number}"] = single.next_update
        fields[f"singleExtensions {number}"] = single.extensions
    fields["responseExtensions"] = basic.extensions
    return fields


def _outer_fields(response: OCSPResponse) -> dict[str, object]:
    basic: BasicResponse | None = response.basic
    if basic is None:
        return {}
    return {
        "signatureAlgorithm": basic.algorithm_der,
        "certs": basic.certificates,
        "signature": basic.signature,
    }


def _text(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
