"""One connection without a socket: order, turns, flow control and time limits, each made to happen exactly."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ee.ee_fakes import (
    GOOD,
    LATER,
    MALFORMED,
    NEXT_UPDATE,
    FakeResponder,
    FakeTurns,
    connect,
    get,
    make_server,
    post,
    until,
)

from vouchd.ee.counters import whole
from vouchd.ee.replies import CONTINUE

CHUNKED = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n0g\r\n3\r\nood\r\n0\r\n\r\n"


def answers(transport) -> list[bytes]:
    """The status and body of what was written, one string an answer."""
    replies, rest = [], bytes(transport.written)
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        replies.append(head[9:12] + b" " + rest[:length])
        rest = rest[length:]
    return replies


async def settle(server) -> None:
    """Let every signature that is due be made."""
    await until(lambda: server.state.queue.is_idle)


async def tell(server, connection, data: bytes) -> None:
    """Let a connection have these bytes, and what they ask for be signed."""
    connection.data_received(data)
    await settle(server)


async def test_connection_known_request_is_answered_without_parsing_or_signing():
    """The second of two equal requests is learnt, the third is found by its parts: same bytes, one signature."""
    responder = FakeResponder()
    server = make_server(responder)
    for ask in (get, post):
        connection, transport = connect(server)
        for _ in range(4):
            await tell(server, connection, ask())
        first, *others = bytes(transport.written).split(b"HTTP/1.1 ")[1:]
        assert others == [first] * 3
        assert connection._reader.begun < 4, "the last ones were not parsed"
    assert len(responder.calls) == 1


async def test_connection_known_parts_combine_across_clients():
    """A known line with another client's known headers is found too, for GET and POST."""
    responder = FakeResponder()
    server = make_server(responder)
    one, _ = connect(server)
    for der in (b"0good-1", b"0good-2"):
        for headers in ("User-Agent: a\r\n", "User-Agent: b\r\n"):
            for _ in range(2 if der == b"0good-1" or headers.endswith("a\r\n") else 0):
                await tell(server, one, get(der, headers=headers))
                one.data_received(post(der, headers=headers))
    two, transport = connect(server)
    two.data_received(get(b"0good-2", headers="User-Agent: b\r\n"))
    two.data_received(post(b"0good-2", headers="User-Agent: b\r\n"))
    assert two._reader.begun == 0
    assert answers(transport) == [b"200 answer to 0good-2"] * 2


async def test_connection_known_head_with_other_body_length_is_parsed():
    """A remembered POST head announces its length: a chunk with more or less is not one request."""
    server = make_server()
    connection, transport = connect(server)
    for _ in range(3):
        await tell(server, connection, post())
    half, rest = post()[:-2], post()[-2:]
    connection.data_received(half)
    connection.data_received(rest + post(b"0nonc"))
    await until(lambda: len(answers(transport)) == 5)
    assert answers(transport)[3:] == [b"200 answer to 0good", b"200 " + MALFORMED]


async def test_connection_cached_answer_is_never_used_after_next_update():
    """At nextUpdate the responder is asked again, with the time that it is then."""
    responder = FakeResponder()
    server = make_server(responder)
    connection, transport = connect(server)
    for _ in range(3):
        await tell(server, connection, get())
    server.clock.now = NEXT_UPDATE - 1
    server.tick()
    await tell(server, connection, get())
    assert len(responder.calls) == 1
    assert b"max-age=1," in transport.written
    server.clock.now = NEXT_UPDATE
    server.tick()
    responder.next_update = NEXT_UPDATE + 10
    await tell(server, connection, get())
    assert responder.calls[1:] == [(GOOD, NEXT_UPDATE)]
    assert b"max-age=10," in transport.written


async def test_connection_answer_past_its_next_update_is_not_stored():
    """Where policy serves a stale answer, nobody may store it."""
    responder = FakeResponder()
    server = make_server(responder)
    server.clock.now = NEXT_UPDATE + 5
    server.tick()
    connection, transport = connect(server)
    for _ in range(2):
        await tell(server, connection, get())
    assert len(responder.calls) == 2
    assert transport.written.count(b"Cache-Control: no-store\r\n") == 2


