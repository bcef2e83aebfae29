"""The entries of a CRL that have a usual form, as a regular expression.

Nearly all entries of a CRL look alike: a short SEQUENCE of a serial, a UTCTime and one of a few extension lists. The
matching engine reads those three times as fast as a loop in Python does. The expression is exact: it matches an
entry of a form that it knows only if that is DER whose lengths agree and whose time exists; the rest is left over.
"""

from __future__ import annotations

import re
from typing import Final

MAX_HEADS = 64
TAIL_LENGTHS = 4  # no extension, a reason, an invalidity date, both
UTC_TIME_OCTETS = 15  # with tag and length

_DATE: Final = (
    rb"(?:\d\d(?:(?:0[13578]|1[02])(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)(?:0[1-9]|[12]\d|30)|02(?:0[1-9]|1\d|2[0-8]))"
    rb"|(?:[02468][048]|[13579][26])0229)"
)
_CLOCK: Final = rb"(?:[01]\d|2[0-3])[0-5]\d[0-5]\dZ"
_TIME: Final = rb"\x17\x0d" + _DATE + _CLOCK
_CENTURY: Final = rb"(?:19(?=[5-9])|20(?=[0-4]))"

# InvalidityDate from extnID on; the group is the date as a UTCTime has it (years 1950 to 2049).
INVALIDITY_DATE: Final = re.compile(
    rb"\x06\x03\x55\x1d\x18\x04\x11\x18\x0f" + _CENTURY + b"(" + _DATE + _CLOCK + b")", re.DOTALL
)
_NOTHING: Final = rb"(?!)"


class EntryPattern:
    """Learns forms of entries and matches them; `found` are tuples whose last three members count.

    These are the serial followed by the UTCTime with its tag and length, the extensions with theirs, and what follows
    the last entry of a known form (empty but in the last tuple, which has nothing else then).
    """

    def __init__(self) -> None:
        self._heads: dict[int, list[tuple[int, int]]] = {}  # octets of extensions -> lengths of entry and serial
        self._known = 0
        self.findall = self._compiled().findall

    def learn(self, entry_length: int, serial_length: int) -> None:
        """Know entries of these lengths (of contents, below 128) with a UTCTime from now on, if there is room."""
        tail = entry_length - serial_length - 2 - UTC_TIME_OCTETS
        head = (entry_length, serial_length)
        heads = self._heads.get(tail, [])
        if head in heads or self._known >= MAX_HEADS or (not heads and len(self._heads) >= TAIL_LENGTHS):
            return
        self._heads[tail] = [*heads, head]
        self._known += 1
        self.findall = self._compiled().findall

    def _compiled(self) -> re.Pattern[bytes]:
        marks: list[bytes] = []
        lengths = list(self._heads)
        for tail in lengths:
            heads = (b"\\x%02x\\x02\\x%02x" % head for head in self._heads[tail])
            marks.append(b"(?:" + b"|".join(heads) + b")()")
        marks += [_NOTHING + b"()"] * (TAIL_LENGTHS - len(marks))
        serial_lengths = sorted({serial for heads in self._heads.values() for _, serial in heads})
        # Not negative: those are rare enough for the strict reader, and padded with other octets.
        serials = (b"(?<=\\x%02x)[\\x00-\\x7f].{%d}" % (length, length - 1) for length in serial_lengths)
        tails = _NOTHING
        for number, tail in reversed(list(enumerate(lengths, 1))):
            tails = b"(?(%d).{%d}|%b)" % (number, tail, tails)
        parts = (b"|".join(marks), b"|".join(serials) or _NOTHING, _TIME, tails)
        return re.compile(b"\\x30(?:%b)((?:%b)%b)(%b)|(.+)" % parts, re.DOTALL)
