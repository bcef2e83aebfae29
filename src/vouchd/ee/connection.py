"""One client connection of the EE port: bytes to requests to answers, in order.

In READY a chunk that is one plain request is recognised without the parser (see `ResponseCache`): every POST, and a GET
whose line has been answered before. All else is parsed. The states, and why they suffice, are in `states`.
"""

from __future__ import annotations

import asyncio
from typing import cast

from vouchd.ee.http_request import HTTPRequest, RequestReader
from vouchd.ee.port_state import PortState
from vouchd.ee.replies import CONTINUE, Entry, Reply, Uncacheable, refusal
from vouchd.ee.states import TRANSITIONS, Event, State
from vouchd.errors import OCSPResponseStatus

# How long a refused client may go on sending before the connection ends: closing at once could reset the connection
# before it has read why (RFC 9112 section 9.6).
LINGER_SECONDS = 2
# While the server stops: how long a silent persistent connection is kept for a request that may be on its way.
PARTING_SECONDS = 2  # counted in ticks, so between one and two seconds

WRITE_BUFFER_BYTES = 64 * 1024

_GET = ord("G")

_QUEUED = TRANSITIONS[State.READY][Event.QUEUE]
_ANSWERED = TRANSITIONS[TRANSITIONS[State.SIGNING][Event.TURN]][Event.REST]
_READY, _PARSING, _SIGNING, _FULL, _LINGERING = State.READY, State.PARSING, State.SIGNING, State.FULL, State.LINGERING

# What is left to know of a plain POST once its body was taken.
_PLAIN_POST = HTTPRequest(b"POST", keep_alive=True)


