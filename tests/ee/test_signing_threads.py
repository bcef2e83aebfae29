"""Slow signatures are made beside the loop: nobody else waits for them, and none is given of a state that has changed."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.ee.ee_fakes import Clock, FakeTransport, post, until
from tests.pki import CA, DAY, NOW
from tests.serving import entry, point, request_for, responder, serving, signer, state

from vouchd.ee.connection import EEConnection
from vouchd.ee.counters import whole
from vouchd.ee.port_state import PortState
from vouchd.ee.server import EEServer
from vouchd.ee.signing_threads import THREADS
from vouchd.service.answering import Responder
from vouchd.settings.tcp_ports import EEPort
from vouchd.signing.software import SoftwareSigner

ONE = CA.create("CA one")
LATER = bytes((0x30, 3, 0x0A, 1, 3))


class Gate(SoftwareSigner):
    """A slow signer whose signatures wait until they are let through."""

    is_slow = True

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.open = threading.Semaphore(0)
        self.begun = 0

    def sign(self, tbs: bytes, algorithm: str) -> bytes:
        self.begun += 1
        assert self.open.acquire(timeout=30)
        return super().sign(tbs, algorithm)


@pytest.fixture
def gate() -> Gate:
    issued = ONE.issue_signer()
    return Gate("slow", issued.key, issued.der)


class Port:
    """A port with one CA that the slow signer answers for, and one that a quick one does."""

    def __init__(self, gate: Gate, **limits) -> None:
        self.quick_ca = CA.create("Quick CA")
        self.slow, self.quick = serving(ONE, point(ONE)), serving(self.quick_ca, point(self.quick_ca), signer="quick")
        self.responder: Responder = responder(state(self.slow, self.quick), gate, signer(self.quick_ca, "quick"))
        self.state = PortState(self.responder, EEPort(**limits), clock=Clock(NOW), uptime_clock=Clock(0))

    def connect(self, peer: str = "192.0.2.1") -> tuple[EEConnection, FakeTransport]:
        connection, transport = EEConnection(self.state), FakeTransport(peer)
        connection.connection_made(transport)
        return connection, transport

    def send(self, request_der: bytes, peer: str = "192.0.2.1") -> FakeTransport:
        connection, transport = self.connect(peer)
        connection.data_received(post(request_der))
        return transport


async def test_slow_signature_holds_up_nobody_else(gate):
    """While threads sign, answers of quick keys and cached ones are given; the slow ones come when they are made."""
    port = Port(gate)
    slow = [port.send(request_for(ONE, number)) for number in range(1, THREADS + 3)]
    await until(lambda: gate.begun == THREADS)
    for _ in range(3):
        quick = port.send(request_for(port.quick_ca, 5))
        await until(lambda one=quick: one.written)
    assert not any(transport.written for transport in slow)
    for _ in slow:
        gate.open.release()
    await until(lambda: all(transport.written for transport in slow))
    assert gate.begun == len(slow)
    again = port.send(request_for(ONE, 1))
    await until(lambda: again.written)
    assert bytes(again.written).partition(b"\r\n\r\n")[2] == bytes(slow[0].written).partition(b"\r\n\r\n")[2]
    assert gate.begun == len(slow), "it was cached"
    counters = whole(port.state.summing())["counters"]
    assert (counters["answers"], sum(counters["signature_counts"])) == ({"successful": len(slow) + 4}, len(slow) + 1)


class Turns:
    """Signers of which others follow when `word` is changed, as by another process: here while one signs."""

    def __init__(self, port: Port, others: SoftwareSigner) -> None:
        self.word, self.seen = [0], 0
        self._port, self._others = port, others

    def turn(self) -> None:
        self.seen = self.word[0]
        self._port.responder.sign_with({"signer": self._others}, "signer")


async def test_quick_signatures_made_while_the_signers_change_are_made_anew():
    """Whatever was drafted and signed in one turn: nothing is given of the former signers once others sign."""
    former, later = ONE.issue_signer(), ONE.issue_signer()

    class Changing(SoftwareSigner):
        def sign(self, tbs: bytes, algorithm: str) -> bytes:
            turns.word[0] = 1
            return super().sign(tbs, algorithm)

    port = Port(Changing("signer", former.key, former.der))
    turns = Turns(port, SoftwareSigner("signer", later.key, later.der))
    port.state = PortState(port.responder, EEPort(), clock=Clock(NOW), uptime_clock=Clock(0), signing=turns)
    futures = [port.send(request_for(ONE, number, nonce=b"%08d" % number)) for number in range(1, 6)]
    await until(lambda: all(transport.written for transport in futures))
    for transport in futures:
        assert later.der in bytes(transport.written)
        assert former.der not in bytes(transport.written)


async def test_slow_signature_of_a_state_that_has_changed_is_made_anew(gate):
    """A CRL that is loaded while a thread signs is what the answer tells: nothing older is given after it."""
    port = Port(gate)
    transport = port.send(request_for(ONE, 5))
    await until(lambda: gate.begun == 1)
    port.responder.replace(state(serving(ONE, point(ONE, entry(5))), port.quick, version=2))
    gate.open.release()
    await until(lambda: gate.begun == 2)
    assert not transport.written
    gate.open.release()
    await until(lambda: transport.written)
    assert whole(port.state.summing())["counters"]["cert_statuses"] == {"revoked": 1}


async def test_slow_signatures_are_shared_fairly_and_bounded(gate):
    """One client's many requests cost another one turn of each thread at most; beyond the places: tryLater."""
    port = Port(gate, max_in_flight=8)
    greedy = []
    for number in range(1, 20):
        greedy.append(port.send(request_for(ONE, number, nonce=b"%08d" % number)))
        await until(lambda: port.state.queue.is_idle)
    await until(lambda: gate.begun == THREADS and any(one.written for one in greedy))
    modest = port.send(request_for(ONE, 99, nonce=b"modest"), "198.51.100.1")
    await until(lambda: len(port.state.threads) == 8)
    for _ in range(2 * THREADS):
        gate.open.release()
    await until(lambda: modest.written)
    assert b"max-age" not in modest.written
    assert not bytes(modest.written).endswith(LATER)
    refused = [one for one in greedy if bytes(one.written).endswith(LATER)]
    assert len(greedy) - len(refused) <= 8 + THREADS
    for _ in greedy:
        gate.open.release()
    await until(lambda: all(one.written for one in greedy))