async def test_connection_answer_to_an_unusual_request_is_not_kept():
    """What a stranger makes up for each request anew pushes nothing out of the cache."""
    responder = FakeResponder()
    server = make_server(responder)
    connection, transport = connect(server)
    for _ in range(3):
        await tell(server, connection, get(b"0odd"))
    assert len(responder.calls) == 3
    assert transport.written.count(b"max-age=") == 3, "other caches may keep it"
    assert server.state.cache.size_bytes == 0


@pytest.mark.parametrize("ask", [get, post])
async def test_connection_other_signers_sign_from_the_next_request_on(ask):
    """Whatever is cached, a request that comes after the word changed gets an answer of the new signers."""
    responder = FakeResponder()
    turns = FakeTurns(responder)
    server = make_server(responder, signing=turns)
    connection, transport = connect(server)
    for _ in range(3):
        await tell(server, connection, ask())
    turns.word[0] = 1
    for _ in range(3):
        await tell(server, connection, ask())
    assert answers(transport) == [b"200 answer to 0good"] * 3 + [b"200 new signer: 0good"] * 3
    assert len(responder.calls) == 2


async def test_connection_forget_asks_the_responder_again():
    """After the state was replaced nothing old is answered, though the request is known."""
    responder = FakeResponder()
    server = make_server(responder)
    connection, transport = connect(server)
    for _ in range(3):
        await tell(server, connection, get())
    responder.prefix = b"newer answer to "
    responder.change()
    await tell(server, connection, get())
    assert answers(transport)[-1] == b"200 newer answer to 0good"


async def test_queue_one_waits_the_rest_try_later():
    """Beyond `max_in_flight` waiting requests tryLater is said at once; cached answers pass the queue."""
    responder = FakeResponder()
    server = make_server(responder, max_in_flight=1)
    clients = [connect(server) for _ in range(4)]
    await tell(server, clients[3][0], post(GOOD))
    for connection, _ in clients[:2]:
        connection.data_received(post(b"0nonce"))
    clients[3][0].data_received(post(GOOD))
    first, second, _, fourth = (answers(transport) for _, transport in clients)
    assert (first, second) == ([], [b"200 " + LATER])
    assert fourth == [b"200 answer to 0good"] * 2
    assert b"Retry-After: 1\r\n" in clients[1][1].written
    await until(lambda: answers(clients[0][1]) == [b"200 answer to 0nonce"])
    assert whole(server.summing())["counters"]["errors"] == {"overloaded": 1}


async def test_queue_takes_one_place_per_connection():
    """A client that pipelines does not push others back: after each signature it goes to the end of the queue."""
    responder = FakeResponder()
    server = make_server(responder)
    (greedy, _), (modest, _) = connect(server), connect(server)
    greedy.data_received(b"".join(post(b"0nonce-%d" % n) for n in range(5)))
    modest.data_received(post(b"0nonce-modest"))
    await until(lambda: len(responder.calls) == 6)
    assert [der for der, _ in responder.calls].index(b"0nonce-modest") == 1


async def test_queue_same_request_is_signed_once():
    """Requests that waited for the same answer share one signature."""
    responder = FakeResponder()
    server = make_server(responder)
    clients = [connect(server) for _ in range(5)]
    clients[0][0].data_received(post(b"0nonce"))
    for connection, _ in clients[1:]:
        connection.data_received(post(GOOD))
    await until(lambda: all(answers(transport) for _, transport in clients))
    assert [der for der, _ in responder.calls] == [b"0nonce", GOOD]


