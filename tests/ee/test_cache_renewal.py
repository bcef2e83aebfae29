"""After the state of a CA has changed its dead answers go, the most asked are there again, and nobody waits for either."""

from __future__ import annotations

from tests.ee.ee_fakes import FakeResponder, connect, make_server, post, until

from vouchd.ee.cache_renewal import HOTTEST, SWEPT
from vouchd.ee.counters import whole
from vouchd.ee.server import EEServer
from vouchd.service.terms import Basis


def number(n: int) -> bytes:
    return b"0good-%04d" % n


async def ask(server: EEServer, *requests: bytes) -> None:
    """Have each answered, so that it is in the cache."""
    connection, _ = connect(server)
    for request in requests:
        connection.data_received(post(request))
        await until(lambda: server.state.queue.is_idle)


async def test_renewal_makes_the_most_asked_anew_and_drops_the_rest():
    """What was asked again is cached before it is asked next; what was asked once, or never again, is not."""
    responder = FakeResponder()
    server = make_server(responder)
    everything = [number(n) for n in range(HOTTEST + 2 * SWEPT)]
    await ask(server, *everything, *everything[: HOTTEST + 20], *everything[20 : HOTTEST + 20])
    responder.change()
    calls_before = len(responder.calls)
    server.forget()
    assert server._renewal.is_due
    await until(lambda: not server._renewal.is_due)
    hottest = set(everything[20 : HOTTEST + 20])
    assert {der for der, _ in responder.calls[calls_before:]} == hottest == set(server.state.cache.by_der)
    snapshot = whole(server.summing())
    assert snapshot["gauges"]["cache_entries"] == HOTTEST
    before = snapshot["counters"]["answers"]
    await ask(server, *hottest)
    assert len(responder.calls) == calls_before + HOTTEST, "they are given from the cache"
    assert whole(server.summing())["counters"]["answers"]["successful"] == before["successful"] + HOTTEST


async def test_renewal_leaves_answers_of_other_cas_as_they_are():
    """A CRL of one CA costs no other one anything."""
    responder = FakeResponder()
    server = make_server(responder)
    await ask(server, number(1))
    mine, responder.basis = responder.basis, Basis()
    await ask(server, number(2), number(2))
    mine.current = False
    server.forget()
    await until(lambda: not server._renewal.is_due)
    assert set(server.state.cache.by_der) == {number(2)}


async def test_renewal_waits_while_signatures_are_wanted():
    """Who waits for a signature has his turn first."""
    responder = FakeResponder()
    server = make_server(responder)
    await ask(server, number(1), number(1))
    responder.change()
    server.forget()
    clients = [connect(server)[0] for _ in range(50)]
    for n, connection in enumerate(clients):
        connection.data_received(post(b"0nonce-%d" % n))
    await until(lambda: not server._renewal.is_due)
    calls = [der for der, _ in responder.calls[1:]]
    assert calls[-1] == number(1)
    assert len(calls) == 51
    server._renewal.stop()
