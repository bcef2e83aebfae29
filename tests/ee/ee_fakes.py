"""What the tests of the EE port share: a responder without keys, a transport without a socket, a raw HTTP client."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from types import SimpleNamespace
from urllib.parse import quote

from vouchd.audit.answer_records import Note
from vouchd.core.facts import CertStatus
from vouchd.ee.connection import EEConnection
from vouchd.ee.port_state import PortState
from vouchd.ee.replies import Entry, Frame, Tally, http_date
from vouchd.ee.server import EEServer
from vouchd.errors import OCSPResponseStatus
from vouchd.service.assembling import Draft, Envelope
from vouchd.service.terms import Answer, Basis, Terms, unsigned_answer
from vouchd.settings.tcp_ports import EEPort

AT = 1_750_000_000
THIS_UPDATE = AT - 3600
NEXT_UPDATE = AT + 86400

GOOD = b"0good"
MALFORMED = bytes((0x30, 3, 0x0A, 1, 1))
INTERNAL = bytes((0x30, 3, 0x0A, 1, 2))
LATER = bytes((0x30, 3, 0x0A, 1, 3))


class FakeDraft(Draft):
    """An answer that is signed without a key."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        signing = SimpleNamespace(is_slow=False, signer=SimpleNamespace(sign=lambda _tbs, _algorithm: b""))
        template = SimpleNamespace(signing=signing, algorithm="", terms=answer.terms)
        super().__init__(template, answer.response_der, answer.produced_at)

    def signed_with(self, _signature: bytes) -> Answer:
        return self.answer

    def envelope(self, _signature: bytes) -> Envelope:
        return b"", b"", b"", self.answer.size


class FakeResponder:
    """Answers by what the request says: `0good…` can be cached, `0nonce…` not, `0later…`, `0boom…`; else malformed."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, int]] = []
        self.next_update: int | None = NEXT_UPDATE
        self.prefix = b"answer to "
        self.padding = 0
        self.basis = Basis()

    def draft(self, request_der: bytes, at: int) -> Draft | Answer:
        answer = self._answer(request_der, at)
        return FakeDraft(answer) if answer.status is OCSPResponseStatus.SUCCESSFUL else answer

    def _answer(self, request_der: bytes, at: int) -> Answer:
        self.calls.append((request_der, at))
        parts = self.prefix, request_der, bytes(self.padding)
        if request_der.startswith((b"0good", b"0odd")):
            return Answer(parts, self.terms(cacheable=True, unusual=request_der.startswith(b"0odd")), at)
        if request_der.startswith(b"0nonce"):
            return Answer(parts, self.terms(cert_statuses=(CertStatus.REVOKED,), authority_id=""), at)
        if request_der.startswith(b"0later"):
            return unsigned_answer(OCSPResponseStatus.TRY_LATER, "no_crl")
        if request_der.startswith(b"0boom"):
            raise RuntimeError("a bug")
        return unsigned_answer(OCSPResponseStatus.MALFORMED_REQUEST, "malformed")

    def terms(self, **different) -> Terms:
        usual = {"cert_statuses": (CertStatus.GOOD,), "this_update": THIS_UPDATE, "next_update": self.next_update}
        return Terms(**usual | {"authority_id": "the CA", "basis": self.basis} | different)

    def change(self) -> None:
        """The state that answers rest on is another one from now on."""
        self.basis.current, self.basis = False, Basis()


def cached_answer(
    body: bytes = b"the response", next_update: int | None = NEXT_UPDATE, second: int = AT, note: Note | None = None
) -> Entry:
    """An answer as the cache keeps it, resting on what stays current unless the test changes it."""
    terms = Terms(this_update=THIS_UPDATE, next_update=next_update)
    return Entry(Answer((body,), terms), Frame(terms, Tally()), second, http_date(second), note)


class FakeTurns:
    """Signers of which others follow when `word` is changed; the responder says so in its answers."""

    def __init__(self, responder: FakeResponder) -> None:
        self.word = [0]
        self.seen = 0
        self._responder = responder

    def turn(self) -> None:
        self.seen = self.word[0]
        self._responder.prefix = b"new signer: "
        self._responder.change()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeTransport:
    """Keeps what is written; the other end never slows down unless the test says so."""

    def __init__(self, peer: str = "192.0.2.1") -> None:
        self.peer = peer
        self.written = bytearray()
        self.reading = True
        self.closed = False

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str):
        return (self.peer, 4711) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after close"
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


def make_server(
    responder: FakeResponder | None = None, *, signing: FakeTurns | None = None, records: object = None, **limits
) -> EEServer:
    """A server whose clocks stand at AT and 0 until they are moved (`server.clock.now`, `server.uptime_clock.now`)."""
    clock, uptime = Clock(AT), Clock(0)
    port, responder = EEPort(**limits), responder or FakeResponder()
    server = EEServer(PortState(responder, port, clock=clock, uptime_clock=uptime, signing=signing, records=records))
    server.clock, server.uptime_clock = clock, uptime
    return server


def connect(server: EEServer, peer: str = "192.0.2.1") -> tuple[EEConnection, FakeTransport]:
    """A connection without a socket, from the address `peer`."""
    connection, transport = EEConnection(server.state), FakeTransport(peer)
    connection.connection_made(transport)
    return connection, transport


def get(der: bytes = GOOD, *, prefix: str = "/", method: str = "GET", headers: str = "", version: str = "1.1") -> bytes:
    """A GET with the request in its path."""
    target = prefix + quote(base64.b64encode(der), safe="")
    return f"{method} {target} HTTP/{version}\r\nHost: ocsp.test\r\n{headers}\r\n".encode()


def post(der: bytes = GOOD, *, path: str = "/", headers: str = "", version: str = "1.1") -> bytes:
    """A POST with Content-Length."""
    head = f"POST {path} HTTP/{version}\r\nHost: ocsp.test\r\nContent-Length: {len(der)}\r\n{headers}\r\n"
    return head.encode() + der


@dataclass
class HTTPAnswer:
    """One answer as a client reads it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Client:
    """A raw HTTP/1.1 client on a real socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head_only: bool = False) -> HTTPAnswer:
        """The next answer; fails when the connection ends before it."""
        async with asyncio.timeout(10):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            status = int(lines[0].split()[1])
            length = 0 if head_only or status in (100, 204, 304) else int(headers["Content-Length"])
            return HTTPAnswer(status, headers, await self.reader.readexactly(length))

    async def ask(self, data: bytes, *, head_only: bool = False) -> HTTPAnswer:
        self.send(data)
        return await self.answer(head_only=head_only)

    async def at_end(self) -> bool:
        """Whether the server closes now without another byte."""
        async with asyncio.timeout(10):
            return await self.reader.read() == b""


async def until(condition) -> None:
    """Let the loop run until the condition holds, for ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  any condition, also of what sets no event
            await asyncio.sleep(0)
