"""Header lines that ask for nothing special, told by one strict pattern: what it does not match is parsed instead.

Strictness is the point. What matches here has one reading only (RFC 9112): every line is a field name, a colon, a
value without control characters and CRLF; there is one Host, which can be one, at most one Content-Length made of
digits, and nothing that bears on framing, persistence, conditions or interim answers.
"""

from __future__ import annotations

import re

# A longer head is parsed: what is remembered of heads stays small.
MAX_PLAIN_BYTES = 2048

_LINES = re.compile(
    rb"(?:"
    rb"(?!(?:transfer-encoding|expect|upgrade|if-none-match|if-modified-since):)"
    rb"(?!connection:(?![ \t]*keep-alive[ \t]*\r\n))"
    rb"(?!host:(?![ \t]*(?:\[[0-9a-f]*:[0-9a-f:.]+\]|[0-9a-z._~!$&'()*+,;=-]*)(?::[0-9]{0,5})?[ \t]*\r\n))"
    rb"(?!content-length:(?![ \t]*[0-9]{1,9}[ \t]*\r\n))"
    rb"[!#$%&'*+.^_`|~0-9a-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n"
    rb")++",
    re.IGNORECASE,
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)")


def announced_body_bytes(lines: bytes) -> int | None:
    """How long a body follows header `lines` (each with its CRLF, without the empty line after them).

    0 without Content-Length; None when the lines are not plain and have to be parsed.
    """
    if len(lines) > MAX_PLAIN_BYTES or _LINES.fullmatch(lines) is None:
        return None
    lower = b"\r\n" + lines.lower()
    if lower.count(b"\r\nhost:") != 1:
        return None
    lengths = _LENGTH.findall(lower)
    if len(lengths) > 1:
        return None
    return int(lengths[0]) if lengths else 0
