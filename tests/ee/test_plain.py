"""What is taken for plain without the parser is read just so by the parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouchd.ee.cache import MAX_PLAIN_BYTES, announced_body_bytes
from vouchd.ee.http_request import RequestReader

PIECES = [
    b"Host: a\r\n",
    b"host:b\r\n",
    b"User-Agent: x/1 (y; z)\r\n",
    b"X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\n",
    b"Content-Length: 5\r\n",
    b"content-length:0\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length:\t5 \r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, close\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"If-None-Match: *\r\n",
    b"X: \xe9\r\n",
    b"X: a\x00\r\n",
    b"X: a\rb\r\n",
    b"X: a\nHost: b\r\n",
    b" folded\r\n",
    b"X\r\n",
    b": x\r\n",
    b"X:\r\n",
    b"\r\n",
    b"\n",
    b"\r",
]


def is_what_the_parser_reads(lines: bytes, length: int) -> bool:
    """Whether the parser reads one unconditional persistent request with a body of `length`, and nothing else."""
    reader = RequestReader(16384, 10**9)
    body = bytes(length)
    reader.feed(b"POST / HTTP/1.1\r\n" + lines + b"\r\n" + body)
    if len(reader.requests) != 1 or reader.in_message:
        return False
    (request,) = reader.requests
    unconditional = request.if_none_match is None and request.if_modified_since is None
    return not request.refused and request.keep_alive and request.body == body and unconditional


@given(st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join))
def test_plain_lines_are_read_so_by_the_parser(lines):
    """Whatever passes the strict pattern has the one reading that the parser gives it."""
    length = announced_body_bytes(lines)
    assert length is None or is_what_the_parser_reads(lines, length)


@given(st.binary(max_size=60))
def test_plain_lines_with_arbitrary_octets_are_read_so_by_the_parser(junk):
    """The same for header lines with any octets in them."""
    for lines in (
        b"Host: a\r\n" + junk + b"\r\n",
        b"Host: a\r\nX: " + junk + b"\r\n",
        b"Host: a\r\n" + junk + b": x\r\n",
    ):
        length = announced_body_bytes(lines)
        assert length is None or is_what_the_parser_reads(lines, length)


@pytest.mark.parametrize(
    "lines, length",
    [
        (b"Host: a\r\n", 0),
        (b"Host: a\r\nUser-Agent: x\r\nAccept: */*\r\nConnection: Keep-Alive\r\n", 0),
        (b"content-length: 83\r\nhost: a\r\nContent-Type: application/ocsp-request\r\n", 83),
        (b"", None),
        (b"User-Agent: x\r\n", None),
        (b"Host: a\r\nHost: a\r\n", None),
        (b"Host: a b\r\n", None),
        (b"Host: \xe9\r\n", None),
        (b"Host:\r\n", 0),
        (b"Host: [::1]:80 \t\r\n", 0),
        (b"Host: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n", None),
        (b"Host: a\r\nContent-Length: 5, 5\r\n", None),
        (b"Host: a\r\nContent-Length: 9999999999\r\n", None),
        (b"Host: a\r\nTransfer-Encoding: chunked\r\n", None),
        (b"Host: a\r\nConnection: close\r\n", None),
        (b"Host: a\r\nExpect: 100-continue\r\n", None),
        (b"Host: a\r\nUpgrade: h2c\r\n", None),
        (b"Host: a\r\nIf-None-Match: *\r\n", None),
        (b"Host: a\r\nIf-Modified-Since: x\r\n", None),
        (b"Host: a\r\n\r\nX: y\r\n", None),
        (b"Host: a\r\nX: y", None),
        (b"Host: a\r\nX: " + b"y" * MAX_PLAIN_BYTES + b"\r\n", None),
    ],
)
def test_announced_body_bytes(lines, length):
    """Common clients' heads are plain; whatever bears on framing, persistence or conditions is not."""
    assert announced_body_bytes(lines) == length
