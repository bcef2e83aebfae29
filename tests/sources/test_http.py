"""CRLs at URLs, from a small server that does what the test says."""

from __future__ import annotations

import base64
import gzip
import ipaddress
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pki import CA, DAY, NOW

from vouchd.errors import ConfigError, SourceError
from vouchd.service.pulling import Validator
from vouchd.sources.http import HTTPSource

CRL = b"\x30\x03crl"


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the server's `behave`."""

    def do_GET(self):
        self.server.requests.append(self)
        self.server.behave(self)

    def log_message(self, *_):
        """Nothing: a test's output is its result."""

    def reply(self, status=200, body=CRL, **headers):
        """A response; a keyword `content_length=5` is a header."""
        self.send_response(status)
        headers = {name.replace("_", "-").title(): value for name, value in headers.items()}
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server():
    """An HTTP server on a free loopback port; set `behave`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.behave = lambda request: request.reply()
        server.url = f"http://127.0.0.1:{server.server_port}/ca.crl"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def source(url: str, **changes) -> HTTPSource:
    return HTTPSource(url, **{"timeout_seconds": 20, "max_bytes": 1000, **changes})


def test_crl_is_delivered_with_its_validators(server):
    """Status 200 is a CRL; its ETag and Last-Modified are what the next request asks with."""
    server.behave = lambda request: request.reply(etag='"v1"', last_modified="Tue, 24 Nov 2026 05:00:00 GMT")
    delivery = source(server.url).fetch(Validator())
    assert delivery.documents == (CRL,)
    assert delivery.validator == Validator('"v1"', "Tue, 24 Nov 2026 05:00:00 GMT")


def test_unchanged_crl_is_not_fetched_again(server):
    """The request is conditional, and 304 is no change (RFC 9110 section 13)."""
    server.behave = lambda request: request.reply(304, b"")
    assert source(server.url).fetch(Validator('"v1"', "Tue, 24 Nov 2026 05:00:00 GMT")) is None
    headers = server.requests[0].headers
    assert headers["If-None-Match"] == '"v1"'
    assert headers["If-Modified-Since"] == "Tue, 24 Nov 2026 05:00:00 GMT"


@pytest.mark.parametrize("status", [204, 206, 404, 500, 503])
def test_other_status_is_an_error(server, status):
    """Anything but 200 and 304 is an error that names the status."""
    server.behave = lambda request: request.reply(status, b"" if status == 204 else CRL)
    with pytest.raises(SourceError, match=str(status)):
        source(server.url).fetch(Validator())


def test_announced_length_beyond_the_limit_is_refused_unread(server):
    """A body that says that it is too long is not read."""
    server.behave = lambda request: request.reply(body=b"x", content_length="1001")
    with pytest.raises(SourceError, match="limit of 1000"):
        source(server.url).fetch(Validator())


def test_body_beyond_the_limit_is_cut_off(server):
    """A body without an announced length is read up to the limit."""

    def endless(request):
        request.send_response(200)
        request.end_headers()
        request.wfile.write(b"x" * 1001)

    server.behave = endless
    with pytest.raises(SourceError, match="limit of 1000"):
        source(server.url).fetch(Validator())


def test_body_that_ends_early_is_an_error(server):
    """Half a CRL is never delivered."""
    server.behave = lambda request: request.reply(content_length="500")
    with pytest.raises(SourceError, match="ended after 5 of 500"):
        source(server.url).fetch(Validator())


def test_slow_body_ends_at_the_time_limit(server):
    """A server that sends a byte now and then does not hold a source beyond its time limit."""
    over = threading.Event()

    def drip(request):
        request.send_response(200)
        request.end_headers()
        while not over.wait(0.05):
            try:
                request.wfile.write(b"x")
            except OSError:
                return

    server.behave = drip
    try:
        with pytest.raises(SourceError, match="took longer than 1 s"):
            source(server.url, timeout_seconds=1).fetch(Validator())
    finally:
        over.set()


@pytest.fixture
def dripping():
    """A TCP server that sends what the test says and then an octet now and then, for as long as it is listened to."""
    over = threading.Event()

    def drip(listener, beginning):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(beginning)
            while not over.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def serve(beginning: bytes) -> str:
            pool.submit(drip, listener, beginning)
            return f"127.0.0.1:{listener.getsockname()[1]}"

        yield serve
        over.set()


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n"]
)
def test_slow_header_ends_at_the_time_limit(dripping, beginning):
    """One deadline for the whole attempt: a header that never comes to its end is no way around it."""
    with pytest.raises(SourceError, match="took longer than 1 s"):
        source(f"http://{dripping(beginning)}/", timeout_seconds=1).fetch(Validator())


def test_slow_tls_handshake_ends_at_the_time_limit(dripping):
    """A TLS record that never comes to its end is none either."""
    with pytest.raises(SourceError, match="took longer than 1 s"):
        source("https://" + dripping(b"\x16\x03\x03\x40\x00"), timeout_seconds=1).fetch(Validator())


def test_slow_name_look_up_ends_at_the_time_limit(monkeypatch):
    """A name server that does not answer holds a source no longer than its time limit."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    try:
        with pytest.raises(SourceError, match=r"took longer than 1 s, in looking up ca\.example"):
            source("http://ca.example/", timeout_seconds=1).fetch(Validator())
    finally:
        over.set()


