"""The EE port over real loopback sockets: methods, paths, headers, errors, limits, stop."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from tests.ee.ee_fakes import (
    AT,
    GOOD,
    INTERNAL,
    LATER,
    MALFORMED,
    NEXT_UPDATE,
    THIS_UPDATE,
    Client,
    FakeResponder,
    get,
    make_server,
    post,
    until,
)

from vouchd.ee.counters import whole
from vouchd.ee.replies import http_date
from vouchd.ee.states import State

CHUNKED = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n0g\r\n3\r\nood\r\n0\r\n\r\n"


class Port:
    """A served EE port and its address."""

    def __init__(self, responder, server, address):
        self.responder, self.server, self.address = responder, server, address
        self.clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.address))
        self.clients.append(client)
        return client

    async def ask(self, data: bytes, *, head_only: bool = False):
        """The answer on a connection of its own."""
        return await (await self.client()).ask(data, head_only=head_only)


@asynccontextmanager
async def serving(**limits: int):
    responder = FakeResponder()
    server = make_server(responder, **limits)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start([listener])
    port = Port(responder, server, listener.getsockname())
    try:
        yield port
    finally:
        for client in port.clients:
            client.writer.close()
        await server.stop(5)


@pytest.fixture
async def port():
    async with serving() as served:
        yield served


@pytest.mark.parametrize("path", ["/", "/ocsp", "/ocsp/", "/ocsp/ee/ocsp"])
@pytest.mark.parametrize(
    "headers",
    [
        "",
        "Content-Type: application/ocsp-request\r\n",
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: text/html\r\n",
    ],
)
async def test_post_any_path_and_content_type_is_answered(port, path, headers):
    """POST works on the three paths with any Content-Type or none (Certificate System's client sends octet-stream)."""
    answer = await port.ask(post(path=path, headers=headers))
    assert (answer.status, answer.body) == (200, b"answer to 0good")
    assert answer.headers["Content-Type"] == "application/ocsp-response"


@pytest.mark.parametrize("prefix", ["/", "/ocsp/", "/ocsp/ee/ocsp/", "//", "/ocsp//"])
async def test_get_any_path_is_answered(port, prefix):
    """GET works under the three paths."""
    assert (await port.ask(get(prefix=prefix))).body == b"answer to 0good"


@pytest.mark.parametrize("target", ["/", "/ocsp", "/ocsp/", "/ocsp/ee/ocsp", "/M%%%", "/ocsp/junk!"])
async def test_get_without_request_is_ocsp_malformed(port, target):
    """An empty path and junk get OCSP malformedRequest under HTTP 200, not to be stored."""
    answer = await port.ask(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert (answer.status, answer.body) == (200, MALFORMED)
    assert answer.headers["Content-Type"] == "application/ocsp-response"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "request_bytes", [b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n", post(path="/other"), post(path="/ocsp/MAAA")]
)
async def test_other_path_is_404_with_ocsp_body(port, request_bytes):
    """Errors are OCSP bodies on every path, never HTML."""
    answer = await port.ask(request_bytes)
    assert (answer.status, answer.body) == (404, MALFORMED)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/ocsp/admin/ocsp/getStatus", b"<Status>running</Status>"),
        ("/ocsp/admin/ocsp/getStatus?x=y", b"<Type>OCSP</Type>"),
        ("/pki/rest/info", b"<Name>vouchd</Name>"),
    ],
)
async def test_status_is_told_in_xml_and_is_no_ocsp_request(port, path, text):
    """Monitoring of the Certificate System asks on the plain port; it is not counted as OCSP, nor as an error."""
    client = await port.client()
    answer = await client.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/xml")
    assert text in answer.body
    assert answer.headers["Cache-Control"] == "no-store"
    head = await client.ask(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), head_only=True)
    assert int(head.headers["Content-Length"]) == len(answer.body)
    counters = whole(port.server.summing())["counters"]
    assert (sum(counters["requests"].values()), counters["errors"]) == (0, {})
    assert (await client.ask(get())).status == 200


