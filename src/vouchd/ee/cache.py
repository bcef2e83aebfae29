"""The cache of complete answers, and what lets the hot path find them without the parser; bounded in bytes.

An answer is given from here as long as its `Basis` is current. When the state of a CA changes, all answers that rest on
it are dead in that moment, however many they are; `dead` and `sweep` take them out, a few at a time between other work.

A request is known without the parser when its header lines ask for nothing special, as one strict pattern says: what it
does not match is parsed. Strictness is the point. What matches has one reading only (RFC 9112): every line is a field
name, a colon, a value without control characters and CRLF; there is one Host, which can be one, at most one
Content-Length made of digits, and nothing that bears on framing, persistence, conditions or interim answers.
"""

from __future__ import annotations

import re
from collections import OrderedDict

from vouchd.audit.answer_records import Note
from vouchd.ee.getpath import PREFIXES
from vouchd.ee.http_request import HTTPRequest
from vouchd.ee.replies import Entry
from vouchd.service.terms import Basis

# Kinds of clients are few; behind a proxy that adds X-Forwarded-For they are many, and then this is started afresh.
MAX_HEADS_BYTES = 1 << 20
_HEAD_BYTES = 150  # what a remembered head takes beside its own bytes

# An answer that was given again of late is kept at an eviction, unless so many in a row were.
SECOND_CHANCES = 8
USED_WITHIN_SECONDS = 60

# A longer request is not one that many send (ten CertIDs, or an extension that nobody knows): it leaves nothing here.
MAX_REQUEST_BYTES = 1024
# The ways to write one request in a path: base64 escaped or not, under each prefix. Others are parsed each time.
MAX_LINES = 4

# What an answer takes beside its request and what is sent: objects, its places in the dictionary and among its like.
_ENTRY_BYTES = 500
_LINE_BYTES = 150
_TRIPLE_BYTES = 250


class ResponseCache:
    """Answers by request DER, and what lets the hot path find them without the parser; bounded in bytes.

    `by_line` has the answers to GET by request line, of lines that were parsed and answered before. `heads` has what
    `announced_body_bytes` says of header lines (GET) and of whole heads (POST). A chunk that is a known line and
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
        self._lots: dict[Basis, set[Entry]] = {}
        self._slots: dict[int, set[Entry]] = {}
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
        cost = _ENTRY_BYTES + len(request_der) + len(entry.wire) + (_note_bytes(entry.note) if entry.note else 0)
        if len(request_der) > MAX_REQUEST_BYTES or cost > self._capacity_bytes:
            return
        while len(self.by_der) >= self._max_entries or self.size_bytes + cost > self._capacity_bytes:
            self._evict(second)
        entry.key, entry.cost = request_der, cost
        self.by_der[request_der] = entry
        self.size_bytes += cost
        lot = self._lots.get(entry.basis)
        if lot is None:
            lot = self._lots[entry.basis] = set()
        lot.add(entry)
        if entry.slot_end is not None:
            self._slots.setdefault(entry.slot_end, set()).add(entry)

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

    def dead(self) -> list[set[Entry]]:
        """The answers that rest on what is not current any more, a set each; whoever takes them has them swept."""
        ended = [basis for basis in self._lots if not basis.current]
        return [self._lots.pop(basis) for basis in ended]

    def ending(self, first: int, last: int) -> dict[int, set[Entry]]:
        """The answers whose slot ends in these seconds, by that second."""
        return {end: entries for end, entries in self._slots.items() if first <= end <= last}

    def sweep(self, lot: set[Entry], limit: int) -> list[tuple[int, bytes]]:
        """Take at most so many answers out that are `dead`; how often each was given, and its request."""
        swept: list[tuple[int, bytes]] = []
        while lot and len(swept) < limit:
            entry = lot.pop()
            if self.by_der.get(entry.key) is entry:  # else another one has taken its place
                swept.append((entry.uses, entry.key))
                self._drop(entry)
        return swept

    def _evict(self, second: int) -> None:
        """Take out the oldest entry; one that was given again of late goes to the end of the line, a few times.

        What was asked once only goes first, however new it is: who asks for each serial once pushes out nobody's.
        """
        for _ in range(SECOND_CHANCES):
            key, entry = next(iter(self.by_der.items()))
            if not entry.uses or entry.second < second - USED_WITHIN_SECONDS:
                break
            self.by_der.move_to_end(key)
        self._drop(next(iter(self.by_der.values())))

    def _drop(self, entry: Entry) -> None:
        del self.by_der[entry.key]
        for line in entry.lines:
            del self.by_line[line]
        self.size_bytes -= entry.cost
        entry.key, entry.lines = b"", ()
        if entry.slot_end is not None:
            slot = self._slots[entry.slot_end]
            slot.discard(entry)
            if not slot:
                del self._slots[entry.slot_end]
        lot = self._lots.get(entry.basis)
        if lot is not None:
            lot.discard(entry)
            if not lot:
                del self._lots[entry.basis]


def _note_bytes(note: Note) -> int:
    """What the audit log's part of an answer takes, a character at its widest."""
    return sum(_TRIPLE_BYTES + 4 * sum(map(len, triple)) for triple in note)


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
