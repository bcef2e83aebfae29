"""OCSP answered by the manager process itself, at the agent port: counted and recorded as a worker's answers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vouchd.audit.answer_records import AnsweredRecords, given_answers
from vouchd.audit.keeping import GivenAnswer
from vouchd.core.ports import Clock
from vouchd.ee.counters import Snapshot, WorkerCounters
from vouchd.ee.counting import CountedResponder, EECounters, Responding, refused_answer
from vouchd.errors import OCSPResponseStatus


class InProcessAnswers:
    """Answers requests, one at a time: the loop owns the responder.

    `tell` takes what the audit log is to hold, and how many answers there was no room for.
    """

    def __init__(
        self,
        responder: Responding,
        records: AnsweredRecords,
        clock: Clock,
        tell: Callable[[Sequence[GivenAnswer], int], None],
    ) -> None:
        self._counters = EECounters(WorkerCounters())
        self._responder = CountedResponder(responder, self._counters.worker, records, "agent")
        self._records = records
        self._clock = clock
        self._tell = tell

    def answer(self, method: str, request_der: bytes, client: str) -> bytes:
        """The response to a request that `client`, an address, sent with that HTTP method."""
        at = self._clock.now()
        answer, note = self._responder.answer(request_der, at)
        if note is not None:
            self._records.count(note, client if self._records.clients else "")
            for message in self._records.take(at):
                self._tell(given_answers(message["answered"]), message["lost"])
        self._count(method, answer.response_der)
        return answer.response_der

    def malformed(self, method: str, cause: str) -> bytes:
        """The response to a request that could not even be decoded."""
        refused = refused_answer(OCSPResponseStatus.MALFORMED_REQUEST, cause)
        self._responder.count(refused)
        self._count(method, refused.response_der)
        return refused.response_der

    def snapshot(self) -> Snapshot:
        """The counters, in the shape of `ee.counters`."""
        return self._counters.snapshot({})

    def _count(self, method: str, body: bytes) -> None:
        self._counters.requests[method] += 1
        self._counters.sent_bytes += len(body)
