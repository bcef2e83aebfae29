"""HTTP exchanges with a responder: methods, limits and failures, each told in words."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.client.answers import always, loopback
from tests.pki import CA, DAY, NOW

from vouchd.client.transport import Connection, Method, choose_method, get_path
from vouchd.errors import ClientError


@contextmanager
def raw_server(*scripts):
    """A server that treats one connection after another with the next function of `scripts`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for script in scripts:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                script(peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.close()
        thread.join(5)


def read_request(peer: socket.socket) -> bytes:
    octets = b""
    while b"\r\n\r\n" not in octets:
        octets += peer.recv(65536)
    return octets


def reply(body: bytes, head: str = "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"):
    def script(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(head.format(size=len(body)).encode() + body)

    return script


def test_get_path_escapes_what_base64_and_urls_disagree_on() -> None:
    """`/`, `+` and `=` of base64 are percent-encoded, after one slash (RFC 6960 appendix A.1)."""
    assert get_path("/ocsp/", b"\xfb\xff\xfe\xff") == "/ocsp/%2B%2F%2F%2B%2Fw%3D%3D"


@pytest.mark.parametrize(("size", "method"), [(100, "GET"), (300, "POST")])
def test_method_is_get_while_the_request_is_short(size, method) -> None:
    """Up to 255 octets of path GET is used so that caches can answer, else POST (RFC 6960 A.1, RFC 9919)."""
    assert choose_method(Method.AUTO, b"a" * size) == method


def test_several_exchanges_share_a_connection() -> None:
    """A connection is kept, so that only the first exchange pays for setting it up."""
    peers = set()

    def script(peer: socket.socket) -> None:
        for _ in range(3):
            peers.add(peer.getpeername())
            reply(b"answer")(peer)

    with raw_server(script) as url, Connection(url) as link:
        assert [link.exchange(b"request").body for _ in range(3)] == [b"answer"] * 3
    assert len(peers) == 1


def test_kept_connection_that_the_server_closed_is_opened_again() -> None:
    """A responder may close an idle connection at any time; asking again does no harm."""
    with raw_server(reply(b"first"), reply(b"second")) as url, Connection(url) as link:
        assert [link.exchange(b"request").body for _ in range(2)] == [b"first", b"second"]


def test_new_connection_that_is_closed_without_an_answer_is_told() -> None:
    """A server that hangs up at once is not asked twice."""
    with raw_server(read_request) as url, Connection(url) as link, pytest.raises(ClientError, match="cannot ask"):
        link.exchange(b"request")


def test_answer_that_trickles_is_cut_off_at_the_deadline() -> None:
    """The time limit holds for the exchange as a whole: one octet now and then does not extend it."""
    done = threading.Event()

    def trickle(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        try:
            while not done.wait(0.01):
                peer.sendall(b"X")
        except OSError:
            return

    with raw_server(trickle) as url, Connection(url, timeout_seconds=0.3) as link:
        with pytest.raises(ClientError, match=r"no answer from .* within 0.3 s"):
            link.exchange(b"request")
        done.set()


def test_body_larger_than_the_limit_is_refused() -> None:
    """A body is read up to the limit and not an octet further into memory."""
    with (
        loopback(always(bytes(1001))) as server,
        Connection(server.url, max_response_bytes=1000) as link,
        pytest.raises(ClientError, match="larger than 1000 bytes"),
    ):
        link.exchange(b"request")


def test_body_of_exactly_the_limit_is_taken() -> None:
    """The limit itself is allowed."""
    with loopback(always(bytes(1000))) as server, Connection(server.url, max_response_bytes=1000) as link:
        assert len(link.exchange(b"request").body) == 1000


def test_body_that_breaks_off_is_refused() -> None:
    """Less than Content-Length announces is no answer."""
    head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    with (
        raw_server(reply(b"half", head)) as url,
        Connection(url) as link,
        pytest.raises(ClientError, match="cannot ask"),
    ):
        link.exchange(b"request")


def test_chunked_body_is_put_together() -> None:
    """A chunked answer is read like one with a length."""
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw_server(reply(b"3\r\nans\r\n3\r\nwer\r\n0\r\n\r\n", head)) as url, Connection(url) as link:
        assert link.exchange(b"request").body == b"answer"


def test_exchange_tells_status_headers_and_duration() -> None:
    """What came over HTTP stays readable: status, headers whatever their case, and how long it took."""
    with loopback(lambda _: (503, {"Retry-After": "30"}, b"x")) as server, Connection(server.url) as link:
        exchange = link.exchange(b"request", Method.POST)
    assert (exchange.http_status, exchange.header("retry-after"), exchange.header("ETag")) == (503, "30", None)
    assert (exchange.method, exchange.url) == ("POST", server.url)
    assert exchange.seconds > 0


@pytest.fixture(scope="module")
def https(tmp_path_factory):
    """TLS contexts: of a server on 127.0.0.1, and of a client that trusts its CA."""
    ca = CA.create("TLS CA")
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = ca.issue("server", not_after=NOW + 3650 * DAY, extensions=((names, False),))
    folder = tmp_path_factory.mktemp("tls")
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(key + leaf.pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=ca.pem.decode())


def test_https_is_spoken_with_the_trust_given(https) -> None:
    """A responder behind TLS is asked as one without, when its CA is trusted."""
    server_side, client_side = https
    with loopback(always(b"answer"), server_side) as server, Connection(server.url, tls=client_side) as link:
        assert link.exchange(b"request").body == b"answer"


def test_https_with_a_certificate_of_a_stranger_is_refused(https) -> None:
    """Without trust in its CA nothing is sent to a TLS server, and the remedy is told."""
    server_side, _ = https
    with loopback(always(b"answer"), server_side) as server, Connection(server.url) as link:
        with pytest.raises(ClientError, match=r"TLS certificate of https://127.0.0.1:.* is not trusted") as caught:
            link.exchange(b"request")
        assert server.requests == []
    assert "its CA" in caught.value.hint


def test_port_without_a_server_is_told() -> None:
    """A refused connection is named with the URL and what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ClientError, match=f"cannot ask http://127.0.0.1:{port}/: Connection refused") as caught:
        Connection(f"http://127.0.0.1:{port}/").exchange(b"request")
    assert "port" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    ["ftp://host/", "http:///path", "host:80", "http://host:x/", "http://host/?q", "http://host/a b", "http://h/\n"],
)
def test_url_that_is_no_responder_s_is_refused(url) -> None:
    """Only http and https with a host are asked, and nothing that could smuggle a header."""
    with pytest.raises(ClientError, match="URL"):
        Connection(url)
