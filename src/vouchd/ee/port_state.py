"""What all connections of one EE port share: clocks, cache, signing queue, counters; and how a request is answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from vouchd.audit.answer_records import AnsweredRecords, Note
from vouchd.core.policy import AnswerRecords
from vouchd.ee.cache import ResponseCache
from vouchd.ee.client_groups import ClientGroups, is_allowed
from vouchd.ee.counted_responder import CountedResponder, EECounters, Responding
from vouchd.ee.counters import Summing, WorkerCounters
from vouchd.ee.getpath import decode, prefixes, remainder
from vouchd.ee.http_request import HTTPRequest
from vouchd.ee.replies import Entry, Reply, Uncacheable, http_date, refusal
from vouchd.ee.signing_queue import SigningQueue
from vouchd.ee.signing_threads import THREADS, SigningThreads
from vouchd.ee.status_documents import DOCUMENTS, XML
from vouchd.errors import MalformedRequest, OCSPResponseStatus
from vouchd.service.assembling import Draft, Signing
from vouchd.service.terms import Answer, unsigned_answer
from vouchd.settings.tcp_ports import EEPort
from vouchd.sockets import SPARE_DESCRIPTORS, connection_room, free_descriptors

_log = logging.getLogger(__name__)

# When a client may ask again: at once is too soon for a missing CRL, and long for a queue that is full.
RETRY_SECONDS = 30
OVERLOADED_RETRY_SECONDS = 1
# How many signed answers are written together at least, where one group of clients alone waits for signatures. Fewer
# fit into a slice where a signature takes some hundred microseconds, and each writing wakes anew who waits.
WRITTEN_TOGETHER = 8

_SUCCESSFUL = OCSPResponseStatus.SUCCESSFUL
_READING = (b"GET", b"HEAD")
_XML_TYPE = b"Content-Type: %b\r\n" % XML.encode()
_METHODS = {b"GET": "GET", b"HEAD": "HEAD", b"POST": "POST"}
_NAMES = {**_METHODS, b"OPTIONS": "OPTIONS"}
_ALLOW = b"Allow: GET, HEAD, OPTIONS, POST\r\n"


class SignerTurns(Protocol):
    """Which signers are signed with (`service.signing_epochs`): while `word` holds another number, `turn` is due."""

    word: Sequence[int]
    seen: int

    def turn(self) -> None:
        """Sign with those that the word names."""


class _OneSet:
    """Signers that never change."""

    word: Sequence[int] = (0,)
    seen = 0

    def turn(self) -> None:
        """Nothing is ever due."""


class Connected(Protocol):
    """A connection, as far as its port ends it."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing of a request has come and nothing is due."""

    @property
    def silent_since(self) -> int:
        """The second of uptime at which it was answered last, or was taken."""

    def check(self, uptime: int) -> None:
        """Once a second: end what took too long."""

    def retire(self) -> None:
        """The server stops: answer what comes, and say with it that the connection ends."""

    def abort(self) -> None:
        """End the connection now."""


class Asking(Protocol):
    """A connection, as far as it waits for an answer to `awaited`, a request; None when it does not, any more."""

    awaited: bytes | None

    @property
    def group(self) -> str:
        """Whose turns it shares."""

    def lose_turn(self) -> None:
        """Its place went to another group."""

    def give(self, reply: Reply) -> None:
        """The answer."""

    def give_alone(self, wire: bytes) -> bool:
        """The whole answer to who waits for it alone, as most do; False where it takes `give` to see what is wanted."""


class SlowTurn:
    """A request that waits for a thread, and what was drafted for it at POSIX second `at`."""

    __slots__ = ("_port", "at", "client", "draft", "request_der")

    def __init__(self, port: PortState, request_der: bytes, client: Asking, draft: Draft, at: int) -> None:
        self._port = port
        self.request_der = request_der
        self.client = client
        self.draft = draft
        self.at = at

    @property
    def together(self) -> int:
        """See ThreadWaiter."""
        return self.draft.template.signing.signer.together

    def take_turns(self, others: Sequence[SlowTurn]) -> None:
        """See ThreadWaiter."""
        self._port.begin_slow((self, *others))

    def lose_turn(self) -> None:
        """See Waiter."""
        self.client.give(self._port.overloaded(200))