@pytest.mark.parametrize(
    ("networks", "status"), [("127.0.0.0/8", 200), ("192.0.2.0/24", 403), ("192.0.2.0/24,127.0.0.1/32", 200)]
)
async def test_who_may_ask_is_told_by_the_address(networks, status):
    """Where networks are set nobody else is answered: OCSP unauthorized under HTTP 403, and the connection ends."""
    async with serving(allowed=tuple(map(ip_network, networks.split(",")))) as port:
        answer = await port.ask(get())
        assert answer.status == status
        if status == 403:
            assert answer.body == b"\x30\x03\x0a\x01\x06"
            assert whole(port.server.summing())["counters"]["errors"] == {"address": 1}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "PATCH"])
async def test_other_method_is_405_with_allow(port, method):
    """Other methods are told what is allowed, and the connection goes on."""
    client = await port.client()
    answer = await client.ask(post().replace(b"POST", method.encode()))
    assert (answer.status, answer.headers["Allow"], answer.body) == (405, "GET, HEAD, OPTIONS, POST", MALFORMED)
    assert (await client.ask(get())).status == 200


@pytest.mark.parametrize("target", [b"/", b"*", b"/ocsp", b"/healthcheck"])
async def test_options_says_what_is_allowed(port, target):
    """A load balancer that asks OPTIONS learns that somebody is there, on whatever path; no OCSP, nothing to store."""
    client = await port.client()
    answer = await client.ask(b"OPTIONS %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    assert answer.headers.keys() == {"Allow", "Cache-Control", "Date"}
    assert (await client.ask(get())).status == 200
    snapshot = whole(port.server.summing())["counters"]
    assert (snapshot["requests"]["OPTIONS"], snapshot["errors"]) == (1, {})


@pytest.mark.parametrize("path", ["/ca/ocsp", "/ejbca/publicweb/status/ocsp", "/OCSP", "/MY/own"])
async def test_paths_of_other_responders_are_answered_where_they_are_set(path):
    """The AIA of certificates that are out cannot be changed: their paths can be taken over, for GET and POST."""
    wanted = ("/ca/ocsp", "/ejbca/publicweb/status/ocsp/", "/OCSP", "/MY/own")
    async with serving(paths=wanted) as served:
        client = await served.client()
        for request in (post(path=path), post(path=path), post(path=path + "/"), get(prefix=path + "/"), post()):
            assert (await client.ask(request)).body == b"answer to 0good"
        assert (await client.ask(post(path=path + "/x"))).status == 404
    async with serving() as served:
        assert (await served.ask(post(path=path))).status == 404


_NO_HOSTS = ["a b", "a/b", "a?b", "a#b", "a@b", "a\tb", '"a"', "a\\b", "\xe9", "<a>"]
_NO_HOSTS += ["[::1", "::1]", "a:b", "a:80:80", "a:123456", "[a]", "[]", "a[::1]", "a%2", "%zz", "[::1]x"]


@pytest.mark.parametrize("host", _NO_HOSTS)
@pytest.mark.parametrize("ask", [get, post])
async def test_host_that_can_be_none_is_400(port, ask, host):
    """What is no host with its port is refused (RFC 9112 section 3.2), the first time and each time."""
    for _ in range(3):
        request = ask().replace(b"Host: ocsp.test", b"Host: " + host.encode("latin-1"))
        assert (await port.ask(request)).status == 400


@pytest.mark.parametrize(
    "host",
    ["", "a", "a:80", "[2001:db8::1]:8080", "xn--bcher-kva.example", "a_b", "192.0.2.1", "a:", "[::1]", "a%20b", "a,b"],
)
async def test_host_of_any_form_is_taken(port, host):
    """Names, addresses, ports and none at all."""
    request = post().replace(b"Host: ocsp.test", b"Host: " + host.encode())
    assert (await port.ask(request)).status == 200


@pytest.mark.parametrize("years", [1, 30])
async def test_clock_set_back_tells_no_cache_to_keep_answers_for_years(port, years):
    """However wrong the clock, max-age is at most the time from thisUpdate to nextUpdate."""
    port.server.clock.now = AT - years * 365 * 86400
    port.server.tick()
    for _ in range(2):
        answer = await port.ask(get())
        assert f"max-age={NEXT_UPDATE - THIS_UPDATE}," in answer.headers["Cache-Control"]


async def test_head_has_the_headers_of_get_and_no_body(port):
    """HEAD is GET without the body, cached and uncached, good and bad."""
    client = await port.client()
    for der in (GOOD, GOOD, b"0nonce", b"0later"):
        head = await client.ask(get(der, method="HEAD"), head_only=True)
        full = await client.ask(get(der))
        assert head.headers == full.headers
        assert full.headers["Content-Length"] == str(len(full.body))


async def test_cacheable_answer_has_the_headers_of_the_profile(port):
    """GET and POST carry the caching headers of RFC 9919 with the values of the response."""
    for request in (get(), get(), get(), post(), post()):
        answer = await port.ask(request)
        assert answer.headers == {
            "Content-Type": "application/ocsp-response",
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "max-age=86400, public, no-transform, must-revalidate",
            "ETag": f'"{hashlib.sha256(answer.body).hexdigest()}"',
            "Last-Modified": http_date(AT - 3600).decode(),
            "Expires": http_date(NEXT_UPDATE).decode(),
            "Date": http_date(AT).decode(),
        }


async def test_nonce_answer_is_not_to_be_stored(port):
    """An answer with a nonce is signed each time and nobody may store it."""
    client = await port.client()
    for _ in range(3):
        answer = await client.ask(get(b"0nonce"))
        assert answer.headers["Cache-Control"] == "no-store"
        assert not answer.headers.keys() & {"ETag", "Expires", "Last-Modified"}
    assert len(port.responder.calls) == 3


async def test_try_later_has_retry_after_under_200(port):
    """tryLater stays an OCSP answer under 200, so that OCSP clients read it, with Retry-After for HTTP clients."""
    answer = await port.ask(post(b"0later"))
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (200, LATER, "30")
    assert answer.headers["Cache-Control"] == "no-store"


async def test_responder_bug_is_internal_error_and_logged(port, caplog):
    """A bug in the responder is answered internalError and the connection lives on."""
    client = await port.client()
    with caplog.at_level(logging.ERROR):
        answer = await client.ask(post(b"0boom"))
    assert (answer.status, answer.body) == (200, INTERNAL)
    assert "the responder failed" in caplog.text
    assert (await client.ask(post())).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditional_get_is_304_without_body(port, method):
    """A cache that holds the answer gets 304 with the validators, and the connection goes on."""
    client = await port.client()
    tag = (await client.ask(get())).headers["ETag"]
    for condition in (f"If-None-Match: {tag}\r\n", f"If-Modified-Since: {http_date(AT).decode()}\r\n"):
        answer = await client.ask(get(method=method, headers=condition))
        assert answer.status == 304
        assert answer.headers["Expires"] == http_date(NEXT_UPDATE).decode(), "a 304 says what the 200 would (RFC 9110)"
        assert {"ETag", "Date", "Cache-Control", "Last-Modified"} <= answer.headers.keys()
    assert (await client.ask(get(headers='If-None-Match: "other"\r\n'))).status == 200


async def test_post_body_in_chunks_and_pieces_is_answered(port):
    """Chunked transfer coding works, also when it arrives byte by byte."""
    client = await port.client()
    assert (await client.ask(CHUNKED)).body == b"answer to 0good"
    for n in range(len(CHUNKED)):
        client.send(CHUNKED[n : n + 1])
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.answer()).body == b"answer to 0good"


