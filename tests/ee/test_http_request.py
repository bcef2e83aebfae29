"""Requests are framed by the letter of RFC 9112, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ee.ee_fakes import get, post

from vouchd.ee.http_request import HTTPRequest, RequestReader

HOST = b"Host: a\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n0g\r\n3\r\nood\r\n0\r\nT: u\r\n\r\n"
)
UPGRADE = (
    b"GET /M HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n"
)
OFFER = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
SMUGGLED = get(b"0smuggled")
OFFERED_CHUNKS = CHUNKED.replace(b"Host: a\r\n", b"Host: a\r\n" + OFFER.encode(), 1)


def read(*chunks: bytes, header=16384, body=65536) -> list[HTTPRequest]:
    reader = RequestReader(header, body)
    for chunk in chunks:
        reader.feed(chunk)
    return list(reader.requests)


def test_reader_pipelined_requests_come_in_order():
    """Requests of one chunk appear in the order they were sent."""
    requests = read(get(b"0a") + post(b"0b") + CHUNKED + get(b"0c"))
    assert [(r.method, r.body) for r in requests] == [
        (b"GET", b""),
        (b"POST", b"0b"),
        (b"POST", b"0good"),
        (b"GET", b""),
    ]


@given(st.data())
def test_reader_any_chunking_reads_the_same(data):
    """Where the stream is cut makes no difference."""
    stream = b"".join(
        data.draw(
            st.lists(
                st.sampled_from(
                    [
                        get(),
                        post(),
                        post(SMUGGLED, headers=OFFER),
                        OFFERED_CHUNKS,
                        CHUNKED,
                        UPGRADE,
                        get(version="1.0"),
                        b"\r\n",
                        b"NO\r\n\r\n",
                    ]
                ),
                max_size=5,
            )
        )
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == read(stream)


@given(st.binary(max_size=300))
def test_reader_arbitrary_bytes_never_raise(data):
    """Garbage is a refusal or an unfinished request, never an exception."""
    assert all(isinstance(request, HTTPRequest) for request in read(data, b"\r\n\r\n"))


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: \r\n",
        b"Content-Length : 3\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Host: b\r\n",
        b"X: a\r\n b\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\x00b\r\n",
        b"X y: a\r\n",
    ],
)
def test_reader_ambiguous_framing_is_refused(head):
    """Nothing that two servers could frame differently is taken, and nothing is read after it."""
    (requests,) = read(b"POST / HTTP/1.1\r\n" + HOST + head + b"\r\n3\r\nabc\r\n0\r\n\r\n" + get())
    assert requests.refused == 400


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/3.0\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"NO / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\n" + HOST + b"\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_reader_not_http_1_is_refused(line):
    """No Host with HTTP/1.1, other versions and broken request lines are 400."""
    assert [r.refused for r in read(line)] == [400]


def test_reader_http_1_0_needs_no_host():
    """HTTP/1.0 clients such as Certificate System send no Host."""
    (requests,) = read(b"POST /ocsp HTTP/1.0\r\ncontent-length:2\r\n\r\n0a")
    assert (requests.body, requests.http_1_0, requests.keep_alive, requests.refused) == (b"0a", True, False, 0)


def test_reader_upgrade_offer_is_ignored():
    """An offer of h2c (Java's HttpClient makes one) is answered over HTTP/1.1, and so is what follows."""
    requests = read(UPGRADE + get())
    assert [(r.method, r.keep_alive) for r in requests] == [(b"GET", True), (b"GET", True)]


@pytest.mark.parametrize("offer", [OFFER, "Connection: upgrade\r\nUpgrade: websocket\r\n", "Upgrade: a, b\r\n"])
def test_reader_body_of_an_upgrade_offer_is_its_body(offer):
    """What follows a head with Content-Length is its body, though it looks like a request and a protocol is offered."""
    requests = read(post(SMUGGLED, headers=offer) + get())
    assert [(r.method, r.body, r.keep_alive) for r in requests] == [(b"POST", SMUGGLED, True), (b"GET", b"", True)]


def test_reader_chunks_of_an_upgrade_offer_are_its_body():
    """A chunked body is read to its end, trailers included, and the next request begins behind them."""
    requests = read(OFFERED_CHUNKS + get())
    assert [(r.method, r.body, r.refused) for r in requests] == [(b"POST", b"0good", 0), (b"GET", b"", 0)]


def test_reader_upgrade_offer_keeps_version_and_persistence():
    """HTTP/1.0 stays HTTP/1.0, and `close` closes, whatever else is offered."""
    old = post(headers="Connection: upgrade\r\nUpgrade: h2c\r\n", version="1.0")
    last = post(headers="Connection: upgrade, close\r\nUpgrade: h2c\r\n")
    assert [(r.http_1_0, r.keep_alive, r.body) for r in read(old + get())] == [(True, False, b"0good")]
    assert [(r.http_1_0, r.keep_alive, r.body) for r in read(last + get())] == [(False, False, b"0good")]


def test_reader_upgrade_in_a_trailer_changes_nothing():
    """Header fields behind a chunked body offer nothing."""
    trailer = b"0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    requests = read(CHUNKED.replace(b"0\r\nT: u\r\n\r\n", trailer) + get())
    assert [(r.body, r.refused) for r in requests] == [(b"0good", 0), (b"", 0)]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
    ],
)
def test_reader_ambiguous_framing_is_refused_with_an_upgrade_offer_too(framing):
    """An offer opens no way around the rules of framing."""
    head = b"POST / HTTP/1.1\r\n" + HOST + OFFER.encode() + framing + b"\r\n"
    (requests,) = read(head + b"3\r\nabc\r\n0\r\n\r\n" + get())
    assert requests.refused == 400