async def test_queue_client_that_left_costs_no_signature():
    """A connection that is gone when its turn comes is passed by."""
    responder = FakeResponder()
    server = make_server(responder)
    (one, _), (two, transport) = connect(server), connect(server)
    one.data_received(post(b"0nonce-1"))
    two.data_received(post(b"0nonce-2"))
    transport.close()
    two.connection_lost(None)
    await settle(server)
    assert [der for der, _ in responder.calls] == [b"0nonce-1"]


async def test_connection_waiting_is_not_read_from():
    """While a signature is due no more is read, and pipelined requests follow in order."""
    server = make_server()
    (one, _), (two, transport) = connect(server), connect(server)
    one.data_received(post(b"0nonce"))
    two.data_received(post(b"0nonce-a") + get() + post(b"0nonce-b"))
    assert not transport.reading
    assert answers(transport) == []
    await until(lambda: len(answers(transport)) == 3)
    assert answers(transport) == [b"200 answer to 0nonce-a", b"200 answer to 0good", b"200 answer to 0nonce-b"]
    assert transport.reading


async def test_connection_paused_client_gets_nothing_until_it_reads():
    """A client that does not read is not answered and not read from, known request or not."""
    server = make_server()
    connection, transport = connect(server)
    for _ in range(3):
        await tell(server, connection, get())
    connection.pause_writing()
    connection.data_received(get() + post(b"0nonce"))
    assert len(answers(transport)) == 3
    assert not transport.reading
    connection.resume_writing()
    await until(lambda: len(answers(transport)) == 5)
    assert transport.reading


async def test_connection_paused_too_long_is_cut():
    """A client that never reads loses its connection after the idle time."""
    server = make_server(idle_seconds=60)
    connection, transport = connect(server)
    await tell(server, connection, get())
    connection.pause_writing()
    server.uptime_clock.now = 59
    server.tick()
    assert not transport.closed
    server.uptime_clock.now = 60
    server.tick()
    assert transport.closed
    assert whole(server.summing())["counters"]["errors"] == {"slow_reader": 1}


@pytest.mark.parametrize("started", [b"G", get()[:30], post()[:-1], CHUNKED[:-4]])
async def test_connection_slow_request_is_ended(started):
    """From its first byte to its last a request has `header_seconds`, however steadily bytes drip; it is told 408."""
    server = make_server(header_seconds=10)
    connection, transport = connect(server)
    await tell(server, connection, get())
    server.uptime_clock.now = 30
    server.tick()
    for byte in started:
        connection.data_received(bytes((byte,)))
    server.uptime_clock.now = 39
    server.tick()
    assert not transport.closed
    server.uptime_clock.now = 40
    server.tick()
    assert answers(transport)[1:] == [b"408 " + LATER]
    assert transport.closed
    assert whole(server.summing())["counters"]["errors"] == {"slow_request": 1}


async def test_connection_idle_is_closed():
    """A persistent connection without a request is closed after `idle_seconds`; bare line ends are no request."""
    server = make_server(idle_seconds=60)
    connection, transport = connect(server)
    await tell(server, connection, get())
    server.uptime_clock.now = 59
    connection.data_received(b"\r\n")
    server.tick()
    assert not transport.closed
    server.uptime_clock.now = 60
    server.tick()
    assert transport.closed
    assert len(answers(transport)) == 1


async def test_connection_refused_lingers_then_ends():
    """A refused client may finish sending for a moment, unheard; then the connection is cut."""
    server = make_server()
    connection, transport = connect(server)
    connection.data_received(b"NO\r\n\r\n")
    connection.data_received(get())
    assert answers(transport) == [b"400 " + MALFORMED]
    transport.aborted = False
    transport.abort = lambda: setattr(transport, "aborted", True)
    server.uptime_clock.now = 2
    server.tick()
    assert transport.aborted


async def test_connection_end_of_input_while_waiting_is_still_answered():
    """A client that half-closes after its request gets its answer, then the end."""
    server = make_server()
    (one, _), (two, transport) = connect(server), connect(server)
    one.data_received(post(b"0nonce"))
    two.data_received(post(b"0nonce"))
    assert two.eof_received() is True
    await until(lambda: transport.closed)
    assert answers(transport) == [b"200 answer to 0nonce"]
    assert not one.eof_received()


