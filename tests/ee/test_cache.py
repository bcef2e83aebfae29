"""Caching headers are those of RFC 9919, and the cache stays within its bounds."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ee.ee_fakes import AT, NEXT_UPDATE, THIS_UPDATE, cached_answer, get, post

from vouchd.ee.cache import MAX_HEADS_BYTES, MAX_LINES, MAX_REQUEST_BYTES, ResponseCache
from vouchd.ee.http_request import HTTPRequest, RequestReader
from vouchd.ee.replies import Entry, http_date
from vouchd.service.terms import Answer

BODY = b"the response"


def entry(next_update: int | None = NEXT_UPDATE, second: int = AT) -> Entry:
    return cached_answer(BODY, next_update, second)


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
    first = entry()
    assert first.freshen(NEXT_UPDATE - 1, b"later")
    assert b"max-age=1," in first.wire
    assert b"Date: later\r\n" in first.wire
    assert first.body == BODY
    assert not first.freshen(NEXT_UPDATE, b"too late")
    assert b"too late" not in first.wire


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


MANY = 1 << 30


def test_cache_is_bounded_and_drops_what_was_not_used():
    """At capacity the oldest answer goes, unless it was given again of late."""
    cache = ResponseCache(MANY, 3)
    hot = entry(second=AT)
    hot.uses = 1
    cache.put(b"hot", hot, AT)
    for n in range(10):
        cache.put(b"cold%d" % n, entry(second=AT - 1000), AT)
    assert b"hot" in cache.by_der
    assert len(cache.by_der) == 3


def test_cache_what_is_asked_once_pushes_out_no_answer_that_is_asked_again():
    """Who asks for each serial once, however fast, takes no place of an answer that others ask for."""
    cache = ResponseCache(MANY, 10)
    for n in range(5):
        cache.put(b"hot%d" % n, entry(), AT)
        cache.by_der[b"hot%d" % n].uses = 1
    for n in range(1000):
        cache.put(b"cold%d" % n, entry(), AT)
    assert {b"hot%d" % n for n in range(5)} <= set(cache.by_der)
    assert len(cache.by_der) == 10


@pytest.mark.parametrize("uses", [0, 1])
@pytest.mark.parametrize("limits", [(MANY, 16), (16 * 900, 1000)], ids=["entries", "bytes"])
def test_cache_with_all_in_use_stays_bounded(limits, uses):
    """A flood of fresh answers cannot grow the cache, whichever bound it meets."""
    cache = ResponseCache(*limits)
    for n in range(100):
        fresh = entry()
        fresh.uses = uses
        cache.put(b"%d" % n, fresh, AT)
        assert len(cache.by_der) <= 16
        assert cache.size_bytes <= limits[0]
    assert len(cache.by_der) > 10


@settings(max_examples=50)
@given(st.lists(st.tuples(st.binary(max_size=4), st.integers(0, 3000), st.integers(0, 5)), max_size=60))
def test_cache_counts_what_it_keeps_and_never_exceeds_its_bytes(puts):
    """Whatever is put, asked in whatever spelling and put again: the count is the sum of what is there, within bounds."""
    cache = ResponseCache(20_000)
    for key, size, spelling in puts:
        answer = cached_answer(bytes(size), note=(("CA", "0x01", "good"),))
        cache.put(key, answer, AT)
        cache.learn(HTTPRequest(b"GET", target=b"/%d-%b" % (spelling, key)), cache.by_der.get(key, answer), AT)
        assert cache.size_bytes == sum(kept.cost for kept in cache.by_der.values()) <= 20_000
        assert {id(kept) for kept in cache.by_line.values()} <= {id(kept) for kept in cache.by_der.values()}
        assert set(cache.by_line) == {line for kept in cache.by_der.values() for line in kept.lines}
    for answer in list(cache.by_der.values()):
        answer.basis.current = False
    for lot in cache.dead():
        cache.sweep(lot, 100)
    assert (cache.size_bytes, dict(cache.by_der), cache.by_line) == (0, {}, {})


def test_cache_counts_no_less_than_the_memory_it_takes():
    """The bytes that are counted are those of the process: requests, answers, headers and objects together."""
    cache, frame = ResponseCache(MANY), cached_answer().frame
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(2000):
            answer = Entry(Answer((n.to_bytes(2, "big") * 700,), frame.terms), frame, AT, http_date(AT))
            cache.put(b"request %d" % n * 8, answer, AT)
            cache.learn(HTTPRequest(b"GET", target=b"/ocsp/%d" % n * 20), answer, AT)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 * cache.size_bytes < taken < cache.size_bytes


def test_cache_keeps_no_answer_to_an_oversized_request():
    """A request padded by a stranger is answered and forgotten."""
    cache = ResponseCache(MANY)
    cache.put(bytes(MAX_REQUEST_BYTES + 1), entry(), AT)
    assert (len(cache.by_der), cache.size_bytes) == (0, 0)
    cache.put(bytes(MAX_REQUEST_BYTES), entry(), AT)
    assert len(cache.by_der) == 1


def test_cache_keeps_few_spellings_of_one_request():
    """Base64 can be escaped in endless ways: a few lines lead to an answer, the others are parsed."""
    cache, answer = ResponseCache(MANY), entry()
    cache.put(b"request", answer, AT)
    for n in range(100):
        cache.learn(HTTPRequest(b"GET", target=b"/%d" % n), answer, AT)
    assert len(cache.by_line) == len(answer.lines) == MAX_LINES


def test_cache_learn_keeps_request_lines_of_http_1_1_gets_only():
    """Another method or version has other rules for its connection: its line is not remembered."""
    cache, answer = ResponseCache(MANY), entry()
    cache.put(b"request", answer, AT)
    for chunk in (post(), get(method="HEAD"), get(version="1.0", headers="Connection: keep-alive\r\n")):
        cache.learn(parse(chunk), answer, AT)
    assert not cache.by_line
    cache.learn(parse(get()), answer, AT)
    assert list(cache.by_line) == [get().partition(b"\r\n")[0]]


def test_cache_learns_no_line_of_an_answer_that_is_not_kept():
    """A line leads to a kept answer or to none: what was dropped cannot be found."""
    cache = ResponseCache(MANY)
    cache.learn(parse(get()), entry(), AT)
    assert not cache.by_line


def test_cache_heads_are_bounded():
    """Clients with ever new headers cannot grow what is remembered of heads."""
    cache = ResponseCache(MANY)
    for n in range(12_000):
        assert cache.lines_are_plain(b"Host: a\r\nX: %d\r\n\r\n" % n)
        assert cache.head_bytes(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: %d" % n) == n
        assert sum(map(len, cache.heads)) <= MAX_HEADS_BYTES
    assert 0 < len(cache.heads) < 12_000


def test_cache_get_with_announced_body_is_never_plain():
    """A GET that announces a body does not end at its empty line, however often it is seen."""
    cache = ResponseCache(MANY)
    lines = b"Host: a\r\nContent-Length: 5\r\n\r\n"
    assert not cache.lines_are_plain(lines)
    assert not cache.lines_are_plain(lines)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST /x HTTP/1.1", b"POST / HTTP/1.0", b"POST / HTTP/1.1 "])
def test_cache_head_of_other_request_line_is_parsed(line):
    """Only POST to the paths of the service is recognised without the parser."""
    assert ResponseCache(MANY).head_bytes(line + b"\r\nHost: a\r\nContent-Length: 5") is None


def test_cache_sweep_takes_out_in_place_what_rests_on_a_former_state_and_nothing_else():
    """Connections hold on to the dictionaries; the answers of one CA go, a few at a time, the others stay."""
    cache = ResponseCache(MANY)
    ders, lines = cache.by_der, cache.by_line
    frame, other = cached_answer().frame, entry()
    for n in range(5):
        answer = Entry(Answer((BODY,), frame.terms), frame, AT, b"now")
        cache.put(b"%d" % n, answer, AT)
        cache.learn(parse(get(b"0%d" % n)), answer, AT)
        answer.uses = n
    cache.put(b"other", other, AT)
    frame.terms.basis.current = False
    assert not any(ders[b"%d" % n].freshen(AT, b"now") for n in range(5))
    cache.put(b"0", entry(), AT)  # asked again meanwhile
    (lot,) = cache.dead()
    swept = cache.sweep(lot, 2) + cache.sweep(lot, 100)
    assert sorted(swept) == [(n, b"%d" % n) for n in range(1, 5)]
    assert set(ders) == {b"0", b"other"}
    assert not lines
    assert not cache.dead()
    assert other.freshen(AT, b"now")
