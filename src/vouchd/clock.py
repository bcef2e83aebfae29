"""Wall-clock time, the one place that reads it."""

from __future__ import annotations

import time


class SystemClock:
    """The clock of this host."""

    def now(self) -> int:
        """POSIX seconds, UTC."""
        return int(time.time())


_LONGEST_NAP_SECONDS = 0.05  # a clock that is set meanwhile is noticed within this time


def wait_until(at: int, most_seconds: float) -> bool:
    """Wait for the begin of the POSIX second `at`; false where the clock was set back, and it is farther than that."""
    while (left := at - time.time()) > 0:
        if left > most_seconds:
            return False
        time.sleep(min(left, _LONGEST_NAP_SECONDS))
    return True