class Lots(Gate):
    """A slow signer that is best asked for three signatures at once."""

    together = 3

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.lots: list[int] = []

    def sign_all(self, wanted, algorithm: str) -> list[bytes]:
        self.lots.append(len(wanted))
        return super().sign_all(wanted, algorithm)


async def test_slow_signatures_of_one_signer_are_asked_for_together():
    """What waits for a thread goes to the signer in lots, as many as it likes; what is asked twice is signed once."""
    issued = ONE.issue_signer()
    signer = Lots("slow", issued.key, issued.der)
    port = Port(signer)
    first = []
    for number in range(1, THREADS + 1):
        first.append(port.send(request_for(ONE, number)))
        await until(lambda number=number: signer.begun == number)
    waiting = [port.send(request_for(ONE, number)) for number in (50, 51, 51, 52)]
    await until(lambda: len(port.state.threads) == len(waiting))
    for _ in range(len(first) + len(waiting)):
        signer.open.release()
    await until(lambda: all(transport.written for transport in (*first, *waiting)))
    assert signer.lots[: THREADS + 1] == [1] * THREADS + [2], "of three turns two asked the same"
    assert sum(signer.lots) == signer.begun == len(first) + 3
    assert len({bytes(transport.written).partition(b"\r\n\r\n")[2] for transport in waiting}) == 3


async def test_slow_signatures_of_two_signers_are_asked_of_each(gate):
    """Turns come together, whoever signs: each signer is asked for its own alone."""
    port = Port(gate)
    issued = port.quick_ca.issue_signer()
    other = Lots("quick", issued.key, issued.der)
    port.responder.sign_with({"signer": gate, "quick": other}, "signer")
    blocked = []
    for number in range(1, THREADS + 1):
        blocked.append(port.send(request_for(ONE, number)))
        await until(lambda number=number: gate.begun == number)
    futures = [port.send(request_for(ca, number)) for number in (60, 61) for ca in (port.quick_ca, ONE)]
    await until(lambda: len(port.state.threads) == len(futures))
    for one in (gate, other):
        for _ in (*blocked, *futures):
            one.open.release()
    await until(lambda: all(transport.written for transport in (*blocked, *futures)))
    assert (gate.begun, other.begun) == (THREADS + 2, 2)


async def test_slow_signature_that_comes_after_its_answer_has_ended_is_not_given(gate):
    """A token that has become slow signs a lot for long: what was fresh when it was drafted may have ended since."""
    port = Port(gate)
    transport = port.send(request_for(ONE, 1))
    await until(lambda: gate.begun == 1)
    port.state.clock.now = NOW + 2 * DAY
    for _ in range(2):
        gate.open.release()
    await until(lambda: transport.written)
    assert bytes(transport.written).partition(b"\r\n\r\n")[2] == LATER


async def test_slow_signature_for_a_client_that_has_left_is_dropped(gate):
    """Who is gone gets nothing, takes no turn, and leaves the threads to others."""
    port = Port(gate)
    gone = [port.connect() for _ in range(THREADS + 5)]
    for number, (connection, _) in enumerate(gone, 1):
        connection.data_received(post(request_for(ONE, number)))
    await until(lambda: gate.begun == THREADS)
    for connection, _ in gone:
        connection.connection_lost(None)
    for _ in range(THREADS + 1):
        gate.open.release()
    future = port.send(request_for(ONE, 50))
    await until(lambda: future.written)
    assert gate.begun == THREADS + 1
    assert not any(transport.written for _, transport in gone)


@pytest.mark.parametrize(("kind", "slow"), [("EC", False), ("RSA", False), ("Ed25519", False), ("ML-DSA-44", True)])
def test_signer_is_slow_by_its_key(kind, slow):
    """Quick keys sign on the loop, where a thread would cost more than it gives."""
    assert signer(ONE.issue_signer(kind=kind)).is_slow is slow


async def test_server_that_stops_gives_what_threads_still_sign(gate):
    """A stop lets signatures that are under way come to their clients."""
    port = Port(gate)
    transport = port.send(request_for(ONE, 5))
    await until(lambda: gate.begun == 1)
    stopping = asyncio.create_task(EEServer(port.state).stop(30))
    await until(lambda: port.state.stopping)
    gate.open.release()
    await until(lambda: transport.closed)
    assert b"Connection: close" in transport.written
    for connection in list(port.state.connections):
        connection.connection_lost(None)
    await stopping
