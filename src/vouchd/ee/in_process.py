"""OCSP answered by the manager process itself, at the agent port: counted and recorded as a worker's answers are.

The manager's loop serves agents and takes in CRLs beside it, so a thread signs (`signing_threads`), in turns that are
fair between networks of clients, and few wait: who is beyond that is told to try later. The EE port is made for load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from vouchd.audit.answer_records import AnsweredRecords, given_answers
from vouchd.audit.keeping import GivenAnswer
from vouchd.core.ports import Clock
from vouchd.ee.client_groups import ClientGroups, Network, is_allowed
from vouchd.ee.counted_responder import CountedResponder, EECounters, Responding
from vouchd.ee.counters import Snapshot, WorkerCounters
from vouchd.ee.port_state import SignerTurns
from vouchd.ee.signing_threads import SigningThreads
from vouchd.errors import OCSPResponseStatus
from vouchd.service.assembling import Draft
from vouchd.service.terms import Answer, unsigned_answer

MAX_WAITING = 64


class InProcessAnswers:
    """Answers requests in turns, one at a time: the loop owns the responder, and a thread signs what it drafted.

    `tell` takes what the audit log is to hold, and how many answers there was no room for; `allowed` are the networks
    whose clients are answered, as at the EE port.
    """

    def __init__(
        self,
        responder: Responding,
        records: AnsweredRecords,
        clock: Clock,
        tell: Callable[[Sequence[GivenAnswer], int], None],
        groups: ClientGroups,
        signing: SignerTurns | None = None,
        allowed: Sequence[Network] = (),
    ) -> None:
        self._allowed = allowed
        self._signing = signing
        self._counters = EECounters(WorkerCounters())
        self._responder = CountedResponder(responder, self._counters, "agent")
        self._records = records
        self._clock = clock
        self._tell = tell
        self._groups = groups
        self._threads = SigningThreads(MAX_WAITING, 1)

    def lets_in(self, client: str) -> bool:
        """Whether a client of that address is answered; one who is not is counted."""
        allowed = is_allowed(client, self._allowed)
        if not allowed:
            self._counters.refused("address")
        return allowed

    async def answer(self, method: str, request_der: bytes, client: str) -> bytes:
        """The response to a request that `client`, an address, sent with that HTTP method."""
        turn = _Turn(self._begin, request_der)
        if self._threads.is_free:
            turn.take_turns()
        else:
            group = self._groups.of(client)
            loser = self._threads.enter(turn, group)
            if loser is not None:
                self._counters.lost_turn(self._groups.hashed(loser))
            if loser == group:
                turn.lose_turn()
        answer, seconds = await turn.result
        self._responder.count(answer, seconds)
        self._record(request_der, answer, client)
        self._count(method, answer.response_der)
        return answer.response_der

    def _begin(self, turn: _Turn) -> None:
        """Draft the answer that is waited for, and have it signed; again if it has become wrong meanwhile."""
        self._look()
        begin = time.perf_counter()
        draft = self._responder.draft(turn.request_der, self._clock.now())

        def finish() -> Answer:
            return self._responder.signed(draft) if isinstance(draft, Draft) else draft

        def take(answers: Sequence[Answer]) -> None:
            (answer,) = answers
            self._look()
            if draft.terms.basis.current:
                turn.give(answer, time.perf_counter() - begin)
            else:
                turn.take_turns()

        self._threads.run(lambda: (finish(),), take)

    def _look(self) -> None:
        """See whether other signers sign now."""
        if self._signing is not None and self._signing.word[0] != self._signing.seen:
            self._signing.turn()

    def _record(self, request_der: bytes, answer: Answer, client: str) -> None:
        note = self._records.note(request_der, answer)
        if note is not None:
            self._records.count(note, client if self._records.clients else "")
            for message in self._records.take(self._clock.now()):
                self._tell(given_answers(message["answered"]), message["lost"])

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
    """Waits for the answer to a request; `result` is it, and how many seconds it took to make."""

    together = 1

    def __init__(self, begin: Callable[[_Turn], None], request_der: bytes) -> None:
        self.result: asyncio.Future[tuple[Answer, float]] = asyncio.get_running_loop().create_future()
        self.request_der = request_der
        self._begin = begin

    def take_turns(self, _: Sequence[_Turn] = ()) -> None:
        """See ThreadWaiter; turns come one by one."""
        if not self.result.done():  # else the client has left
            self._begin(self)

    def lose_turn(self) -> None:
        """See Waiter."""
        self.give(unsigned_answer(OCSPResponseStatus.TRY_LATER, "overloaded"), 0.0)

    def give(self, answer: Answer, seconds: float) -> None:
        """The answer."""
        if not self.result.done():
            self.result.set_result((answer, seconds))
