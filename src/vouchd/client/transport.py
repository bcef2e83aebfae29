"""OCSP over HTTP as a client sees it (RFC 6960 appendix A): one exchange, bounded in time and size.

This file knows neither ASN.1 nor what an answer means.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, quote, urlsplit

from vouchd.errors import ClientError

REQUEST_TYPE = "application/ocsp-request"
RESPONSE_TYPE = "application/ocsp-response"

# RFC 6960 appendix A.1 and RFC 9919: GET while the encoded request stays below this, so that caches can help.
GET_LIMIT_OCTETS = 255


class Method(StrEnum):
    """How the request travels; AUTO is GET when it fits in 255 octets, POST otherwise."""

    AUTO = "auto"
    GET = "GET"
    POST = "POST"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP exchange: what was sent where, what came back, and how long it took.

    `headers` are in the order received, names as sent. `seconds` runs from the first octet sent to the last received
    and holds the connection's set-up when there was none yet.
    """

    method: str
    url: str
    http_status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    seconds: float

    def header(self, name: str) -> str | None:
        """The first header of that name, upper and lower case alike; None when there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def https_parts(url: str) -> SplitResult | None:
    """The parts of the URL of an https server, None when it is not one."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def get_path(base_path: str, request_der: bytes) -> str:
    """The path of a GET request: the responder's path, `/`, and the percent-encoded base64 of `request_der`."""
    return base_path.rstrip("/") + "/" + quote(base64.b64encode(request_der).decode(), safe="")


def choose_method(method: Method, request_der: bytes) -> str:
    """GET or POST for this request; resolves AUTO."""
    if method is not Method.AUTO:
        return method.value
    return "GET" if len(get_path("", request_der)) <= GET_LIMIT_OCTETS else "POST"


class Connection:
    """A kept-alive connection to one responder URL (http or https); not for use by several threads.

    `timeout_seconds` bounds each exchange as a whole, so a responder that sends one octet now and then cannot hold the
    caller. A larger body than `max_response_bytes` is refused. `tls` defaults to the system's trust anchors.

    Raises: ClientError when the URL is not one of http or https with a host.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 10.0,
        max_response_bytes: int = 1 << 20,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._timeout = timeout_seconds
        self._limit = max_response_bytes
        self._host, self._path, self._connection = _open(url, timeout_seconds, tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next exchange opens it again."""
        self._connection.close()

    def exchange(self, request_der: bytes, method: Method = Method.AUTO, content_type: str = REQUEST_TYPE) -> Exchange:
        """Send one OCSPRequest and return what came back, whatever its HTTP status.

        A kept-alive connection that the responder closed meanwhile is opened again once (asking twice does no harm).

        Raises: ClientError when there is no complete HTTP answer within the limits.
        """
        verb = choose_method(method, request_der)
        kept = self._connection.sock is not None
        try:
            try:
                return self._exchange_once(verb, request_der, content_type)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not kept:
                    raise
                self.close()
                return self._exchange_once(verb, request_der, content_type)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._failure(error) from error

    def _exchange_once(self, verb: str, request_der: bytes, content_type: str) -> Exchange:
        headers = {"Accept": RESPONSE_TYPE}
        path = self._path or "/"
        if verb == "GET":
            path, body = get_path(self._path, request_der), None
        else:
            headers["Content-Type"], body = content_type, request_der
        started = time.perf_counter()
        if self._connection.sock is None:
            self._connection.connect()
        with _Deadline(self._connection.sock, started + self._timeout):
            self._connection.request(verb, path, body=body, headers=headers)
            response = self._connection.getresponse()
            answer = self._read(response)
        seconds = time.perf_counter() - started
        if response.will_close:
            self._connection.close()
        sent_to = f"{self._host}{path}" if verb == "GET" else self.url
        return Exchange(verb, sent_to, response.status, tuple(response.getheaders()), answer, seconds)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        body = response.read(self._limit + 1)
        if response.length and len(body) <= self._limit:
            raise http.client.IncompleteRead(body, response.length)
        if len(body) > self._limit:
            self._connection.close()
            raise ClientError(
                f"the answer of {self.url} is larger than {self._limit} bytes",
                hint="is this the URL of an OCSP responder?",
            )
        return body

    def _failure(self, error: Exception) -> ClientError:
        if isinstance(error, TimeoutError):
            return ClientError(f"no answer from {self.url} within {self._timeout:g} s")
        if isinstance(error, ssl.SSLCertVerificationError):
            return ClientError(
                f"the TLS certificate of {self.url} is not trusted: {error.verify_message}",
                hint="name its CA, or ask over http: OCSP answers carry their own signature",
            )
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return ClientError(f"cannot ask {self.url}: {reason}", hint="is the responder running, and the port right?")


def _open(url: str, timeout_seconds: float, tls: ssl.SSLContext | None) -> tuple[str, str, http.client.HTTPConnection]:
    """Origin, path and a connection that is not open yet."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ClientError(f"not a URL: {url}") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise ClientError(f"not an http or https URL: {url}", hint="for example http://ocsp.example.test/ocsp")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ClientError(f"a responder's URL has no query, fragment, blank or control character: {url!r}")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    return f"{parts.scheme}://{parts.netloc}", parts.path, connection


class _Deadline:
    """Shuts the socket down at `at` (time.perf_counter), and turns what follows from it into TimeoutError."""

    def __init__(self, sock: socket.socket, at: float) -> None:
        self._sock = sock
        self._passed = False
        self._timer = threading.Timer(max(0.0, at - time.perf_counter()), self._shut)
        self._timer.daemon = True

    def _shut(self) -> None:
        self._passed = True
        try:
            # The plain socket's shutdown also under TLS: an SSLSocket would first drop its TLS state.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            return  # closed by its owner in the same moment

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._passed:
            raise TimeoutError from error