class EEConnection(asyncio.Protocol):
    """The protocol of one connection; `server` is what it shares with the others of its port."""

    _transport: asyncio.Transport

    def __init__(self, server: PortState) -> None:
        self._server = server
        self._signing = server.signing
        self._cache = cache = server.cache
        self._by_line, self._by_der, self._heads = cache.by_line, cache.by_der, cache.heads
        self._reader = RequestReader(server.port.max_header_bytes, server.port.max_body_bytes)
        self._state = State.PARSING
        self.awaited: bytes | None = None  # the request DER that has its place in the signing queue
        self._request = _PLAIN_POST  # what it came in
        self._alone = False  # that is a plain POST, and since it came nothing else has happened here
        self._begun = 0
        self._since = server.uptime  # of the unfinished request, or of lingering
        self._last = server.uptime  # when the last answer was written
        self._client = ""  # address, where the audit log is told of it
        self._group: str | None = None  # whose turns these clients share, once it is wanted
        self._proxied = False  # clients are told apart by what this peer says of them
        self._named = False  # and the audit log is told of each by the name that it says

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is none by class, only by method
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if not self._server.is_allowed(self._address()):
            self._server.counters.refused("address")
            self._turn_away(refusal(403, OCSPResponseStatus.UNAUTHORIZED))
        elif self._server.admit(self):
            self._move(Event.WAIT if self._server.stopping else Event.REST)
            if self._server.records.clients:
                self._client = self._address()
            if self._server.port.trusted_proxies:
                self._proxied = self._server.groups.is_proxy(self._address())
                self._named = self._proxied and self._server.records.clients
        else:
            self._turn_away(self._server.overloaded(503))

    def _turn_away(self, reply: Uncacheable) -> None:
        """Say why, before anything was asked, and end."""
        self._move(Event.CLOSE)
        self._transport.write(b"%bConnection: close\r\n\r\n%b" % (reply.head(self._server.date), reply.body))
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """The next bytes: one plain request, which most are, is answered without the parser."""
        signing = self._signing
        if signing.word[0] != signing.seen:  # before anything is looked up that the former signers have signed
            self._server.turn()
        if self._state is _READY and not self._named and (self._get(data) if data[0] == _GET else self._post(data)):
            return
        if self._state < _LINGERING:
            self._parse(data)

    def eof_received(self) -> bool:
        """The client sends no more; what it asked is still answered."""
        self._reader.ended, self._alone = True, False
        return self._state < _LINGERING and bool(self.awaited is not None or self._reader.requests)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._alone = False
        self._move(Event.FILL)

    def resume_writing(self) -> None:
        """The client caught up."""
        self._move(Event.DRAIN)
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The connection is gone; a place in the signing queue passes by."""
        self._move(Event.CLOSE)
        self.awaited, self._alone = None, False
        self._reader.close()
        self._server.leave(self)

    # What the server calls.

    def check(self, uptime: int) -> None:
        """Once a second: end what took too long."""
        port, state = self._server.port, self._state
        if state is State.LINGERING:
            if uptime - self._since >= LINGER_SECONDS:
                self._transport.abort()
        elif state is State.FULL or state is State.OWING:
            if uptime - self._last >= port.idle_seconds:
                self._server.counters.refused("slow_reader")
                self._transport.abort()
        elif state < _SIGNING and self._reader.in_message:
            if uptime - self._since >= port.header_seconds:
                self._server.counters.refused("slow_request")
                self._refuse(408, OCSPResponseStatus.TRY_LATER)
        elif state < _SIGNING:
            patience = PARTING_SECONDS if self._server.stopping else port.idle_seconds
            if uptime - self._last >= patience:
                self._close()

    def retire(self) -> None:
        """The server stops: answer what comes, and say with it that the connection ends."""
        self._alone = False
        if self._state is _READY:
            self._move(Event.WAIT)
        self._last = self._server.uptime

    @property
    def is_silent(self) -> bool:
        """See Connected."""
        return self._state < _SIGNING and not self._reader.in_message

    @property
    def silent_since(self) -> int:
        """See Connected."""
        return self._last

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    def lose_turn(self) -> None:
        """This connection's place in the signing queue went to another client."""
        self.give(self._server.overloaded(200))

    @property
    def group(self) -> str:
        """See Asking."""
        return self._group_of(self._request) if self.awaited is not None else ""

    def give(self, reply: Reply) -> None:
        """The answer that this connection waits for."""
        if self._alone:
            if reply.note is not None:
                self._server.records.count(reply.note, self._client)
            self.give_alone(reply.wire(self._server.date) if isinstance(reply, Uncacheable) else reply.wire)
        elif self.awaited is not None:
            self.awaited, self._alone = None, False
            self._move(Event.TURN)
            self._send(self._request, reply)
            if self._state is _PARSING and self._reader.is_idle and not self._server.stopping:
                self._move(Event.REST)  # as most are: the socket is watched still
            else:
                self._pump()

    def give_alone(self, wire: bytes) -> bool:
        """See Asking: what `_send` and the two moves of `give` come to."""
        if not self._alone:
            return False
        server = self._server
        self.awaited, self._alone = None, False
        self._state = _ANSWERED  # before it is written: what is written may fill the client's buffer
        server.counters.sent_bytes += len(wire)
        self._last = server.uptime
        self._transport.write(wire)
        if self._state is not _READY:
            self._pump()
        return True

    # The short way: a chunk that is one plain request. False when it is to be parsed.

    def _get(self, data: bytes) -> bool:
        line, _, lines = data.partition(b"\r\n")
        entry = self._by_line.get(line)
        if entry is None or (self._heads.get(lines, -1) and not self._cache.lines_are_plain(lines)):
            return False
        if not self._give(entry):
            return False
        entry.tally.gets += 1
        return True

    def _post(self, data: bytes) -> bool:
        head, end, body = data.partition(b"\r\n\r\n")
        if not end or (self._heads.get(head) or self._cache.head_bytes(head)) != len(body):
            return False
        entry = self._by_der.get(body)
        if entry is not None and self._give(entry):
            entry.tally.posts += 1
            return True
        server = self._server
        if self._proxied or len(body) > server.port.max_body_bytes:
            return False
        server.counters.requests["POST"] += 1
        if server.enter_queue(self, self._group or self._group_of(_PLAIN_POST)):
            self.awaited, self._request, self._alone = body, _PLAIN_POST, True
            self._state = _QUEUED
        else:
            self._send(_PLAIN_POST, server.overloaded(200))
            if self._state is not _READY:
                self._pump()
        return True

    def _give(self, entry: Entry) -> bool:
        """Write a cached answer as it is; False when its nextUpdate has come."""
        server = self._server
        if (entry.second != server.second or not entry.basis.current) and not entry.freshen(server.second, server.date):
            return False
        entry.uses += 1
        entry.tally.sent_bytes += len(entry.wire)
        if entry.note is not None:
            server.records.count(entry.note, self._client)
        self._last = server.uptime
        self._transport.write(entry.wire)
        return True

    # The long way: parsed.

    def _parse(self, data: bytes) -> None:
        reader = self._reader
        self._alone = False
        reader.feed(data)
        if reader.in_message and reader.begun != self._begun:
            self._begun, self._since = reader.begun, self._server.uptime
        self._pump()

    def _pump(self) -> None:
        """Serve what was read, as far as it goes, then decide whether to read on.

        While only a signature is due the socket stays watched, which saves two system calls for each: most clients send
        nothing until they have their answer, and those that do are held when it arrives.
        """
        reader = self._reader
        while reader.requests and self._state < _SIGNING:
            self._serve(reader.requests.popleft())
        if self._state < _SIGNING:
            self._rest()
        if self._state < _LINGERING:
            self._watch(not (reader.requests or self._state >= _FULL))

    def _rest(self) -> None:
        """All that was read is served."""
        reader = self._reader
        if reader.ended:
            self._close()
            return
        if reader.expects_continue:
            reader.expects_continue = False
            self._transport.write(CONTINUE)
        if self._state < _SIGNING:  # else the client does not even read that
            self._move(Event.WAIT if reader.in_message or reader.done or self._server.stopping else Event.REST)

    def _watch(self, reading: bool) -> None:  # noqa: FBT001  a state, not an option
        """Read from the socket, or leave what comes in the kernel."""
        if self._transport.is_reading() is not reading and not self._reader.ended:
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def _address(self) -> str:
        return str((self._transport.get_extra_info("peername") or ("",))[0])

    def _asking(self, request: HTTPRequest) -> str:
        """The address of the client, as the audit log is told of it."""
        if not self._named:
            return self._client
        return self._server.groups.named(self._client, request.forwarded_for)

    def _move(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state][event]

    def _serve(self, request: HTTPRequest) -> None:
        server = self._server
        if request.refused:
            server.counters.refused(f"http_{request.refused}")
            self._refuse(request.refused, OCSPResponseStatus.MALFORMED_REQUEST)
            return
        if (document := server.document(request)) is not None:
            self._send(request, document)
            return
        server.counters.requests[server.method_name(request)] += 1
        request_der = server.request_der(request)
        if isinstance(request_der, Uncacheable):
            self._send(request, request_der)
        else:
            self._answer(request, request_der)

    def _answer(self, request: HTTPRequest, request_der: bytes) -> None:
        server = self._server
        if (entry := server.cached(request_der)) is not None:
            self._cache.learn(request, entry, server.second)
            self._send(request, entry)
        else:
            self._wait(request, request_der)

    def _wait(self, request: HTTPRequest, request_der: bytes) -> None:
        """Wait for the answer, if there is a place in the signing queue."""
        if self._server.enter_queue(self, self._group_of(request)):
            self.awaited, self._request = request_der, request
            self._move(Event.QUEUE)
        else:
            self._send(request, self._server.overloaded(200))

    def _group_of(self, request: HTTPRequest) -> str:
        """Whose turns the client shares; behind a proxy each request has a client of its own."""
        if self._proxied:
            return self._server.groups.of(self._address(), request.forwarded_for)
        if self._group is None:
            self._group = self._server.groups.of(self._address())
        return self._group

    def _send(self, request: HTTPRequest, reply: Reply) -> None:
        server = self._server
        close = not request.keep_alive or server.stopping
        wire = None if close else self._complete(request, reply)
        if wire is None:
            status, body = 200, reply.body
            if isinstance(reply, Entry):
                status = 304 if reply.matches(request) else 200
                head = reply.head(status, server.second, server.date)
            else:
                head = reply.head(server.date)
            if status == 304 or request.method == b"HEAD":
                body = b""
            if close:
                ending = b"Connection: close\r\n\r\n"
            else:
                ending = b"Connection: keep-alive\r\n\r\n" if request.http_1_0 else b"\r\n"
            wire = b"".join((head, ending, body))
        server.counters.sent_bytes += len(wire)
        if reply.note is not None:
            server.records.count(reply.note, self._asking(request))
        self._last = server.uptime
        self._transport.write(wire)
        if close:
            self._close()

    @staticmethod
    def _complete(request: HTTPRequest, reply: Reply) -> bytes | None:
        """The whole answer, where it is what everybody with a persistent connection gets."""
        if isinstance(reply, Uncacheable):
            return None
        if request is _PLAIN_POST:
            return reply.wire
        if request.http_1_0 or request.method == b"HEAD":
            return None
        return None if isinstance(reply, Entry) and reply.matches(request) else reply.wire

    def _refuse(self, http_status: int, ocsp_status: OCSPResponseStatus) -> None:
        """Say why, send no more, and let the client finish sending for a moment."""
        reply = refusal(http_status, ocsp_status)
        self._transport.write(b"%bConnection: close\r\n\r\n%b" % (reply.head(self._server.date), reply.body))
        self._reader.close()
        self._move(Event.REFUSE)
        if self._reader.ended or not self._transport.can_write_eof():
            self._close()
            return
        self._since = self._server.uptime
        self._transport.write_eof()

    def _close(self) -> None:
        self._move(Event.CLOSE)
        self._transport.close()
