"""CRLs at URLs, from a small server that does what the test says."""

from __future__ import annotations

import ipaddress
import ssl
import threading
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
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.requests = []
        found.behave = lambda request: request.reply()
        found.url = f"http://127.0.0.1:{found.server_port}/ca.crl"
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def source(url: str, **changes) -> HTTPSource:
    return HTTPSource(url, **{"timeout_seconds": 20, "max_bytes": 1000, **changes})


def test_crl_is_delivered_with_its_validators(server):
    """Status 200 is a CRL; its ETag and Last-Modified are what the next request asks with."""
    server.behave = lambda request: request.reply(etag='"v1"', last_modified="Tue, 24 Nov 2026 05:00:00 GMT")
    found = source(server.url).fetch(Validator())
    assert found.documents == (CRL,)
    assert found.validator == Validator('"v1"', "Tue, 24 Nov 2026 05:00:00 GMT")


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
