"""Facts as people read them: times, serial numbers, sizes."""

from __future__ import annotations

from datetime import UTC, datetime

from vouchd.pkix import reasons
from vouchd.pkix.reasons import Reason

_UNITS = ((86400 * 365, "year"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_LAST_SECOND = 253_402_300_799  # of year 9999


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(max(0, min(seconds, _LAST_SECOND)), UTC)


def utc(seconds: int) -> str:
    """`2026-11-24 06:30:00` (UTC) of POSIX seconds."""
    return f"{_moment(seconds):%Y-%m-%d %H:%M:%S}"


def iso(seconds: int) -> str:
    """The same as a machine reads it in `<time datetime=…>`."""
    return f"{_moment(seconds):%Y-%m-%dT%H:%M:%SZ}"


def seconds_of(moment: str) -> int:
    """POSIX seconds of what a machine reads. Raises: ValueError."""
    return int(datetime.fromisoformat(moment).timestamp())


def duration(seconds: float) -> str:
    """A length of time, rounded, in the largest unit of which there are at least two: `36 hours`."""
    for size, unit in _UNITS:
        count = round(abs(seconds) / size)
        if abs(seconds) >= 2 * size:
            return f"{count} {unit}s"
    return "1 second" if round(abs(seconds)) == 1 else "0 seconds"


def apart(seconds: int, now: int) -> str:
    """`in 3 hours`, `3 hours ago` or `now`."""
    distance = seconds - now
    if distance == 0:
        return "now"
    return f"in {duration(distance)}" if distance > 0 else f"{duration(distance)} ago"


def serial_text(octets: bytes) -> str:
    """A serial number (DER INTEGER content octets) in hexadecimal: `0x52a1c7`."""
    return hex(int.from_bytes(octets, "big", signed=True))


def number_text(number: float) -> str:
    """A number with a thin space between groups of three digits."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def fingerprint_text(digits: str) -> str:
    """Hex digits in groups of four, so that two can be compared by eye."""
    return " ".join(digits[place : place + 4] for place in range(0, len(digits), 4))


def size_text(count: float) -> str:
    """A number of bytes: `12 KiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def reason_text(reason: Reason) -> str:
    """The standard's name of a revocation reason (RFC 5280 section 5.3.1)."""
    return reasons.NAMES.get(reason, "none given")
