"""HTTP/1.x requests out of a byte stream: no socket, no clock; httptools parses, this file decides what is taken.

Framing is never guessed (RFC 9112 section 6.3): Content-Length together with Transfer-Encoding, a repeated or malformed
length, any transfer coding but `chunked`, obsolete line folding and bare line feeds end the connection with 400.

An offer of another protocol (`Upgrade`, mostly h2c) is ignored, and the message is an ordinary one (RFC 9110 section
7.8). httptools takes every such request for one without a body and stops behind its head: what follows would be the
next request, whoever wrote it. So a fresh parser goes on from there, which has first seen a head that says nothing but
how this message is framed: the one reading of bodies is the parser's.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Any

import httptools

# Looked at; every other header only counts towards the size limit.
_FIELDS = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"if-none-match",
        b"if-modified-since",
        b"x-forwarded-for",
    }
)


# uri-host with its port, or nothing at all (RFC 9110 section 7.2): an IPv6 address, or a name.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
    rb"(?::[0-9]{0,5})?"
)


@dataclass(slots=True)
class HTTPRequest:
    """One request; `refused` is the HTTP status of what could not be taken, 0 for a good request."""

    method: bytes = b""
    target: bytes = b""
    body: bytes = b""
    keep_alive: bool = False
    http_1_0: bool = False
    if_none_match: bytes | None = None
    if_modified_since: bytes | None = None
    forwarded_for: bytes | None = None
    refused: int = 0


class RequestReader:
    """Feeds on chunks; whole requests appear in `requests` in order. After a refusal or a last request it is `done`."""

    def __init__(self, max_header_bytes: int, max_body_bytes: int) -> None:
        self.requests: deque[HTTPRequest] = deque()
        self.begun = 0  # how many requests have begun: tells a slow request from a new one
        self.in_message = False
        self.expects_continue = False
        self.done = False
        self.ended = False  # the client will send no more; whoever owns the socket says so
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._refusal = 400
        self._parser: Any = httptools.HttpRequestParser(self)
        self._framing = b""  # the head for a fresh parser; while it stands, what the parsers call is nothing new
        self._begin()

    def feed(self, data: bytes) -> None:
        """Take the next chunk; data after `done` is ignored."""
        begun, size = self.begun, len(data)
        while data and not self.done:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                if self._framing:
                    self._parser.feed_data(self._framing)
                    self._framing = b""
            except httptools.HttpParserError:
                self._refuse(self._refusal)
        self._limit_unfinished_head(size if begun == self.begun else 0)

    @property
    def is_idle(self) -> bool:
        """Whether all that was read is served, nothing has begun, and more may come."""
        return not (self.in_message or self.requests or self.done or self.ended)

    def close(self) -> None:
        """Break the cycle between parser and reader, so that a connection's memory goes at once."""
        self.done = True
        self._parser = None

    # What httptools calls; an exception raised in here comes out of feed_data as HttpParserCallbackError.

    def on_message_begin(self) -> None:
        """Called at the first byte of a request."""
        if self._framing:
            return
        self.begun += 1
        self.in_message = True
        self._begin()

    def _begin(self) -> None:
        self._in_head = True
        self._unfinished_head_bytes = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def on_url(self, part: bytes) -> None:
        """Called with each piece of the request target."""
        if self._framing:
            return
        self._target += part
        self._count_head(len(part))

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """Called with each header field, and with each trailer field, which only counts."""
        if self._framing:
            return
        self._count_head(len(name) + len(value or b"") + 4)
        name = name.lower()
        if name not in _FIELDS or not self._in_head:
            return
        value = (value or b"").strip()
        if name in self._headers:
            if name == b"host":
                self._stop(400)
            value = self._headers[name] + b", " + value  # RFC 9110 section 5.3
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Called at the empty line: what can be refused is refused before the body is asked for."""
        if self._framing:
            return
        self._in_head = False
        headers, version = self._headers, self._parser.get_http_version()
        coding = headers.get(b"transfer-encoding")
        host = headers.get(b"host", b"" if version == "1.0" else None)
        if version not in ("1.1", "1.0") or host is None or not _HOST.fullmatch(host):
            self._stop(400)
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            self._stop(400)
        length = int(headers.get(b"content-length", b"0"))
        if length > self._max_body_bytes:
            self._stop(413)
        wants = headers.get(b"expect", b"").lower() == b"100-continue"
        self.expects_continue = wants and version == "1.1" and (length > 0 or coding is not None)
        method = self._parser.get_method()
        if self._parser.should_upgrade() and method != b"CONNECT" and (length > 0 or coding is not None):
            self._framing = b"%b / HTTP/%b\r\nHost: a\r\nConnection: %b\r\n%b\r\n" % (
                method,
                version.encode(),
                b"keep-alive" if self._parser.should_keep_alive() else b"close",
                b"Content-Length: %d\r\n" % length if coding is None else b"Transfer-Encoding: chunked\r\n",
            )

    def on_body(self, part: bytes) -> None:
        """Called with each piece of the body."""
        self.expects_continue = False
        self._body_bytes += len(part)
        if self._body_bytes > self._max_body_bytes:
            self._stop(413)
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Called at the last byte of a request."""
        if self._framing:  # its body is still to come
            return
        self.in_message = self.expects_continue = False
        method = self._parser.get_method()
        keep_alive = self._parser.should_keep_alive() and method != b"CONNECT"
        self.requests.append(
            HTTPRequest(
                method=method,
                target=self._target,
                body=b"".join(self._body),
                keep_alive=keep_alive,
                http_1_0=self._parser.get_http_version() == "1.0",
                if_none_match=self._headers.get(b"if-none-match"),
                if_modified_since=self._headers.get(b"if-modified-since"),
                forwarded_for=self._headers.get(b"x-forwarded-for"),
            )
        )
        self.done = not keep_alive

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._max_header_bytes:
            self._stop(431)

    def _limit_unfinished_head(self, size: int) -> None:
        """The parser keeps an unfinished header line to itself: count what it was fed since the request began."""
        if self.in_message and self._in_head and not self.done:
            self._unfinished_head_bytes += size
            if self._unfinished_head_bytes > self._max_header_bytes:
                self._refuse(431)

    def _stop(self, status: int) -> None:
        self._refusal = status
        raise ValueError(status)

    def _refuse(self, status: int) -> None:
        """Put the refusal in its place in the order of answers, and read no further."""
        if not self.done:
            self.in_message = self.expects_continue = False
            self.done = True
            self.requests.append(HTTPRequest(refused=status))
