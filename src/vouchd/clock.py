"""Wall-clock time, the one place that reads it."""

from __future__ import annotations

import time


class SystemClock:
    """The clock of this host."""

    def now(self) -> int:
        """POSIX seconds, UTC."""
        return int(time.time())


def wait_until(at: int) -> None:
    """Return when the POSIX second `at` begins; at once when it has begun."""
    while (left := at - time.time()) > 0:
        time.sleep(left)