class PortState:
    """The state of one port; `clock` tells POSIX seconds, `uptime_clock` seconds that never step.

    `salt` is what hashes of clients are made with; `signing` tells when other signers sign. So many `threads` make slow
    signatures.
    """

    def __init__(
        self,
        responder: Responding,
        port: EEPort,
        counters: WorkerCounters | None = None,
        *,
        records: AnsweredRecords | None = None,
        salt: bytes = b"",
        clock: Callable[[], float] = time.time,
        uptime_clock: Callable[[], float] = time.monotonic,
        signing: SignerTurns | None = None,
        threads: int = THREADS,
    ) -> None:
        self.port = port
        self.signing = signing or _OneSet()
        self._prefixes = prefixes(port.paths)
        self.cache = ResponseCache(port.cache_bytes, port.cache_entries, self._prefixes)
        self.queue: SigningQueue[Asking] = SigningQueue(port.max_in_flight, self.answer_all)
        self.threads = SigningThreads(port.max_in_flight, threads)
        self._signed: dict[bytes, tuple[Asking, Draft]] = {}  # what is to be written, and the signatures in that order
        self._signatures: list[bytes] = []
        self.groups = ClientGroups(port.ipv4_prefix, port.ipv6_prefix, port.trusted_proxies, salt)
        self.counters = EECounters(counters or WorkerCounters())
        self.records = records or AnsweredRecords(AnswerRecords.NONE, 1, lambda _: "", clients=False)
        self.stopping = False
        self.connections: set[Connected] = set()
        self.room = port.max_connections  # for connections, as far as there are descriptors
        self.clock = clock
        self._uptime_clock = uptime_clock
        self._answering = CountedResponder(responder, self.counters, "ee")
        self.forget: Callable[[], None] = lambda: None  # lets go of answers that are dead
        self.empty = asyncio.Event()  # set when the last connection is gone
        self.second, self.date, self.uptime = -1, b"", 0  # POSIX seconds of now, as Date; seconds that never step
        self.read_clocks()

    def measure_room(self) -> None:
        """See how many connections there are descriptors for, beside what else is open now and will be."""
        room = min(self.port.max_connections, connection_room(len(self.connections)))
        if room < min(self.room, self.port.max_connections):
            _log.warning("ee: no more than %d connections: the limit of open descriptors is reached (ulimit -n)", room)
        self.room = room

    def give_way(self) -> None:
        """End connections that ask for nothing while descriptors are out: half of all, the longest silent first."""
        if free_descriptors() >= SPARE_DESCRIPTORS:
            return
        silent = sorted((one for one in self.connections if one.is_silent), key=lambda one: one.silent_since)
        for connection in silent[: (len(self.connections) + 1) // 2]:
            self.counters.refused("descriptors")
            connection.abort()

    def read_clocks(self) -> None:
        """Take over the time that it is now."""
        second = int(self.clock())
        if second != self.second:
            self.second, self.date = second, http_date(second)
        self.uptime = int(self._uptime_clock())

    def turn(self) -> None:
        """Other signers sign from now on: what the former ones signed is not given any more."""
        self.signing.turn()
        self.forget()

    def is_allowed(self, address: str) -> bool:
        """Whether somebody of that address may ask."""
        return is_allowed(address, self.port.allowed)

    def admit(self, connection: Connected) -> bool:
        """Whether there is room for one more connection."""
        if len(self.connections) >= self.room:
            self.counters.refused("connections")
            return False
        self.counters.connections += 1
        self.connections.add(connection)
        return True

    def leave(self, connection: Connected) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    def enter_queue(self, connection: Asking, group: str) -> bool:
        """Have the connection wait for a signature; False when there is no place for its group."""
        loser = self.queue.enter(connection, group)
        if loser is None:
            return True
        self._lose(loser)
        return loser != group

    def _lose(self, loser: str) -> None:
        """A group of clients has lost a place in a queue."""
        self.counters.refused("overloaded")
        self.counters.lost_turn(self.groups.hashed(loser))

    def method_name(self, request: HTTPRequest) -> str:
        """The method as a label of bounded choice."""
        return _NAMES.get(request.method, "other")

    def overloaded(self, http_status: int) -> Uncacheable:
        """No room now: tryLater."""
        return refusal(http_status, OCSPResponseStatus.TRY_LATER, b"Retry-After: %d\r\n" % OVERLOADED_RETRY_SECONDS)

    def document(self, request: HTTPRequest) -> Uncacheable | None:
        """What is no OCSP at all: what the instance says of itself, where that is asked for."""
        content = DOCUMENTS.get(request.target.partition(b"?")[0]) if request.method in _READING else None
        return None if content is None else Uncacheable(content, type_line=_XML_TYPE)

    def request_der(self, request: HTTPRequest) -> Uncacheable | bytes:
        """The request DER to be answered, or a refusal that needs no responder."""
        malformed = OCSPResponseStatus.MALFORMED_REQUEST
        if request.method == b"OPTIONS":  # what load balancers ask to see whether somebody is there
            return Uncacheable(b"", 204, _ALLOW)
        if request.method not in _METHODS:
            self.counters.refused("method")
            return refusal(405, malformed, _ALLOW)
        rest = remainder(request.target, self._prefixes)
        if rest is None or (rest and request.method == b"POST"):
            self.counters.refused("path")
            return refusal(404, malformed)
        if request.method == b"POST":
            return request.body
        try:
            return decode(request.target, self._prefixes)
        except MalformedRequest as error:
            refused = unsigned_answer(malformed, error.cause)
            self._answering.count_error(refused)
            return Uncacheable(refused.response_der)

    def look(self) -> None:
        """See whether other signers sign now."""
        if self.signing.word[0] != self.signing.seen:
            self.turn()

    def cached(self, request_der: bytes) -> Entry | None:
        """The cached answer to a request, counted; it is of the signers that sign now."""
        self.look()
        entry = self.cache.by_der.get(request_der)
        if entry is None or not entry.freshen(self.second, self.date):
            return None
        entry.uses += 1
        entry.tally.parsed += 1
        return entry

    def answer_all(self, clients: Iterable[Asking]) -> None:
        """Answer those whose turn has come: all is drafted, then all signed, then all given.

        A processor that goes back and forth between these three takes longer for each of them. So where the next ones
        are of the same group what is signed waits for theirs, until it is some, or no more is signed, or another one
        asks the same: that may want a signature of its own, which is to be made in the slice in which its turn came.
        """
        drafts: dict[bytes, tuple[Asking, Draft]] = {}
        signed, before = self._signed, len(self._signatures)
        repeated: list[tuple[bytes, Asking]] = []  # what another one of them asks as well
        slow: list[SlowTurn] = []
        by_der, draft_of = self.cache.by_der, self._answering.draft
        second, begin = int(self.clock()), time.perf_counter()
        for client in clients:
            request_der = client.awaited
            if request_der is None:
                continue
            if request_der in drafts or request_der in signed:
                repeated.append((request_der, client))
            elif request_der in by_der and (entry := self.cached(request_der)) is not None:
                client.give(entry)
            else:
                draft = draft_of(request_der, second)
                if not isinstance(draft, Draft):
                    client.give(self._reply(request_der, draft))
                elif draft.template.signing.is_slow:
                    slow.append(SlowTurn(self, request_der, client, draft, second))
                else:
                    drafts[request_der] = client, draft
        self._sign_beside(slow)
        if drafts:
            self._sign_all(drafts, begin)
        grows = before < len(self._signatures) < WRITTEN_TOGETHER
        if repeated or not (grows and self.queue.goes_on):
            self._give_signed()
        for request_der, client in repeated:
            self.answer(request_der, client)

    def _sign_all(self, drafts: dict[bytes, tuple[Asking, Draft]], begin: float) -> None:
        """Sign what was begun to be drafted at that time of `perf_counter`."""
        signatures = self._answering.signatures([draft for _, draft in drafts.values()])
        self.counters.worker.observe_signatures(time.perf_counter() - begin, len(drafts))
        if signatures is not None:
            self._signed |= drafts
            self._signatures += signatures
            return
        self.look()
        for request_der, (client, draft) in drafts.items():
            if draft.template.terms.basis.current:
                client.give(self._reply(request_der, self._answering.signed(draft)))
            else:
                self.answer(request_der, client)

    def _give_signed(self) -> None:
        """Give what was signed."""
        signed, signatures = self._signed, self._signatures
        self._signed, self._signatures = {}, []
        self.look()
        now, recorded, second, date = int(self.clock()), self.records.wanted, self.second, self.date
        for (request_der, (client, draft)), signature in zip(signed.items(), signatures, strict=True):
            terms = draft.template.terms
            if not terms.hold_at(now):  # since it was drafted it has ended, or other signers sign
                self.answer(request_der, client)
            elif terms.cacheable or recorded:
                client.give(self._reply(request_der, draft.signed_with(signature)))
            else:  # the same in fewer steps
                frame = terms.frame or self.counters.frame(terms)
                frame.tally.made += 1
                if not client.give_alone(frame.once(draft, signature, second, date)):
                    client.give(Uncacheable(draft.signed_with(signature).response_der))

    def _sign_beside(self, turns: Sequence[SlowTurn]) -> None:
        """Have threads that are free sign for some, as many together as is good; the others wait for a thread."""
        start = 0
        while start < len(turns) and self.threads.is_free:
            end = start + turns[start].together
            self._sign_together(turns[start:end])
            start = end
        for turn in turns[start:]:
            group = turn.client.group
            loser = self.threads.enter(turn, group)
            if loser is not None:
                self._lose(loser)
            if loser == group:
                turn.lose_turn()

    def begin_slow(self, turns: Sequence[SlowTurn]) -> None:
        """Have a thread sign for those whose turn has come, as far as they are there and have no answer yet."""
        self.look()
        second = int(self.clock())
        due: list[SlowTurn] = []
        for turn in turns:
            request_der, client = turn.request_der, turn.client
            if client.awaited is None:
                continue
            if request_der in self.cache.by_der and (entry := self.cached(request_der)) is not None:
                client.give(entry)
            elif turn.at == second and turn.draft.terms.basis.current:
                due.append(turn)
            else:
                draft = self._answering.draft(request_der, second)
                if not isinstance(draft, Draft):
                    client.give(self._reply(request_der, draft))
                elif draft.template.signing.is_slow:
                    due.append(SlowTurn(self, request_der, client, draft, second))
                else:  # others sign now
                    client.give(self._reply(request_der, self._answering.signed(draft)))
        self._sign_together(due)

    def _sign_together(self, turns: Sequence[SlowTurn]) -> None:
        """Have a thread sign for these, one for each signer and algorithm; what several of them ask is signed once."""
        lots: dict[tuple[Signing, str], dict[bytes, list[SlowTurn]]] = {}
        for turn in turns:
            template = turn.draft.template
            lot = lots.setdefault((template.signing, template.algorithm), {})
            lot.setdefault(turn.request_der, []).append(turn)
        for lot in lots.values():
            self._sign_lot(tuple(lot.values()))

    def _sign_lot(self, lot: Sequence[Sequence[SlowTurn]]) -> None:
        begin = time.perf_counter()

        def take(answers: Sequence[Answer]) -> None:
            each = (time.perf_counter() - begin) / len(lot)
            self.look()
            second = int(self.clock())
            for (turn, *same), answer in zip(lot, answers, strict=True):
                if turn.draft.terms.hold_at(second):
                    turn.client.give(self._reply(turn.request_der, answer, each))
                else:  # what it rests on has changed or ended meanwhile, or other signers sign
                    self.answer(turn.request_der, turn.client)
                for one in same:
                    self.answer(one.request_der, one.client)

        drafts = [turn.draft for turn, *_ in lot]
        self.threads.run(lambda: self._answering.signed_together(drafts), take)

    def answer(self, request_der: bytes, client: Asking) -> None:
        """Answer somebody who has waited."""
        if client.awaited is None:
            return
        entry = self.cached(request_der)
        if entry is not None:
            client.give(entry)
            return
        start, second = time.perf_counter(), int(self.clock())
        draft = self._answering.draft(request_der, second)
        if not isinstance(draft, Draft):
            client.give(self._reply(request_der, draft))
        elif draft.template.signing.is_slow:
            self._sign_beside([SlowTurn(self, request_der, client, draft, second)])
        else:
            answer = self._answering.signed(draft)
            client.give(self._reply(request_der, answer, time.perf_counter() - start))

    def renew(self, request_der: bytes) -> None:
        """Have an answer in the cache before it is asked; nobody is given it, so it is not counted."""
        if request_der not in self.cache.by_der:
            self.ahead(request_der, int(self.clock()), lambda answer: self.keep(request_der, answer))

    def ahead(self, request_der: bytes, at: int, take: Callable[[Answer], None]) -> None:
        """Make the answer that is right from the second `at` on, and have it taken; nobody is given it before."""
        draft = self._answering.draft(request_der, at)
        if not isinstance(draft, Draft):
            take(draft)
        elif draft.template.signing.is_slow:
            self.threads.run(lambda: (self._answering.signed(draft),), lambda answers: take(answers[0]))
        else:
            take(self._answering.signed(draft))

    def keep(self, request_der: bytes, answer: Answer) -> None:
        """Put an answer into the cache that nobody has been given, if it is still right."""
        if answer.terms.cacheable and answer.terms.basis.current:
            self._keep(request_der, answer, self.records.note(request_der, answer))

    def _reply(self, request_der: bytes, answer: Answer, seconds: float = 0.0) -> Reply:
        """What is given of an answer; a signature that took so long, unless it is 0, is counted with it."""
        self._answering.count(answer, seconds)
        note = self.records.note(request_der, answer) if self.records.wanted else None
        terms = answer.terms
        if terms.status is not _SUCCESSFUL:
            later = terms.status is OCSPResponseStatus.TRY_LATER
            extra = b"Retry-After: %d\r\n" % RETRY_SECONDS if later else b""
            return Uncacheable(answer.response_der, extra=extra, note=note)
        entry = self._keep(request_der, answer, note) if terms.cacheable else None
        return entry or Uncacheable(answer.response_der, note=note)

    def _keep(self, request_der: bytes, answer: Answer, note: Note | None) -> Entry | None:
        """A cached answer; None when nobody may keep it: it is past its nextUpdate, and served so by policy."""
        frame = answer.terms.frame or self.counters.frame(answer.terms)
        if not frame.fresh_at(self.second):
            return None
        entry = Entry(answer, frame, self.second, self.date, note)
        if not answer.terms.unusual:
            self.cache.put(request_der, entry, self.second)
        return entry

    def summing(self) -> Summing:
        """The steps in which counters and gauges are made, JSON-ready."""
        return self.counters.summing(
            {
                "connections": len(self.connections),
                "connection_room": self.room,
                "waiting_signatures": len(self.queue) + len(self.threads),
                "waiting_groups": self.queue.group_count + self.threads.group_count,
                "cache_entries": len(self.cache.by_der),
                "cache_bytes": self.cache.size_bytes,
            }
        )
