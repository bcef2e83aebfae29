"""The octets of an HTTP answer: what goes around an OCSP response, made once for all answers on the same terms.

Headers are those of RFC 9919 (which replaces RFC 5019): Last-Modified is thisUpdate, Expires is nextUpdate, max-age
ends at nextUpdate, ETag is the SHA-256 of the response. Where each signing makes another signature (ECDSA on a token,
RSA-PSS, ML-DSA) two workers or members have other octets for the same answer: there ETag is a weak one (RFC 9110
section 8.8.1) over all but the signature, so that a cache may ask any of them whether what it has still holds. OCSP
errors are HTTP 200 (RFC 6960 appendix A.2), and nobody may store them.

All that answers on the same terms (`service.terms.Terms`) have in common is their `Frame`, so an answer is one join
and one write. What is cached stands in memory once, as it is sent.
"""

from __future__ import annotations

import hashlib
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

from vouchd.audit.answer_records import Note
from vouchd.ee.http_request import HTTPRequest
from vouchd.errors import OCSPResponseStatus
from vouchd.service.assembling import Draft
from vouchd.service.terms import Answer, Terms

_TYPE = b"Content-Type: application/ocsp-response\r\n"

REASONS: dict[int, bytes] = {
    200: b"200 OK",
    204: b"204 No Content",
    304: b"304 Not Modified",
    400: b"400 Bad Request",
    403: b"403 Forbidden",
    404: b"404 Not Found",
    405: b"405 Method Not Allowed",
    408: b"408 Request Timeout",
    413: b"413 Content Too Large",
    431: b"431 Request Header Fields Too Large",
    503: b"503 Service Unavailable",
}

# A date in any of the forms that HTTP knows is shorter.
_DATE_BYTES = 64

_ETAG, _WEAK_ETAG = b'ETag: "', b'ETag: W/"'
_ETAG_OCTETS = 64

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@lru_cache(maxsize=4096)  # the times of a CRL stand in the head of each of its answers
def http_date(second: int) -> bytes:
    """IMF-fixdate of a POSIX second (RFC 9110 section 5.6.7)."""
    return formatdate(second, usegmt=True).encode()


def error_der(status: OCSPResponseStatus) -> bytes:
    """OCSPResponse without responseBytes."""
    return bytes((0x30, 3, 0x0A, 1, status))


class Uncacheable(NamedTuple):
    """An answer that nobody may store; `extra` is header lines.

    `note` is what the audit log is told of it, None for nothing. `type_line` is the header line of its media type.
    """

    body: bytes
    status: int = 200
    extra: bytes = b""
    note: Note | None = None
    type_line: bytes = _TYPE

    def head(self, date: bytes) -> bytes:
        """Status line and headers without the last empty line."""
        if self.status == 204:  # RFC 9110 section 8.6: without Content-Length
            return b"HTTP/1.1 %b\r\nCache-Control: no-store\r\nDate: %b\r\n%b" % (REASONS[204], date, self.extra)
        return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\nCache-Control: no-store\r\nDate: %b\r\n%b" % (
            REASONS[self.status],
            self.type_line,
            len(self.body),
            date,
            self.extra,
        )

    def wire(self, date: bytes) -> bytes:
        """The whole answer for a persistent connection."""
        return b"%b\r\n%b" % (self.head(date), self.body)


def refusal(http_status: int, ocsp_status: OCSPResponseStatus, extra: bytes = b"") -> Uncacheable:
    """An OCSP error under an HTTP status; the body is OCSP whatever the status, never text or HTML."""
    return Uncacheable(error_der(ocsp_status), http_status, extra)


class Tally:
    """Successful answers of one kind; the hot path counts here and nowhere else.

    `gets` and `posts` were found in the cache without parsing, with `sent_bytes` sent for them; `parsed` went through
    the parser first. `made` were signed.
    """

    __slots__ = ("gets", "made", "parsed", "posts", "sent_bytes")

    def __init__(self) -> None:
        self.gets = 0
        self.posts = 0
        self.parsed = 0
        self.sent_bytes = 0
        self.made = 0


# What goes before what is signed, between it and the signature, and behind that.
_Around = tuple[bytes, bytes, bytes]


