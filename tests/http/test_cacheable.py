"""Caching headers are those of RFC 9919, and the cache stays within its bounds."""

from __future__ import annotations

import hashlib

import pytest
from tests.http.ee_fakes import AT, NEXT_UPDATE, THIS_UPDATE, get, post

from vouchd.http.cacheable import Entry, ResponseCache, Tally, http_date
from vouchd.http.reading import HTTPRequest, RequestReader

BODY = b"the response"


def entry(next_update: int | None = NEXT_UPDATE, second: int = AT) -> Entry:
    found = Entry(BODY, THIS_UPDATE, next_update, Tally())
    assert found.freshen(second, http_date(second))
    return found


def parse(chunk: bytes) -> HTTPRequest:
    reader = RequestReader(16384, 65536)
    reader.feed(chunk)
    return reader.requests[0]


def test_entry_head_has_the_headers_of_the_lightweight_profile():
    """Last-Modified is thisUpdate, Expires nextUpdate, max-age what is left, ETag the SHA-256 of the response."""
    head, _, body = entry().wire.partition(b"\r\n\r\n")
    assert body == BODY
    assert set(head.split(b"\r\n")) == {
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/ocsp-response",
        b"Content-Length: 12",
        b"Date: Sun, 15 Jun 2025 15:06:40 GMT",
        b"Last-Modified: Sun, 15 Jun 2025 14:06:40 GMT",
        b"Expires: Mon, 16 Jun 2025 15:06:40 GMT",
        b"Cache-Control: max-age=86400, public, no-transform, must-revalidate",
        b'ETag: "' + hashlib.sha256(BODY).hexdigest().encode() + b'"',
    }


def test_entry_freshen_counts_max_age_down_and_ends_at_next_update():
    """max-age never reaches past nextUpdate, and at nextUpdate the answer is not given any more."""
    found = entry()
    assert found.freshen(NEXT_UPDATE - 1, b"later")
    assert b"max-age=1," in found.wire
    assert b"Date: later\r\n" in found.wire
    assert found.body == BODY
    assert not found.freshen(NEXT_UPDATE, b"too late")
    assert b"too late" not in found.wire


def test_entry_without_next_update_must_be_revalidated():
    """Without nextUpdate newer information may be there at any time: no-cache, and no Expires."""
    wire = entry(None).wire
    assert b"Cache-Control: no-cache\r\n" in wire
    assert b"Expires" not in wire
    assert b"ETag" in wire


TAG = '"' + hashlib.sha256(BODY).hexdigest() + '"'


@pytest.mark.parametrize(
    "headers, matches",
    [
        (f"If-None-Match: {TAG}", True),
        (f'If-None-Match: "x", W/{TAG}', True),
        ("If-None-Match: *", True),
        ('If-None-Match: "x"', False),
        (f"If-None-Match: {TAG[1:-1]}", False),
        ("If-None-Match:", False),
        (f'If-None-Match: "x"\r\nIf-None-Match: {TAG}', True),
        (f'If-None-Match: "x"\r\nIf-Modified-Since: {http_date(AT).decode()}', False),
        (f"If-Modified-Since: {http_date(THIS_UPDATE).decode()}", True),
        (f"If-Modified-Since: {http_date(THIS_UPDATE - 1).decode()}", False),
        ("If-Modified-Since: yesterday", False),
        ("If-Modified-Since: Sun, 99 Jun 2025 14:06:40 GMT", False),
        ("If-Modified-Since: \xff", False),
        ("X: y", False),
    ],
)
def test_entry_matches_conditional_get(headers, matches):
    """If-None-Match goes before If-Modified-Since; a condition that is no date is ignored (RFC 9110 section 13)."""
    head = f"GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n".encode("latin-1")
    assert entry().matches(parse(head)) is matches


def test_entry_matches_no_condition_on_post():
    """A condition on a POST does not make a 304."""
    assert not entry().matches(parse(post(headers="If-None-Match: *\r\n")))


def test_cache_is_bounded_and_drops_what_was_not_used():
    """At capacity the oldest answer goes, unless it was used of late."""
    cache = ResponseCache(3)
    hot = entry(second=AT)
    cache.put(b"hot", hot, AT)
    for n in range(10):
        cache.put(b"cold%d" % n, entry(second=AT - 1000), AT)
    assert b"hot" in cache.by_der
    assert len(cache.by_der) == 3


def test_cache_with_all_in_use_stays_bounded():
    """A flood of fresh answers cannot grow the cache."""
    cache = ResponseCache(16)
    for n in range(100):
        cache.put(b"%d" % n, entry(), AT)
    assert len(cache.by_der) == 16


def test_cache_learn_keeps_parts_of_a_plain_request_only():
    """Nothing is remembered of a request that is not plain, or not written in the one canonical way."""
    cache = ResponseCache(3)
    for chunk in (get(headers="If-None-Match: *\r\n"), b"\r\n" + get(), get(headers=f"X: {'x' * 3000}\r\n")):
        cache.learn(chunk, parse(chunk), entry(), AT)
    cache.learn(b"\r\n" + post(), parse(post()), entry(), AT)
    assert not cache.by_line
    assert not cache.get_heads
    assert not cache.post_heads


def test_cache_learn_bounds_header_blocks():
    """Clients with ever new headers cannot grow what is remembered of headers."""
    cache = ResponseCache(3)
    for n in range(5000):
        for chunk in (get(headers=f"X: {n}\r\n"), post(headers=f"X: {n}\r\n")):
            request = HTTPRequest(
                method=chunk.partition(b" ")[0], target=chunk.split(b" ")[1], body=b"0good", plain=True
            )
            cache.learn(chunk, request, entry(), AT)
    assert 0 < len(cache.get_heads) <= 4096
    assert 0 < len(cache.post_heads) <= 4096
    assert len(cache.by_line) == 1


def test_cache_forget_drops_answers_in_place():
    """Connections hold on to the dictionaries: they are emptied, not replaced."""
    cache = ResponseCache(3)
    ders, lines = cache.by_der, cache.by_line
    cache.put(b"x", entry(), AT)
    cache.learn(get(), parse(get()), entry(), AT)
    assert ders
    assert lines
    cache.forget()
    assert not ders
    assert not lines
