"""What a port counts beside the process's own counters, and the responder whose answers are counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from vouchd.audit.answer_records import AnsweredRecords, Note
from vouchd.core.facts import CertStatus
from vouchd.ee.cache import Tally, error_der
from vouchd.ee.counters import Snapshot, WorkerCounters
from vouchd.errors import OCSPResponseStatus, SigningError
from vouchd.service.answering import Answer

_log = logging.getLogger(__name__)

# Groups of clients that are told apart where turns are lost: a metric has few labels, however many strangers there are.
MAX_LOSERS = 32
OTHERS = "others"

_STATUS_NAMES = {status: status.name.lower() for status in OCSPResponseStatus}


class Responding(Protocol):
    """What a port needs of the responder."""

    def answer(self, request_der: bytes, at: int) -> Answer:
        """The answer to `request_der` at POSIX second `at`; an error is an answer too."""


class CountedResponder:
    """Has a responder answer, whatever happens; counts the answers and says what the audit log is to hold of them."""

    def __init__(self, responder: Responding, counters: WorkerCounters, records: AnsweredRecords, port: str) -> None:
        self._responder = responder
        self._counters = counters
        self._records = records
        self._port = port

    def answer(self, request_der: bytes, at: int) -> tuple[Answer, Note | None]:
        """The answer, and the note to be given to the records with it."""
        counters = self._counters
        counters.cache_misses += 1
        answer = self._ask(request_der, at)
        self.count(answer)
        counters.by_authority[answer.authority_id] += 1
        return answer, self._records.note(request_der, answer)

    def count(self, answer: Answer) -> None:
        """Count an answer by status, cause and CertStatus."""
        counters = self._counters
        counters.answers[_STATUS_NAMES[answer.status]] += 1
        if answer.cause:
            counters.errors[answer.cause] += 1
        for cert_status in answer.cert_statuses:
            counters.cert_statuses[cert_status] += 1

    def _ask(self, request_der: bytes, at: int) -> Answer:
        start = time.perf_counter()
        try:
            answer = self._responder.answer(request_der, at)
        except SigningError as error:
            _log.error("%s: %s", self._port, error)
            return _internal_error("signing")
        except Exception:  # noqa: BLE001  the outermost handler: a bug must not take the connection with it
            _log.exception("%s: the responder failed", self._port)
            return _internal_error("internal")
        if answer.status is OCSPResponseStatus.SUCCESSFUL:
            self._counters.observe_signature(time.perf_counter() - start)
        return answer


def refused_answer(status: OCSPResponseStatus, cause: str) -> Answer:
    """The answer that needs no responder."""
    return Answer(error_der(status), status, cause)


def _internal_error(cause: str) -> Answer:
    return refused_answer(OCSPResponseStatus.INTERNAL_ERROR, cause)


class EECounters:
    """Counts of one port that answers OCSP; `worker` is shared with the rest of the process."""

    def __init__(self, worker: WorkerCounters) -> None:
        self.worker = worker
        self.requests: Counter[str] = Counter()  # by method, without the cache hits of the tallies
        self.sent_bytes = 0
        self.connections = 0  # accepted since start
        self.lost_turns: Counter[str] = Counter()  # by hash of the group of clients
        self._tallies: dict[tuple[str, tuple[CertStatus, ...]], Tally] = {}

    def tally(self, cert_statuses: tuple[CertStatus, ...], authority_id: str = "") -> Tally:
        """Where the hits of answers of that CA with these CertStatus values are counted."""
        return self._tallies.setdefault((authority_id, tuple(sorted(cert_statuses))), Tally())

    def refused(self, cause: str) -> None:
        """Count an error that the port itself answered."""
        self.worker.errors[cause] += 1

    def lost_turn(self, hashed: str) -> None:
        """Count a request that was told to try later because others had fewer waiting."""
        known = len(self.lost_turns) < MAX_LOSERS or hashed in self.lost_turns
        self.lost_turns[hashed if known else OTHERS] += 1

    def snapshot(self, gauges: Mapping[str, int]) -> Snapshot:
        """All counters of the worker, in the shape of `ee.counters`."""
        snapshot = self.worker.snapshot(gauges)
        counters = snapshot["counters"]
        requests, sent_bytes = Counter(self.requests), self.sent_bytes
        answers, cert_statuses = Counter(counters["answers"]), Counter(counters["cert_statuses"])
        by_authority = Counter(counters["by_authority"])
        for (authority_id, statuses), tally in self._tallies.items():
            hits = tally.gets + tally.posts + tally.parsed
            counters["cache_hits"] += hits
            sent_bytes += tally.sent_bytes
            requests.update({"GET": tally.gets, "POST": tally.posts})
            answers["successful"] += hits
            by_authority[authority_id] += hits
            cert_statuses.update({str(status): count * hits for status, count in Counter(statuses).items()})
        by_authority.pop("", None)
        counters.update(
            by_authority=dict(+by_authority),
            requests=dict(+requests),  # the plus drops zeros
            sent_bytes=sent_bytes,
            connections=self.connections,
            lost_turns=dict(self.lost_turns),
            answers=dict(+answers),
            cert_statuses=dict(+cert_statuses),
        )
        return snapshot