def test_unasked_304_is_an_error(server):
    """A server that says 304 to everything never delivers a CRL: no success."""
    server.behave = lambda request: request.reply(304, b"")
    with pytest.raises(SourceError, match="304, though it was not asked"):
        source(server.url).fetch(Validator())


def test_gzip_that_was_not_asked_for_is_undone(server):
    """A server that compresses although identity was asked for delivers the CRL all the same."""
    server.behave = lambda request: request.reply(body=gzip.compress(CRL, mtime=0), content_encoding="gzip")
    assert source(server.url).fetch(Validator()).documents == (CRL,)
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_gzip_counts_against_the_limit_as_it_is_undone(server):
    """A few octets that grow beyond the limit are not let grow."""
    server.behave = lambda request: request.reply(body=gzip.compress(bytes(50_000_000)), content_encoding="gzip")
    with pytest.raises(SourceError, match="limit of 100000"):
        source(server.url, max_bytes=100_000).fetch(Validator())


@pytest.mark.parametrize(("body", "coding"), [(gzip.compress(CRL, mtime=0)[:-9], "gzip"), (b"x", "gzip"), (CRL, "br")])
def test_broken_or_unknown_coding_is_an_error(server, body, coding):
    """What cannot be undone whole is not delivered."""
    server.behave = lambda request: request.reply(body=body, content_encoding=coding)
    with pytest.raises(SourceError):
        source(server.url).fetch(Validator())


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Log in</title>", b"\xef\xbb\xbf\n<HTML><p>not here"])
def test_web_page_is_called_one(server, page):
    """A log-in page with status 200 is told as what it is, not as a damaged CRL."""
    server.behave = lambda request: request.reply(body=page, content_type="text/html; charset=utf-8")
    with pytest.raises(SourceError, match=r"a web page \(text/html\) instead of a CRL"):
        source(server.url).fetch(Validator())


REDIRECTED = [
    "http://127.0.0.2:1/",
    "http://localhost:1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[::ffff:127.0.0.1]:1/",
    "http://100.100.100.200/",
    "http://0.0.0.0:1/",
]


@pytest.mark.parametrize("target", REDIRECTED)
def test_redirect_to_this_host_or_its_metadata_is_refused(server, target):
    """A server elsewhere cannot make us ask what answers this host alone."""
    server.behave = lambda request: request.reply(302, b"", location=target)
    with pytest.raises(SourceError, match=r"redirected to .* refused"):
        source(server.url).fetch(Validator())


def test_redirect_to_this_host_is_followed_where_a_setting_lets_it(server):
    """`localRedirects` lets a source be sent to a server on this host."""
    elsewhere = server.url.replace("127.0.0.1", "127.0.0.2")

    def behave(request):
        if request.headers["Host"].startswith("127.0.0.1"):
            request.reply(302, b"", location=elsewhere)
        else:
            request.reply()

    server.behave = behave
    with pytest.raises(SourceError, match=r"127\.0\.0\.2"):
        source(server.url, local_redirects=True).fetch(Validator())  # followed, though nothing listens there
    with pytest.raises(SourceError, match="refused"):
        source(server.url).fetch(Validator())


