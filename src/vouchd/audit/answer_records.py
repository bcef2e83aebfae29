"""Which answers a worker tells the audit log of, and the messages in which it does.

What an answer's record says is made once, with the answer, and kept beside it in the cache; giving it then costs the
count of one key. Equal answers to one client within a second are one record with their count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from vouchd.audit.keeping import GivenAnswer
from vouchd.core.facts import CertStatus
from vouchd.core.policy import AnswerRecords
from vouchd.errors import LifecycleError, OCSPResponseStatus, RequestError
from vouchd.pkix.ocsp import CertID, parse_request
from vouchd.service.terms import Answer

# CA, serial (hex) and status of each certificate in an answer; one triple with the cause of an error as its status.
Note = tuple[tuple[str, str, str], ...]

VIA = " via "  # between the address of a client and that of the proxy which asks for it
MAX_ROWS = 10_000  # of one second, a certificate each; answers beyond are counted as lost
_MESSAGE_BYTES = 128 << 10
_ROW_BYTES = 80  # the numbers of a row and what stands between
_CHARACTER_BYTES = 12  # of a character in JSON at its widest: a pair of escapes
_MAX_LABEL = 200
_MAX_CERT_IDS = 10_000  # the responder's own limit was kept before


class AnsweredRecords:
    """What was answered since the last `take`; `label` tells the CA of a CertID, `clients` whether clients matter."""

    def __init__(self, policy: AnswerRecords, sample: int, label: Callable[[CertID], str], *, clients: bool) -> None:
        self._policy = policy
        self._sample = self._until_next = sample if policy is AnswerRecords.SAMPLED else 1
        self._label = label
        self.clients = clients
        self.wanted = policy is not AnswerRecords.NONE  # of some answers
        self._counts: Counter[tuple[Note, str]] = Counter()
        self._rows = 0
        self._lost = 0

    def note(self, request_der: bytes, answer: Answer) -> Note | None:
        """What the record of an answer says, None when it gets none."""
        policy = self._policy
        if not self.wanted:
            return None
        if policy is AnswerRecords.REVOKED and CertStatus.REVOKED not in answer.cert_statuses:
            return None
        if answer.status is not OCSPResponseStatus.SUCCESSFUL:
            return (("", "", answer.cause),)
        try:
            cert_ids = parse_request(request_der, max_cert_ids=_MAX_CERT_IDS).cert_ids
        except RequestError:  # cannot be: it was answered
            return None
        return tuple(
            (self._label(cert_id)[:_MAX_LABEL], f"0x{cert_id.serial.hex()}", str(status))
            for cert_id, status in zip(cert_ids, answer.cert_statuses, strict=False)
            if policy is not AnswerRecords.REVOKED or status is CertStatus.REVOKED
        )

    def count(self, note: Note, client: str) -> None:
        """An answer with this record was given to a client; the hot path calls this."""
        self._until_next -= 1
        if self._until_next:
            return
        self._until_next = self._sample
        key = note, client
        if key in self._counts:
            self._counts[key] += 1
        elif self._rows < MAX_ROWS:
            self._counts[key] = 1
            self._rows += len(note)
        else:
            self._lost += 1

    def take(self, second: int) -> Iterator[dict[str, Any]]:
        """The messages to the manager process on what was answered until `second`, and forget it."""
        counts, lost = self._counts, self._lost
        self._counts, self._rows, self._lost = Counter(), 0, 0
        rows = [[second, *triple, client, count] for (note, client), count in counts.items() for triple in note]
        message: list[list[Any]] = []
        size = 0
        for row in rows:
            row_bytes = _ROW_BYTES + _CHARACTER_BYTES * sum(len(text) for text in row if isinstance(text, str))
            if size + row_bytes > _MESSAGE_BYTES and message:
                yield {"answered": message, "lost": lost}
                message, size, lost = [], 0, 0
            message.append(row)
            size += row_bytes
        if message or lost:
            yield {"answered": message, "lost": lost}


def given_answers(rows: list[object]) -> list[GivenAnswer]:
    """The rows of a message. Raises: LifecycleError when one is malformed."""
    answers = []
    for row in rows:
        match row:
            case [int(second), str(ca), str(serial), str(status), str(client), int(count)]:
                client, _, proxy = client.partition(VIA)
                answers.append(GivenAnswer(second, ca, serial, status, client, count, proxy))
            case _:
                raise LifecycleError("control channel: a malformed record of an answer")
    return answers
