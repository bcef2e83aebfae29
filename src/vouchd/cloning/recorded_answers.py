"""What an instance answered, kept to see whether another one with the same keys and facts says the same."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vouchd.client.inquiry import Question, send
from vouchd.client.transport import Connection, Method
from vouchd.cloning.probing import MOST, probes
from vouchd.core.status import ServingState
from vouchd.errors import ConfigError

SAMPLE = 20  # certificates of each kind and CA
_SERVED_FOR_SECONDS = 5  # an answer that ends while it is compared says nothing


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One question and its answer; `until` is its nextUpdate (POSIX seconds), 0 when it has none."""

    kind: str
    authority: str
    method: str
    request: str  # DER, base64
    sha256: str  # of the answer's DER
    until: int


@dataclass(frozen=True, slots=True)
class Replay:
    """How many answers were the same byte for byte, were others, or have run out since they were recorded."""

    same: int
    ended: int
    different: tuple[RecordedAnswer, ...]


def record_answers(state: ServingState, url: str, sample: int = SAMPLE) -> tuple[RecordedAnswer, ...]:
    """Ask the instance at `url` about certificates of each CA that `state` knows, some where they are many.

    Raises: ClientError.

    Without nonces, since those answers are made for their question, and only what is the same the second time: an
    answer in slots of the clock (`times=live`) or with a randomised signature is another one each time.
    """
    recorded = []
    with Connection(url) as connection:
        for probe in probes(state, sample, most=MOST):
            if probe.question.nonce is not None:
                continue
            first = send(connection, probe.question, probe.method)
            if send(connection, probe.question, probe.method).exchange.body != first.exchange.body:
                continue
            request = base64.b64encode(probe.question.request_der).decode()
            basic = first.response.basic
            until = min((one.next_update or 0 for one in basic.singles), default=0) if basic else 0
            digest = hashlib.sha256(first.exchange.body).hexdigest()
            recorded.append(RecordedAnswer(probe.kind, probe.authority, str(probe.method), request, digest, until))
    return tuple(recorded)


def replay(recorded: Iterable[RecordedAnswer], url: str, at: int) -> Replay:
    """Ask the instance at `url` the same again. Raises: ClientError."""
    same, ended, different = 0, 0, []
    with Connection(url) as connection:
        for one in recorded:
            if one.until and one.until <= at + _SERVED_FOR_SECONDS:
                ended += 1
                continue
            question = Question(None, (), None, base64.b64decode(one.request))
            body = send(connection, question, Method(one.method)).exchange.body
            if hashlib.sha256(body).hexdigest() == one.sha256:
                same += 1
            else:
                different.append(one)
    return Replay(same, ended, tuple(different))


def answers_record(recorded: Iterable[RecordedAnswer]) -> list[dict[str, Any]]:
    """The recorded answers as JSON values."""
    return [asdict(one) for one in recorded]


def read_answers(values: Iterable[Mapping[str, Any]]) -> tuple[RecordedAnswer, ...]:
    """The recorded answers of JSON values. Raises: ConfigError."""
    try:
        return tuple(RecordedAnswer(**value) for value in values)
    except TypeError as error:
        raise ConfigError("the recorded answers are of another version") from error