def test_proxy_of_the_environment_is_asked(server, monkeypatch):
    """A plain URL goes to the proxy as it is, with the proxy's password."""
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//user:pass%20word@").removesuffix("/ca.crl"))
    monkeypatch.setenv("no_proxy", "")
    assert source("http://ca.example/a.crl?x=1").fetch(Validator()).documents == (CRL,)
    (request,) = server.requests
    assert (request.path, request.headers["Host"]) == ("http://ca.example/a.crl?x=1", "ca.example")
    assert request.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"user:pass word").decode()


def test_redirect_is_followed(server):
    """A redirect to http or https is followed."""

    def behave(request):
        if request.path == "/ca.crl":
            request.reply(302, b"", location="/other.crl")
        else:
            request.reply()

    server.behave = behave
    assert source(server.url).fetch(Validator()).documents == (CRL,)


def test_endless_redirects_end(server):
    """A chain of redirects ends after a few."""
    server.behave = lambda request: request.reply(302, b"", location=request.path + "x")
    with pytest.raises(SourceError):
        source(server.url).fetch(Validator())
    assert len(server.requests) <= 7


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/ca.crl", "data:,x"])
def test_redirect_to_another_scheme_is_refused(server, target):
    """A server cannot make us read a file or speak another protocol."""
    server.behave = lambda request: request.reply(302, b"", location=target)
    with pytest.raises(SourceError, match=r"refused|status 302"):
        source(server.url).fetch(Validator())


def test_refused_connection_is_an_error(server):
    """A server that is not there is an error with its URL."""
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1:1/"):
        source("http://127.0.0.1:1/ca.crl").fetch(Validator())


@pytest.mark.parametrize("url", ["file:///x", "ftp://host/x", "http:///x", "http://user:secret@host/x", "ca.crl"])
def test_url_of_another_kind_is_a_config_error(url):
    """Only http and https URLs with a host are taken, and a password in one is not repeated."""
    with pytest.raises(ConfigError) as caught:
        source(url)
    assert "secret" not in str(caught.value)


def test_https_goes_through_a_proxy_by_a_tunnel(tls, monkeypatch):
    """The proxy of an https URL carries octets; the server's certificate is verified all the same."""

    def carry(request):
        with socket.create_connection(("127.0.0.1", tls.server_port)) as onwards:
            request.send_response(200)
            request.end_headers()
            back = threading.Thread(target=pump, args=(onwards, request.connection))
            back.start()
            pump(request.connection, onwards)
            back.join()

    def pump(one, other):
        while data := one.recv(65536):
            other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    class Proxy(Handler):
        def do_CONNECT(self):
            self.server.requests.append(self.path)
            carry(self)

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.requests = []
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("no_proxy", "")
        try:
            assert source(tls.url, trust_file=tls.trust).fetch(Validator()).documents == (CRL,)
        finally:
            proxy.shutdown()
            thread.join()
        assert proxy.requests == [f"127.0.0.1:{tls.server_port}"]


@pytest.fixture
def tls(server, tmp_path):
    """The server on https with a certificate of a test CA; its root is `trust`."""
    ca = CA.create("TLS root")
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    issued = ca.issue("127.0.0.1", not_after=NOW + 3600 * DAY, extensions=((names, False),))
    chain, trust = tmp_path / "server.pem", tmp_path / "root.pem"
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(key + issued.pem)
    trust.write_bytes(ca.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    server.trust = trust
    return server


def test_https_of_a_trusted_server_is_fetched(tls):
    """Roots of a file stand in place of the system's."""
    assert source(tls.url, trust_file=tls.trust).fetch(Validator()).documents == (CRL,)


def test_https_of_an_unknown_server_is_refused(tls):
    """A server that the trusted roots do not vouch for is not read from."""
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
        source(tls.url).fetch(Validator())


def test_https_is_not_redirected_to_http(tls):
    """A redirect never leaves TLS."""
    tls.behave = lambda request: request.reply(302, b"", location="http://127.0.0.1:1/x")
    with pytest.raises(SourceError, match="refused"):
        source(tls.url, trust_file=tls.trust).fetch(Validator())


def test_trust_file_without_certificates_is_a_config_error(tmp_path):
    """A trust file that cannot be used is told at start."""
    path = tmp_path / "empty.pem"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"empty\.pem"):
        source("https://host/x", trust_file=path)