async def test_expect_continue_is_asked_for_the_body(port):
    """A client that waits for 100 Continue gets it, then its answer."""
    client = await port.client()
    request = post(headers="Expect: 100-continue\r\n")
    assert (await client.ask(request[: -len(GOOD)])).status == 100
    assert (await client.ask(GOOD)).body == b"answer to 0good"


async def test_expect_continue_with_too_long_body_is_413_at_once(port):
    """A body that is announced too long is refused before it is sent."""
    answer = await port.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n")
    assert (answer.status, answer.body, answer.headers["Connection"]) == (413, MALFORMED, "close")


async def test_http_1_0_closes_unless_it_asks_to_stay(port):
    """HTTP/1.0 gets one answer; with keep-alive it is told that the connection stays."""
    client = await port.client()
    answer = await client.ask(b"POST /ocsp HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n0good")
    assert answer.headers["Connection"] == "keep-alive"
    answer = await client.ask(b"POST /ocsp HTTP/1.0\r\nContent-Length: 5\r\n\r\n0good")
    assert answer.headers["Connection"] == "close"
    assert await client.at_end()


async def test_connection_close_is_obeyed(port):
    """After Connection: close comes one answer and the end, whatever else was sent."""
    client = await port.client()
    answer = await client.ask(get(headers="Connection: close\r\n") + get())
    assert answer.headers["Connection"] == "close"
    assert await client.at_end()


