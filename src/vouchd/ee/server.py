"""The EE port: OCSP over HTTP (RFC 6960 appendix A, RFC 9919) on any number of listening sockets of one worker.

What is here is shared by all connections: the clock, the cache, the signing queue, the counters, start and stop.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vouchd.audit.answers import AnsweredRecords
from vouchd.core.policy import AnswerRecords
from vouchd.ee.cache import Entry, ResponseCache, Uncacheable, http_date, refusal
from vouchd.ee.connection import EEConnection
from vouchd.ee.counters import Snapshot, WorkerCounters
from vouchd.ee.counting import CountedResponder, EECounters, Responding, refused_answer
from vouchd.ee.getpath import decode, remainder
from vouchd.ee.reading import HTTPRequest
from vouchd.ee.signing_queue import SigningQueue
from vouchd.errors import MalformedRequest, OCSPResponseStatus
from vouchd.settings.declared import EEPort
from vouchd.sockets import BACKLOG

_log = logging.getLogger(__name__)

# When a client may ask again: at once is too soon for a missing CRL, and long for a queue that is full.
RETRY_SECONDS = 30
OVERLOADED_RETRY_SECONDS = 1

_SUCCESSFUL = OCSPResponseStatus.SUCCESSFUL
_METHODS = {b"GET": "GET", b"HEAD": "HEAD", b"POST": "POST"}


class EEServer:
    """OCSP over HTTP for one worker; `clock` tells POSIX seconds, `uptime_clock` seconds that never step."""

    def __init__(
        self,
        responder: Responding,
        port: EEPort,
        counters: WorkerCounters | None = None,
        *,
        records: AnsweredRecords | None = None,
        clock: Callable[[], float] = time.time,
        uptime_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.port = port
        self.cache = ResponseCache(port.cache_entries)
        self.queue = SigningQueue(port.max_in_flight)
        self.counters = EECounters(counters or WorkerCounters())
        self.records = records or AnsweredRecords(AnswerRecords.NONE, 1, lambda _: "", clients=False)
        self.stopping = False
        self._answering = CountedResponder(responder, self.counters.worker, self.records, "ee")
        self._clock, self._uptime_clock = clock, uptime_clock
        self._connections: set[EEConnection] = set()
        self._listeners: list[asyncio.Server] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self.second, self.date, self.uptime = -1, b"", 0
        self._read_clocks()

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Serve on listening `sockets`, which belong to the server from now on."""
        loop = asyncio.get_running_loop()
        for listener in sockets:
            self._listeners.append(await loop.create_server(lambda: EEConnection(self), sock=listener, backlog=BACKLOG))
        self._schedule()

    def forget(self) -> None:
        """Drop every cached answer: the state that they were made from was replaced."""
        self.cache.forget()

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, answer what is under way, end every connection; what is left after the grace is cut off."""
        for _ in range(2):  # two turns of the loop take in the connections that the kernel has already accepted
            await asyncio.sleep(0)
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in self._connections:
            connection.retire()
        if self._connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), grace_seconds)
            except TimeoutError:
                _log.warning("ee: %d connections cut off at stop", len(self._connections))
        for connection in list(self._connections):
            connection.abort()
        if self._ticking is not None:
            self._ticking.cancel()

    def snapshot(self) -> Snapshot:
        """Counters and gauges, JSON-ready."""
        return self.counters.snapshot(
            {
                "connections": len(self._connections),
                "waiting_signatures": len(self.queue),
                "cache_entries": len(self.cache.by_der),
            }
        )

    def answered(self) -> Iterator[dict[str, Any]]:
        """What the audit log is to be told of the answers since the last call, for the manager process."""
        return self.records.take(self.second)

    def tick(self) -> None:
        """Read the clocks and end the connections that took too long; the server calls it once a second."""
        self._read_clocks()
        for connection in list(self._connections):
            connection.check(self.uptime)

    # What connections call.

    def admit(self, connection: EEConnection) -> bool:
        """Whether there is room for one more connection."""
        if len(self._connections) >= self.port.max_connections:
            self.counters.refused("connections")
            return False
        self.counters.connections += 1
        self._connections.add(connection)
        return True

    def leave(self, connection: EEConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def method_name(self, request: HTTPRequest) -> str:
        """The method as a label of bounded choice."""
        return _METHODS.get(request.method, "other")

    def overloaded(self, http_status: int) -> Uncacheable:
        """No room now: tryLater."""
        return refusal(http_status, OCSPResponseStatus.TRY_LATER, b"Retry-After: %d\r\n" % OVERLOADED_RETRY_SECONDS)

    def request_der(self, request: HTTPRequest) -> Uncacheable | bytes:
        """The request DER to be answered, or a refusal that needs no responder."""
        malformed = OCSPResponseStatus.MALFORMED_REQUEST
        if request.method not in _METHODS:
            self.counters.refused("method")
            return refusal(405, malformed, b"Allow: GET, HEAD, POST\r\n")
        rest = remainder(request.target)
        if rest is None or (rest and request.method == b"POST"):
            self.counters.refused("path")
            return refusal(404, malformed)
        if request.method == b"POST":
            return request.body
        try:
            return decode(request.target)
        except MalformedRequest as error:
            refused = refused_answer(malformed, error.cause)
            self._answering.count(refused)
            return Uncacheable(refused.response_der)

    def cached(self, request_der: bytes) -> Entry | None:
        """The cached answer to a request, counted."""
        entry = self.cache.by_der.get(request_der)
        if entry is None or not (entry.second == self.second or entry.freshen(self.second, self.date)):
            return None
        entry.tally.parsed += 1
        return entry

    def sign(self, request_der: bytes) -> Entry | Uncacheable:
        """Have the responder answer."""
        answer, note = self._answering.answer(request_der, int(self._clock()))
        if answer.status is not _SUCCESSFUL:
            later = answer.status is OCSPResponseStatus.TRY_LATER
            extra = b"Retry-After: %d\r\n" % RETRY_SECONDS if later else b""
            return Uncacheable(answer.response_der, extra=extra, note=note)
        if not answer.cacheable:
            return Uncacheable(answer.response_der, note=note)
        tally = self.counters.tally(answer.cert_statuses, answer.authority_id)
        modified = min(answer.this_update, self.second)  # never after Date (RFC 9110 section 8.8.2.1)
        entry = Entry(answer.response_der, modified, answer.next_update, tally, note)
        if not entry.freshen(self.second, self.date):  # past its nextUpdate, and served so by policy
            return Uncacheable(answer.response_der, note=note)
        self.cache.put(request_der, entry, self.second)
        return entry

    # Within.

    def _read_clocks(self) -> None:
        second = int(self._clock())
        if second != self.second:
            self.second, self.date = second, http_date(second)
        self.uptime = int(self._uptime_clock())

    def _schedule(self) -> None:
        wait = 1.0 - self._clock() % 1.0  # to the next full second: Date and nextUpdate are kept on time
        self._ticking = asyncio.get_running_loop().call_later(wait, self._tick_on)

    def _tick_on(self) -> None:
        self.tick()
        self._schedule()
