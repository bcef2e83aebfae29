"""Moments as people and programs read them."""

from __future__ import annotations

from datetime import UTC, datetime

_FIRST, _LAST = -62135596800, 253402300799  # the years 1 and 9999


def rfc3339(at: int) -> str:
    """POSIX seconds as `2026-11-24T05:41:44Z`; what no year of four digits holds is told as the nearest that does."""
    bounded = min(max(at, _FIRST), _LAST)
    return datetime.fromtimestamp(bounded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
