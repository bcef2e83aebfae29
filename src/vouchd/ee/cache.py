"""The bytes of an HTTP answer, and the cache of complete ones.

Headers are those of RFC 9919 (which replaces RFC 5019): Last-Modified is thisUpdate, Expires is nextUpdate, max-age
ends at nextUpdate, ETag is the SHA-256 of the response. OCSP errors are HTTP 200 (RFC 6960 appendix A.2), and nobody
may store them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from email.utils import formatdate, parsedate_to_datetime
from typing import NamedTuple

from vouchd.audit.answer_records import Note
from vouchd.ee.getpath import PREFIXES
from vouchd.ee.http_request import HTTPRequest
from vouchd.ee.plain import announced_body_bytes
from vouchd.errors import OCSPResponseStatus

_TYPE = b"Content-Type: application/ocsp-response\r\n"

REASONS: dict[int, bytes] = {
    200: b"200 OK",
    204: b"204 No Content",
    304: b"304 Not Modified",
    400: b"400 Bad Request",
    404: b"404 Not Found",
    405: b"405 Method Not Allowed",
    408: b"408 Request Timeout",
    413: b"413 Content Too Large",
    431: b"431 Request Header Fields Too Large",
    503: b"503 Service Unavailable",
}

# A date in any of the forms that HTTP knows is shorter.
_DATE_BYTES = 64

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def http_date(second: int) -> bytes:
    """IMF-fixdate of a POSIX second (RFC 9110 section 5.6.7)."""
    return formatdate(second, usegmt=True).encode()


def error_der(status: OCSPResponseStatus) -> bytes:
    """OCSPResponse without responseBytes."""
    return bytes((0x30, 3, 0x0A, 1, status))


class Uncacheable(NamedTuple):
    """An answer that nobody may store: an OCSP error, or one with a nonce; `extra` is header lines.

    `note` is what the audit log is told of it, None for nothing.
    """

    body: bytes
    status: int = 200
    extra: bytes = b""
    note: Note | None = None

    def head(self, date: bytes) -> bytes:
        """Status line and headers without the last empty line."""
        if self.status == 204:  # RFC 9110 section 8.6: without Content-Length
            return b"HTTP/1.1 %b\r\nCache-Control: no-store\r\nDate: %b\r\n%b" % (REASONS[204], date, self.extra)
        return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\nCache-Control: no-store\r\nDate: %b\r\n%b" % (
            REASONS[self.status],
            _TYPE,
            len(self.body),
            date,
            self.extra,
        )


def refusal(http_status: int, ocsp_status: OCSPResponseStatus, extra: bytes = b"") -> Uncacheable:
    """An OCSP error under an HTTP status; the body is OCSP whatever the status, never text or HTML."""
    return Uncacheable(error_der(ocsp_status), http_status, extra)


class Tally:
    """Cache hits of one kind of answer; the hot path counts here and nowhere else.

    `gets` and `posts` were found without parsing, with `sent_bytes` sent for them; `parsed` went through the parser.
    """

    __slots__ = ("gets", "parsed", "posts", "sent_bytes")

    def __init__(self) -> None:
        self.gets = 0
        self.posts = 0
        self.parsed = 0
        self.sent_bytes = 0


class Entry:
    """One cached answer: `wire` is the complete HTTP answer for a persistent connection as of `second`.

    `note` is what the audit log is told when it is given, None for nothing; `fresh_until` the last second in which it
    may be given, whatever nextUpdate says. While it is kept, `key` is its request, `lines` are the request lines that
    lead to it, and `cost` is what all of that takes of the cache's bytes.
    """

    __slots__ = (
        "_body_bytes",
        "_expires",
        "_lasting",
        "_max_age",
        "_validators",
        "cost",
        "fresh_until",
        "key",
        "lines",
        "next_update",
        "note",
        "second",
        "tally",
        "this_update",
        "wire",
    )

    def __init__(
        self,
        body: bytes,
        this_update: int,
        next_update: int | None,
        tally: Tally,
        note: Note | None = None,
        fresh_until: int | None = None,
        *,
        lifetime: int = 1 << 31,
    ) -> None:
        """No cache is told to keep it for more than `lifetime` seconds, wherever the clock stands."""
        self.fresh_until = fresh_until
        self.note = note
        self.key = b""
        self.lines: tuple[bytes, ...] = ()
        self.cost = 0
        self.this_update = this_update
        self.next_update = next_update
        self.tally = tally
        self.second = -1
        self.wire = body  # until the first `freshen` there is no head
        self._body_bytes = len(body)
        self._validators = b'ETag: "%b"\r\nLast-Modified: %b\r\n' % (
            hashlib.sha256(body).hexdigest().encode(),
            http_date(this_update),
        )
        self._max_age = lifetime
        self._expires = b"" if next_update is None else b"Expires: %b\r\n" % http_date(next_update)
        self._lasting = b"%bContent-Length: %d\r\n" % (_TYPE, len(body))

    @property
    def etag(self) -> bytes:
        """The quoted entity tag."""
        return self._validators[6:72]

    @property
    def body(self) -> bytes:
        """DER of OCSPResponse."""
        return self.wire[-self._body_bytes :]

    def fresh_at(self, second: int) -> bool:
        """Whether the answer may still be given."""
        if self.fresh_until is not None and second > self.fresh_until:
            return False
        return self.next_update is None or second < self.next_update

    def freshen(self, second: int, date: bytes) -> bool:
        """Renew Date and max-age; False when nextUpdate has come and the answer may not be used any more."""
        if not self.fresh_at(second):
            return False
        self.wire = b"".join((self.head(200, second, date), b"\r\n", self.body))
        self.second = second
        return True

    def head(self, status: int, second: int, date: bytes) -> bytes:
        """Status line and headers without the last empty line; 304 has those of RFC 9110 section 15.4.5."""
        control = (
            b"no-cache"  # no nextUpdate: newer information may be there at any time, so ask each time
            if self.next_update is None
            else b"max-age=%d, public, no-transform, must-revalidate" % min(self.next_update - second, self._max_age)
        )
        return b"HTTP/1.1 %b\r\nDate: %b\r\nCache-Control: %b\r\n%b%b%b" % (
            REASONS[status],
            date,
            control,
            self._validators,
            self._expires,
            self._lasting if status != 304 else b"",
        )

    def matches(self, request: HTTPRequest) -> bool:
        """Whether a conditional GET or HEAD is answered with 304 (RFC 9110 section 13.2.2)."""
        if request.method == b"POST":
            return False
        if request.if_none_match is not None:
            tags = {tag.strip().removeprefix(b"W/") for tag in request.if_none_match.split(b",")}
            return b"*" in tags or self.etag in tags
        return request.if_modified_since is not None and self._unmodified_since(request.if_modified_since)

    def _unmodified_since(self, value: bytes) -> bool:
        if len(value) > _DATE_BYTES:
            return False
        try:
            return self.this_update <= parsedate_to_datetime(value.decode("ascii")).timestamp()
        except (ValueError, OverflowError):  # not a date: the condition is ignored (RFC 9110 section 13.1.3)
            return False


# Kinds of clients are few; behind a proxy that adds X-Forwarded-For they are many, and then this is started afresh.
MAX_HEADS_BYTES = 1 << 20
_HEAD_BYTES = 150  # what a remembered head takes beside its own bytes

# An answer used of late is kept at an eviction, unless so many in a row are.
SECOND_CHANCES = 8
USED_WITHIN_SECONDS = 60

# A longer request is not one that many send (ten CertIDs, or an extension that nobody knows): it leaves nothing here.
MAX_REQUEST_BYTES = 1024
# The ways to write one request in a path: base64 escaped or not, under each prefix. Others are parsed each time.
MAX_LINES = 4

# What an answer takes beside its request and its body: headers twice, objects, its place in the dictionary.
_ENTRY_BYTES = 1500
_LINE_BYTES = 150
_TRIPLE_BYTES = 250


class ResponseCache:
    """Answers by request DER, and what lets the hot path find them without the parser; bounded in bytes.

    `by_line` has the answers to GET by request line, of lines that were parsed and answered before. `heads` has what
    `plain.announced_body_bytes` said of header lines (GET) and of whole heads (POST). A chunk that is a known line and
    plain lines, or a plain head and a body of its length that is a known DER, is one complete request and nothing else.
    The dictionaries are cleared in place: connections hold on to them. `size_bytes` is what answers with all that leads
    to them take; it never exceeds the capacity.
    """

    def __init__(self, capacity_bytes: int, max_entries: int = 1 << 30, prefixes: tuple[bytes, ...] = PREFIXES) -> None:
        """`prefixes` are the paths of the service, without slashes at their ends."""
        self.by_der: OrderedDict[bytes, Entry] = OrderedDict()  # a dict would search long for its oldest key
        self.by_line: dict[bytes, Entry] = {}
        self.heads: dict[bytes, int] = {}
        self.size_bytes = 0
        self._heads_bytes = 0
        self._capacity_bytes = capacity_bytes
        self._max_entries = max(max_entries, 1)
        # Request lines of POST that need no look at the path.
        paths = [b"", *prefixes, *(prefix + b"/" for prefix in prefixes)]
        self._post_lines = frozenset(b"POST /%b HTTP/1.1" % path for path in paths)

    def put(self, request_der: bytes, entry: Entry, second: int) -> None:
        """Keep `entry` as the answer to `request_der`, unless that is too long to be asked often."""
        former = self.by_der.get(request_der)
        if former is not None:
            self._drop(former)
        cost = _ENTRY_BYTES + len(request_der) + len(entry.body) + _note_bytes(entry.note)
        if len(request_der) > MAX_REQUEST_BYTES or cost > self._capacity_bytes:
            return
        while len(self.by_der) >= self._max_entries or self.size_bytes + cost > self._capacity_bytes:
            self._evict(second)
        entry.key, entry.cost = request_der, cost
        self.by_der[request_der] = entry
        self.size_bytes += cost

    def learn(self, request: HTTPRequest, entry: Entry, second: int) -> None:
        """Remember the request line of a GET that got `entry`; the parser has seen the line."""
        if request.method != b"GET" or request.http_1_0 or not entry.key or len(entry.lines) >= MAX_LINES:
            return
        line = b"GET %b HTTP/1.1" % request.target
        if line in self.by_line or len(line) > 2 * MAX_REQUEST_BYTES:
            return
        cost = _LINE_BYTES + len(line)
        self.by_line[line] = entry
        entry.lines += (line,)
        entry.cost += cost
        self.size_bytes += cost
        while self.size_bytes > self._capacity_bytes:
            self._evict(second)

    def lines_are_plain(self, lines: bytes) -> bool:
        """Whether the header lines of a GET, with the empty line after them, end the request and ask for no more."""
        return lines[-4:] == b"\r\n\r\n" and self._remember(lines, announced_body_bytes(lines[:-2])) == 0

    def head_bytes(self, head: bytes) -> int | None:
        """How long a body follows the head of a POST (without its last two CRLF), None when it has to be parsed."""
        line, _, lines = head.partition(b"\r\n")
        return self._remember(head, announced_body_bytes(lines + b"\r\n")) if line in self._post_lines else None

    def _remember(self, head: bytes, length: int | None) -> int | None:
        if length is not None:
            if self._heads_bytes > MAX_HEADS_BYTES:
                self.heads.clear()
                self._heads_bytes = 0
            self.heads[head] = length
            self._heads_bytes += _HEAD_BYTES + len(head)
        return length

    def forget(self) -> None:
        """Drop every answer; what is known of heads stays true."""
        self.by_der.clear()
        self.by_line.clear()
        self.size_bytes = 0

    def _evict(self, second: int) -> None:
        """Take out the oldest entry; one that was used of late goes to the end of the line instead, a few times."""
        for _ in range(SECOND_CHANCES):
            key, entry = next(iter(self.by_der.items()))
            if entry.second < second - USED_WITHIN_SECONDS:
                break
            self.by_der.move_to_end(key)
        self._drop(next(iter(self.by_der.values())))

    def _drop(self, entry: Entry) -> None:
        del self.by_der[entry.key]
        for line in entry.lines:
            del self.by_line[line]
        self.size_bytes -= entry.cost
        entry.key, entry.lines = b"", ()


def _note_bytes(note: Note | None) -> int:
    """What the audit log's part of an answer takes, a character at its widest."""
    return sum(_TRIPLE_BYTES + 4 * sum(map(len, triple)) for triple in note or ())