class Frame:
    """What goes around all answers on the same terms; `tally` counts them.

    No cache is told to keep one for longer than from thisUpdate to nextUpdate, wherever the clock stands.
    """

    __slots__ = ("_after", "_around", "_before", "_expires", "_lifetime", "_second", "etag_begins", "tally", "terms")

    def __init__(self, terms: Terms, tally: Tally) -> None:
        self.terms = terms
        self.tally = tally
        self.etag_begins = _ETAG if terms.repeats else _WEAK_ETAG
        ends_at = terms.next_update
        self._lifetime = (ends_at or 0) - terms.this_update
        self._expires = b"" if ends_at is None else b"Expires: %b\r\n" % http_date(ends_at)
        self._second, self._before, self._after = -1, b"", b""
        # Of answers that nobody may store, by the sizes of what is signed and of the signature.
        self._around: dict[tuple[int, int], _Around] = {}

    def fresh_at(self, second: int) -> bool:
        """Whether an answer may be given that was made before."""
        terms = self.terms
        if not terms.basis.current or second < terms.begins_at:
            return False
        if terms.fresh_until is not None and second > terms.fresh_until:
            return False
        return terms.next_update is None or second < terms.next_update

    def modified(self, second: int) -> int:
        """Last-Modified: thisUpdate, but never after Date (RFC 9110 section 8.8.2.1)."""
        return min(self.terms.this_update, second)

    def wire(self, etag: bytes, body: bytes, second: int, date: bytes) -> bytes:
        """The whole answer for a persistent connection; `body` is the response."""
        if second != self._second:
            self._renew(second, date)
        return b"".join((self._before, etag, self._after, b"%d\r\n\r\n" % len(body), body))

    def head(self, status: int, etag: bytes, size: int, second: int, date: bytes) -> bytes:
        """Status line and headers without the last empty line; 304 has those of RFC 9110 section 15.4.5."""
        ending = b"%bContent-Length: %d\r\n" % (_TYPE, size) if status != 304 else b""
        return b"".join((self._up_to_etag(status, second, date), etag, self._from_etag(second), ending))

    def once(self, draft: Draft, signature: bytes, second: int, date: bytes) -> bytes:
        """The whole of an answer that nobody may store, as `Uncacheable.wire` gives it, in fewer steps."""
        if second != self._second:
            self._renew(second, date)
        tbs = draft.tbs
        sizes = len(tbs), len(signature)
        before, middle, certs_der = self._around.get(sizes) or self._go_around(sizes, draft, signature, date)
        return b"".join((before, tbs, middle, signature, certs_der))

    def _go_around(self, sizes: tuple[int, int], draft: Draft, signature: bytes, date: bytes) -> _Around:
        """What goes around all answers of these two sizes in this second."""
        head, middle, certs_der, size = draft.envelope(signature)
        around = self._around[sizes] = Uncacheable(bytes(size)).head(date) + b"\r\n" + head, middle, certs_der
        return around

    def _renew(self, second: int, date: bytes) -> None:
        self._second = second
        self._before = self._up_to_etag(200, second, date)
        self._after = b"%b%bContent-Length: " % (self._from_etag(second), _TYPE)
        self._around = {}

    def _up_to_etag(self, status: int, second: int, date: bytes) -> bytes:
        ends_at = self.terms.next_update
        control = (
            b"no-cache"  # no nextUpdate: newer information may be there at any time, so ask each time
            if ends_at is None
            else b"max-age=%d, public, no-transform, must-revalidate" % min(ends_at - second, self._lifetime)
        )
        return b"HTTP/1.1 %b\r\nDate: %b\r\nCache-Control: %b\r\n%b" % (
            REASONS[status],
            date,
            control,
            self.etag_begins,
        )

    def _from_etag(self, second: int) -> bytes:
        return b'"\r\nLast-Modified: %b\r\n%b' % (http_date(self.modified(second)), self._expires)


class Entry:
    """One cached answer: `wire` is the complete HTTP answer for a persistent connection as of `second`.

    `note` is what the audit log is told when it is given, None for nothing. While it is kept, `key` is its request,
    `lines` are the request lines that lead to it, `cost` is what all of that takes of the cache's bytes, and `uses`
    counts how often it was given.
    """

    __slots__ = ("_body_bytes", "basis", "cost", "frame", "key", "lines", "note", "second", "tally", "uses", "wire")

    def __init__(self, answer: Answer, frame: Frame, second: int, date: bytes, note: Note | None = None) -> None:
        self.frame = frame
        self.tally = frame.tally
        self.basis = frame.terms.basis
        self.note = note
        self.key = b""
        self.lines: tuple[bytes, ...] = ()
        self.cost = 0
        self.uses = 0
        body = answer.response_der
        self._body_bytes = len(body)
        digest = hashlib.sha256(body if frame.terms.repeats else answer.signed_octets).hexdigest().encode()
        self.wire = frame.wire(digest, body, second, date)
        self.second = second

    @property
    def etag(self) -> bytes:
        """The entity tag as it is compared: weakly, so without what says that it is weak."""
        return b'"%b"' % self._digest()

    def _digest(self) -> bytes:
        begins = self.frame.etag_begins
        start = self.wire.index(begins) + len(begins)
        return self.wire[start : start + _ETAG_OCTETS]

    @property
    def body(self) -> bytes:
        """DER of OCSPResponse."""
        return self.wire[-self._body_bytes :]

    @property
    def slot_end(self) -> int | None:
        """See Terms."""
        return self.frame.terms.slot_end

    def freshen(self, second: int, date: bytes) -> bool:
        """Renew Date and max-age; False when the answer may not be used any more."""
        if not self.frame.fresh_at(second):
            return False
        if self.second != second:
            self.wire = self.frame.wire(self._digest(), self.body, second, date)
            self.second = second
        return True

    def head(self, status: int, second: int, date: bytes) -> bytes:
        """Status line and headers without the last empty line."""
        return self.frame.head(status, self._digest(), self._body_bytes, second, date)

    def matches(self, request: HTTPRequest) -> bool:
        """Whether a conditional GET or HEAD is answered with 304 (RFC 9110 section 13.2.2)."""
        if request.method == b"POST":
            return False
        if request.if_none_match is not None:
            tags = {tag.strip().removeprefix(b"W/") for tag in request.if_none_match.split(b",")}
            return b"*" in tags or self.etag in tags
        return request.if_modified_since is not None and self._unmodified_since(request.if_modified_since)

    def _unmodified_since(self, value: bytes) -> bool:
        """Whether who has an answer of that date has this one.

        Last-Modified is thisUpdate, which two answers may have in common, and an older answer may have a later one; and
        some send the moment at which they asked. A 304 would keep the former answer alive: it takes both, or certainty.
        """
        if len(value) > _DATE_BYTES:
            return False
        try:
            since = parsedate_to_datetime(value.decode("ascii")).timestamp()
        except (ValueError, OverflowError):  # not a date: the condition is ignored (RFC 9110 section 13.1.3)
            return False
        terms, modified = self.frame.terms, self.frame.modified(self.second)
        return modified <= since and (since >= terms.settled_at or (terms.is_dated and since == modified))


Reply = Entry | Uncacheable