async def test_pipelined_requests_are_answered_in_order(port):
    """Cached, signed and bad requests in one packet come back in the order they were sent."""
    client = await port.client()
    ders = [GOOD, b"0nonce-1", b"0good-2", b"junk", b"0nonce-2", GOOD, b"0later"] * 5
    client.send(b"".join(post(der) for der in ders))
    expected = {b"junk": MALFORMED, b"0later": LATER}
    for der in ders:
        assert (await client.answer()).body == expected.get(der, b"answer to " + der)


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n0good", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /M HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (post(bytes(65_537)), 413),
    ],
)
async def test_refused_request_gets_ocsp_body_and_the_end(port, request_bytes, status):
    """What cannot be framed or is too large is refused with an OCSP body; nothing after it is read as a request."""
    client = await port.client()
    answer = await client.ask(request_bytes + get())
    assert (answer.status, answer.body, answer.headers["Connection"]) == (status, MALFORMED, "close")
    assert await client.at_end()
    assert port.responder.calls == []


async def test_connections_beyond_the_limit_get_503_try_later():
    """One connection too many is told tryLater and closed; the others are served."""
    async with serving(max_connections=2) as port:
        one, two = await port.client(), await port.client()
        assert (await one.ask(get())).status == (await two.ask(get())).status == 200
        three = await port.client()
        answer = await three.answer()
        assert (answer.status, answer.body, answer.headers["Retry-After"]) == (503, LATER, "1")
        assert await three.at_end()
        one.writer.close()
        await until(lambda: whole(port.server.summing())["gauges"]["connections"] == 1)
        assert (await port.ask(get())).status == 200


async def test_client_that_does_not_read_cannot_grow_memory(port):
    """Answers are held back when the client does not read, and all come when it does."""
    port.responder.padding = 8000
    client = await port.client()
    count = 5000
    client.send(get() * count)
    await until(lambda: any(c._state is State.FULL for c in port.server.state.connections))
    for _ in range(100):
        await asyncio.sleep(0)
        (connection,) = port.server.state.connections
        assert connection._transport.get_write_buffer_size() < 64 * 1024 + 10_000
    for _ in range(count):
        assert len((await client.answer()).body) == 8000 + len(b"answer to 0good")


