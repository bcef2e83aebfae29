"""Wall-clock time, the one place that reads it."""

from __future__ import annotations

import time


class SystemClock:
    """The clock of this host."""

    def now(self) -> int:
        """POSIX seconds, UTC."""
        return int(time.time())


def seconds_until(at: int) -> float:
    """How long it is until the POSIX second `at` begins; 0 when it has begun."""
    return max(0.0, at - time.time())