async def test_connection_expect_continue_waits_its_turn():
    """100 Continue comes after the answers to earlier requests, and only when the body is not there yet."""
    server = make_server()
    (one, _), (two, transport) = connect(server), connect(server)
    one.data_received(post(b"0nonce"))
    request = post(GOOD, headers="Expect: 100-continue\r\n")
    two.data_received(post(b"0nonce") + request[:-5])
    assert transport.written == b""
    await until(lambda: transport.written.endswith(CONTINUE))
    assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
    before = len(transport.written)
    two.data_received(request[-5:])
    await until(lambda: len(transport.written) > before)
    assert transport.written.count(CONTINUE) == 1
    two.data_received(request)
    assert transport.written.count(CONTINUE) == 1


REQUESTS = [
    get(),
    get(),
    get(b"0good-2", prefix="/ocsp/"),
    get(method="HEAD"),
    get(headers="If-None-Match: *\r\n"),
    get(b"0nonce"),
    get(version="1.0", headers="Connection: keep-alive\r\n"),
    get(headers="Connection: close\r\n"),
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n",
    post(),
    post(),
    post(b"0good-2", path="/ocsp/ee/ocsp", headers="Content-Type: application/octet-stream\r\n"),
    post(b"0nonce"),
    post(b"0later"),
    post(b"junk"),
    post(b"0good\r\n\r\nGET / HTTP/1.1\r\n"),
    post(headers="Expect: 100-continue\r\n"),
    post(b"0good", path="/other").replace(b"POST", b"DELETE"),
    CHUNKED,
    b"\r\n",
    get(headers="Content-Length: 5\r\n") + b"GET /",
    get(headers="Content-Length: 5\r\n"),
    get(headers="X-Forwarded-For: 192.0.2.1\r\nConnection: keep-alive\r\n"),
    post(headers="Connection: Keep-Alive\r\n"),
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n0",
]


async def exchange(stream: bytes, cuts: list[int]) -> bytes:
    """What a fresh server writes for the stream, cut so; two connections one after the other, the second one knows."""
    server = make_server()
    written = b""
    for _ in range(2):
        connection, transport = connect(server)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            await until(lambda t=transport: t.reading or t.closed)
            if start < end and not transport.closed:
                connection.data_received(stream[start:end])
        await settle(server)
        written += bytes(transport.written)
    return written.replace(CONTINUE, b"")


@given(data=st.data())
def test_connection_any_chunking_gives_the_same_answers(data):
    """However a stream is cut, parsed or recognised, the answers are the same bytes in the same order."""
    parts = data.draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8))
    stream = b"".join(parts)
    bounds, total = [], 0
    for part in parts[:-1]:
        total += len(part)
        bounds.append(total)
    random_cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))

    async def all_ways() -> list[bytes]:
        return [await exchange(stream, cuts) for cuts in ([], bounds, random_cuts)]

    whole, by_request, by_chance = asyncio.run(all_ways())
    assert whole == by_request == by_chance


async def test_give_way_ends_half_of_the_connections_longest_silent_first(monkeypatch):
    """Out of descriptors, those go that ask for nothing; who has begun a request or waits for an answer stays."""
    server = make_server()
    clients = []
    for second in range(6):
        server.uptime_clock.now = second
        server.tick()
        clients.append(connect(server))
    (busy, _), (slow, _) = clients[:2]
    busy.data_received(post(b"0nonce-1") + post(b"0nonce-2"))
    slow.data_received(get()[:10])
    server.give_way()
    assert not any(transport.closed for _, transport in clients)
    monkeypatch.setattr("vouchd.ee.port_state.free_descriptors", lambda: 0)
    server.give_way()
    assert [transport.closed for _, transport in clients] == [False, False, True, True, True, False]
    assert whole(server.summing())["counters"]["errors"] == {"descriptors": 3}
