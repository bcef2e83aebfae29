"""OCSP answered by the manager process itself, at the agent port: counted and recorded as a worker's answers are.

The manager's loop serves agents and takes in CRLs beside it, so it signs for a moment at a time, in turns that are fair
between networks of clients, and few wait: who is beyond that is told to try later. The EE port is made for load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from vouchd.audit.answer_records import AnsweredRecords, given_answers
from vouchd.audit.keeping import GivenAnswer
from vouchd.core.ports import Clock
from vouchd.ee.client_groups import ClientGroups
from vouchd.ee.counters import Snapshot, WorkerCounters
from vouchd.ee.counting import CountedResponder, EECounters, Responding
from vouchd.ee.port_state import SignerTurns
from vouchd.ee.signing_queue import SigningQueue
from vouchd.errors import OCSPResponseStatus
from vouchd.service.terms import unsigned_answer

MAX_WAITING = 64


class InProcessAnswers:
    """Answers requests in turns, one at a time: the loop owns the responder.

    `tell` takes what the audit log is to hold, and how many answers there was no room for.
    """

    def __init__(
        self,
        responder: Responding,
        records: AnsweredRecords,
        clock: Clock,
        tell: Callable[[Sequence[GivenAnswer], int], None],
        groups: ClientGroups,
        signing: SignerTurns | None = None,
    ) -> None:
        self._signing = signing
        self._counters = EECounters(WorkerCounters())
        self._responder = CountedResponder(responder, self._counters, records, "agent")
        self._records = records
        self._clock = clock
        self._tell = tell
        self._groups = groups
        self._queue = SigningQueue(MAX_WAITING)

    async def answer(self, method: str, request_der: bytes, client: str) -> bytes:
        """The response to a request that `client`, an address, sent with that HTTP method."""
        if self._queue.is_free():
            return self._answer_now(method, request_der, client)
        turn = _Turn(lambda: self._answer_now(method, request_der, client), lambda: self._later(method))
        group = self._groups.of(client)
        loser = self._queue.enter(turn, group)
        if loser is not None:
            self._counters.lost_turn(self._groups.hashed(loser))
        if loser == group:
            turn.lose_turn()
        return await turn.result

    def _answer_now(self, method: str, request_der: bytes, client: str) -> bytes:
        if self._signing is not None and self._signing.word[0] != self._signing.seen:
            self._signing.turn()
        at = self._clock.now()
        answer, note = self._responder.answer(request_der, at)
        if note is not None:
            self._records.count(note, client if self._records.clients else "")
            for message in self._records.take(at):
                self._tell(given_answers(message["answered"]), message["lost"])
        self._count(method, answer.response_der)
        return answer.response_der

    def _later(self, method: str) -> bytes:
        refused = unsigned_answer(OCSPResponseStatus.TRY_LATER, "overloaded")
        self._responder.count_error(refused)
        self._count(method, refused.response_der)
        return refused.response_der

    def malformed(self, method: str, cause: str) -> bytes:
        """The response to a request that could not even be decoded."""
        refused = unsigned_answer(OCSPResponseStatus.MALFORMED_REQUEST, cause)
        self._responder.count_error(refused)
        self._count(method, refused.response_der)
        return refused.response_der

    def snapshot(self) -> Snapshot:
        """The counters, in the shape of `ee.counters`."""
        return self._counters.snapshot({})

    def _count(self, method: str, body: bytes) -> None:
        self._counters.requests[method] += 1
        self._counters.sent_bytes += len(body)


class _Turn:
    """Waits for a signature; the result comes with the turn, or with its loss."""

    def __init__(self, sign: Callable[[], bytes], refuse: Callable[[], bytes]) -> None:
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._sign = sign
        self._refuse = refuse

    def take_turn(self) -> None:
        self._settle(self._sign)

    def lose_turn(self) -> None:
        self._settle(self._refuse)

    def _settle(self, make: Callable[[], bytes]) -> None:
        if self.result.done():  # the client has left
            return
        try:
            self.result.set_result(make())
        except Exception as error:  # noqa: BLE001  handed on to who waits
            self.result.set_exception(error)
