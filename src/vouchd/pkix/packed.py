"""Revocation entries as fixed-width byte records that sort and search as plain bytes.

A record is the serial as a key, then the revocation time, the reason, flags and, where the layout has the column, the
invalidity date. The key is the two's complement integer sign-extended to the width of the layout, so each integer has
one key however its INTEGER was padded. A time is 15 octets: a UTCTime with its tag and length as it stands in most
CRLs, so that millions of entries are packed without any arithmetic; a year outside 1950 to 2049 has the tag of
GeneralizedTime and 14 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from time import gmtime
from typing import Final

from vouchd.pkix import der
from vouchd.pkix.reasons import Reason, RevocationEntry

MAX_SERIAL_OCTETS = 64
WIDTHS: Final = (9, 17, 21, 33, MAX_SERIAL_OCTETS)  # 8, 16, 20, 32 octet numbers with their sign octet
TIME_OCTETS = 15
HAS_INVALIDITY_DATE = 0x01

_NO_TIME: Final = bytes(TIME_OCTETS)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


class LayoutTooNarrow(Exception):
    """An entry does not fit; the layout `needed` does for it, and for all that fitted before."""

    def __init__(self, needed: RecordLayout) -> None:
        super().__init__(f"needs {needed}")
        self.needed = needed


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """How wide the key is, in octets, and whether there is a column for invalidity dates."""

    serial_width: int = WIDTHS[0]
    invalidity: bool = False

    @property
    def size(self) -> int:
        """Octets of a record."""
        return self.serial_width + TIME_OCTETS + 2 + (TIME_OCTETS if self.invalidity else 0)

    def key(self, serial: bytes) -> bytes | None:
        """The key of DER INTEGER content octets; None when no record of this width can have that serial."""
        width = self.serial_width
        if len(serial) > width:
            serial = minimal(serial)
            if len(serial) > width:
                return None
        return serial.rjust(width, b"\xff" if serial[:1] >= b"\x80" else b"\x00")

    def pack(self, entry: RevocationEntry) -> bytes:
        """The record of one entry. Raises: LayoutTooNarrow, ValueError for a serial of more than 64 octets."""
        return (
            self.key_or_widen(entry.serial)
            + pack_time(entry.revocation_time)
            + self.tail(entry.reason, entry.invalidity_date)
        )

    def key_or_widen(self, serial: bytes) -> bytes:
        """The key of a serial. Raises: LayoutTooNarrow, ValueError for a serial of no or more than 64 octets."""
        key = self.key(serial)
        if key is None or not serial:
            short = minimal(serial)
            if not 1 <= len(short) <= MAX_SERIAL_OCTETS:
                raise ValueError(f"serial number of {len(serial)} octets; 1 to {MAX_SERIAL_OCTETS} are supported")
            raise LayoutTooNarrow(RecordLayout(next(w for w in WIDTHS if w >= len(short)), self.invalidity))
        return key

    def tail(self, reason: Reason, invalidity_date: int | None) -> bytes:
        """What stands after the revocation time. Raises: LayoutTooNarrow when the layout has no column for a date."""
        if invalidity_date is None:
            return bytes((reason, 0)) + (_NO_TIME if self.invalidity else b"")
        if not self.invalidity:
            raise LayoutTooNarrow(RecordLayout(self.serial_width, invalidity=True))
        return bytes((reason, HAS_INVALIDITY_DATE)) + pack_time(invalidity_date)

    def unpack(self, record: bytes) -> RevocationEntry:
        """The entry of a record, its serial minimal as DER has it."""
        width = self.serial_width
        at = width + TIME_OCTETS
        dated = record[at + 1] & HAS_INVALIDITY_DATE
        return RevocationEntry(
            serial=minimal(record[:width]),
            revocation_time=unpack_time(record[width:at]),
            reason=_REASONS[record[at]],
            invalidity_date=unpack_time(record[at + 2 : at + 2 + TIME_OCTETS]) if dated else None,
        )


_REASONS: Final = {int(reason): reason for reason in Reason}
WIDEST: Final = RecordLayout(MAX_SERIAL_OCTETS, invalidity=True)


def minimal(serial: bytes) -> bytes:
    """The octets without those that only repeat the sign, as DER encodes an INTEGER; none stay none."""
    if serial[:1] < b"\x80":
        short = serial.lstrip(b"\x00")
        return b"\x00" + short if serial and not b"" < short[:1] < b"\x80" else short
    short = serial.lstrip(b"\xff")
    return short if short[:1] >= b"\x80" else b"\xff" + short


def pack_time(seconds: int) -> bytes:
    """The 15 octets of POSIX seconds. Raises: ValueError outside the years 1 to 9999."""
    moment = gmtime(seconds)
    year = moment.tm_year
    if not 1 <= year <= 9999:
        raise ValueError(f"time of the year {year}")
    rest = "".join(f"{number:02}" for number in moment[1:6]).encode()
    return b"\x17\x0d%02d%bZ" % (year % 100, rest) if 1950 <= year <= 2049 else b"\x18%04d%b" % (year, rest)


def unpack_time(octets: bytes) -> int:
    """POSIX seconds of 15 octets."""
    century = b"20" if octets[2:4] < b"50" else b"19"
    digits = century + octets[2:14] if octets[0] == der.UTC_TIME else octets[1:]
    day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).toordinal() - _EPOCH_DAY
    return day * 86400 + int(digits[8:10]) * 3600 + int(digits[10:12]) * 60 + int(digits[12:14])
