"""A signed answer beside the least that one can cost: a loop that reads, signs and writes as much, and does no more.

One thread is client and server over real connections. Its processor time is taken from when sixteen questions were sent
until the last answer has been written, half a millisecond in which hardly anything comes between: the second percentile
of many such turns repeats within a few in a hundred, whatever else runs.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from bench.cached import Worker
from bench.figures import Figure
from bench.signing import ALGORITHM, CONNECTIONS, CRL_ENTRIES, HEAD, NONCE, ROWS, SERIAL, Row, new_key, request
from vouchd.core.status import ServingState
from vouchd.ee.port_state import PortState
from vouchd.ee.server import EEServer
from vouchd.index.format import RevocationIndexFile
from vouchd.index.octets import AnsweringOctets
from vouchd.index.writing import write_index
from vouchd.pkix.reasons import RevocationEntry
from vouchd.settings.tcp_ports import EEPort

TURNS = 800
ROUNDS = 3
SIGNED_OCTETS, AROUND = 200, bytes(520)  # of an answer by P-256, but for its signature

Serve = Callable[[socket.socket], Awaitable[object]]


def figures() -> list[Figure]:
    """The least as a share of what an answer takes, for each kind of answer."""
    workers = {key: _worker(key) for key in ALGORITHM}
    made = []
    for row in (row for row in ROWS if not row.get):
        worker = workers[row.key]
        question = _question(worker, row)
        ours, least = [], []
        for _ in range(ROUNDS):
            ours.append(_microseconds(partial(_serve, worker), row, question))
            signs = partial(worker.signer.sign, algorithm=ALGORITHM[row.key])
            least.append(_microseconds(partial(_serve_least, signs), row, question))
        detail = f"CPU {min(ours):.1f} us an answer, {min(least):.1f} us the least; {CONNECTIONS} in a turn"
        what = f"{row.what}: CPU of the least / of an answer"
        made.append(Figure(what, min(least) / min(ours), 0.0, "", detail, at_least=True))
    return made


def _worker(key: str) -> Worker:
    worker = Worker(1, new_key(key))
    with tempfile.TemporaryDirectory() as folder:
        worker.responder.replace(_with_entries(worker, Path(folder) / "entries"))
    return worker


def _with_entries(worker: Worker, path: Path) -> ServingState:
    """The state of the worker with a CRL that lists something."""
    serials = sorted(secrets.randbits(126).to_bytes(16) for _ in range(CRL_ENTRIES))
    write_index(path, (RevocationEntry(serial, worker.now) for serial in serials))
    (serving,) = worker.serving
    (point,) = serving.points
    point = replace(point, index=RevocationIndexFile(path, octets=AnsweringOctets()))
    return ServingState(2, (replace(serving, points=(point,)),))


def _question(worker: Worker, row: Row) -> bytes:
    nonce = NONCE if NONCE in row.holes else None
    request_der = request(worker.certificates[0], int.from_bytes(SERIAL), nonce)
    return HEAD % (b"/ocsp", len(request_der)) + request_der


def _new(question: bytes, row: Row) -> bytes:
    """The question with what no question before has had in its holes."""
    for hole, form in row.holes.items():
        question = question.replace(hole, form.encode() % secrets.randbelow(10**15))
    return question


async def _serve(worker: Worker, listener: socket.socket) -> None:
    await EEServer(PortState(worker.responder, EEPort())).start([listener])


async def _serve_least(sign: Callable[[bytes], bytes], listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    waiting: list[tuple[Least, bytes]] = []

    def turn() -> None:
        due = waiting[:]
        waiting.clear()
        signatures = [sign(octets) for _, octets in due]
        for (connection, _), signature in zip(due, signatures, strict=True):
            connection.give(signature)

    def enter(connection: Least, octets: bytes) -> None:
        waiting.append((connection, octets))
        if len(waiting) == 1:
            loop.call_soon(turn)

    await loop.create_server(lambda: Least(enter), sock=listener)


class Least(asyncio.Protocol):
    """Signs what comes, whatever it is."""

    def __init__(self, enter: Callable[[Least, bytes], None]) -> None:
        self._enter = enter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        """Have the end of it signed."""
        self._enter(self, data[-SIGNED_OCTETS:])

    def give(self, signature: bytes) -> None:
        """Write as many octets as an answer has."""
        size = len(AROUND) + len(signature)
        self.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b%b" % (size, AROUND, signature))


def _microseconds(serve: Serve, row: Row, question: bytes) -> float:
    gc.disable()  # a worker's looks so seldom that it costs nothing
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measured(serve, row, question))
    finally:
        gc.enable()


async def _measured(serve: Serve, row: Row, question: bytes) -> float:
    """Processor time of an answer in microseconds, the second percentile of the turns."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)
    await serve(listener)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(CONNECTIONS)]
    spent: list[float] = []
    for _ in range(TURNS):
        written = asyncio.Event()
        loop.add_reader(clients[-1], written.set)
        for client in clients:
            client.send(_new(question, row))
        begin = time.thread_time()
        await written.wait()  # the answers are written in the order of the questions
        spent.append((time.thread_time() - begin) / CONNECTIONS * 1e6)
        loop.remove_reader(clients[-1])
        for client in clients:
            if not client.recv(1 << 16).startswith(b"HTTP/1.1 200 "):
                raise SystemExit("an answer that is none")
    for client in clients:
        client.close()
    return sorted(spent)[TURNS // 50]