@pytest.mark.parametrize("cut", [0, 1])
def test_reader_upgrade_offer_with_a_large_body_is_413(cut):
    """The limit of a body counts here too, announced and chunked."""
    announced = post(b"0" * 101, headers=OFFER)
    chunked = OFFERED_CHUNKS.replace(b"3\r\nood\r\n", b"70\r\n" + b"o" * 0x70 + b"\r\n")
    for stream in (announced, chunked):
        assert [r.refused for r in read(stream[: len(stream) - cut], body=100)] == [413]


def test_reader_connect_ends_the_stream():
    """Bytes after CONNECT are no HTTP."""
    requests = read(b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n" + get())
    assert [(r.method, r.keep_alive) for r in requests] == [(b"CONNECT", False)]


def test_reader_nothing_is_read_after_connection_close():
    """The last request of a connection is the last."""
    requests = read(get(headers="Connection: close\r\n") + get())
    assert [r.keep_alive for r in requests] == [False]


@pytest.mark.parametrize(
    "chunks",
    [
        [get(headers=f"X: {'a' * 300}\r\n")],
        [get(headers="".join(f"X{n}: {'a' * 20}\r\n" for n in range(20)))],
        [b"GET /", b"M" * 200, b"M" * 200],
        [b"GET / HTTP/1.1\r\nX", b"y" * 150, b"y" * 150, b"y" * 150],
    ],
)
def test_reader_long_head_is_431(chunks):
    """Headers are limited in sum, also one that never ends."""
    assert [r.refused for r in read(*chunks, header=256)] == [431]


def test_reader_long_trailer_is_431():
    """A trailer counts towards the limit of the headers."""
    stream = CHUNKED.replace(b"T: u", b"T: " + b"u" * 300)
    assert [r.refused for r in read(stream, header=256)] == [431]


@pytest.mark.parametrize(
    "stream",
    [
        post(b"0" * 17),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n",
        CHUNKED.replace(b"3\r\nood", b"14\r\n" + b"o" * 20),
    ],
)
def test_reader_long_body_is_413(stream):
    """A body over the limit is refused, by its announcement already when there is one."""
    assert [r.refused for r in read(stream, body=16)] == [413]


def test_reader_body_at_the_limit_is_taken():
    """The limit is inclusive."""
    assert [r.body for r in read(post(b"0" * 16), body=16)] == [b"0" * 16]