async def test_stop_finishes_what_was_begun_and_drops_nothing():
    """At stop a half-sent request is still answered, the answer says close, and new connections are refused."""
    async with serving() as port:
        busy, idle = await port.client(), await port.client()
        for client in (busy, idle):
            assert "Connection" not in (await client.ask(get())).headers
        busy.send(post()[:-2])
        await until(lambda: any(c._reader.in_message for c in port.server.state.connections))
        stopping = asyncio.create_task(port.server.stop(20))
        await until(lambda: port.server.state.stopping)
        with pytest.raises(OSError):
            await port.client()
        busy.send(post()[-2:])
        answer = await busy.answer()
        assert (answer.body, answer.headers["Connection"]) == (b"answer to 0good", "close")
        assert await busy.at_end()
        port.server.uptime_clock.now += 2
        port.server.tick()
        assert await idle.at_end()
        await stopping


async def test_stop_under_load_answers_every_request():
    """Clients that keep asking while the server stops each get an answer to every request, the last one says close."""
    async with serving() as port:

        async def asking() -> int:
            client, answers = await port.client(), 0
            while True:
                answer = await client.ask(get(b"0good-%d" % (answers % 3)))
                answers += 1
                if answer.headers.get("Connection") == "close":
                    return answers

        clients = [asyncio.create_task(asking()) for _ in range(8)]
        await until(lambda: whole(port.server.summing())["counters"]["cache_hits"] > 500)
        await port.server.stop(20)
        assert all(count > 1 for count in await asyncio.gather(*clients))


async def test_stop_cuts_off_after_the_grace(caplog):
    """A client that never finishes its request does not hold the server longer than the grace."""
    async with serving() as port:
        client = await port.client()
        client.send(b"GET ")
        await until(lambda: any(c._reader.in_message for c in port.server.state.connections))
        with caplog.at_level(logging.WARNING):
            await port.server.stop(0)
        assert "1 connections cut off" in caplog.text


async def test_snapshot_counts_hits_misses_and_causes(port):
    """Counters tell answers by status and CA, errors by cause, cache hits, signatures, requests by method."""
    client = await port.client()
    sent = 0
    for request in (
        get(),
        get(),
        get(),
        post(),
        post(),
        get(b"0nonce"),
        post(b"junk"),
        post(b"0later"),
        get(b"x", prefix="/no/"),
    ):
        answer = await client.ask(request)
        sent += len(answer.body)
    snapshot = whole(port.server.summing())
    counters = snapshot["counters"]
    assert counters["requests"] == {"GET": 5, "POST": 4}
    assert counters["answers"] == {"successful": 6, "malformed_request": 1, "try_later": 1}
    assert counters["errors"] == {"malformed": 1, "no_crl": 1, "path": 1}
    assert counters["cert_statuses"] == {"good": 5, "revoked": 1}
    assert counters["by_authority"] == {"the CA": 5}
    assert (counters["cache_hits"], counters["cache_misses"]) == (4, 4)
    assert sum(counters["signature_counts"]) == 2
    assert counters["sent_bytes"] > sent
    assert counters["connections"] == 1
    size = port.server.state.cache.size_bytes
    assert size > len(b"answer to 0good")
    gauges = {"connections": 1, "connection_room": 10000, "waiting_signatures": 0, "waiting_groups": 0}
    assert snapshot["gauges"] == {**gauges, "cache_entries": 1, "cache_bytes": size}


@pytest.mark.parametrize("offered", ["h2c", "websocket", "TLS/1.2"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_post_with_an_upgrade_offer_gets_one_answer_whatever_its_body_looks_like(port, offered, chunked):
    """Two questions get two answers: nobody behind a shared proxy is sent the answer to what a body smuggles."""
    smuggled = get(b"0good-smuggled")
    offer = f"Connection: Upgrade\r\nUpgrade: {offered}\r\n"
    octets = post(smuggled, headers=offer)
    if chunked:
        octets = octets.replace(b"Content-Length: %d" % len(smuggled), b"Transfer-Encoding: chunked")
        octets = octets.replace(smuggled, b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled))
    client = await port.client()
    client.send(octets + get(headers="Connection: close\r\n"))
    assert [(await client.answer()).body for _ in range(2)] == [MALFORMED, b"answer to 0good"]
    assert await client.at_end()
    assert b"0good-smuggled" not in [der for der, _ in port.responder.calls]
