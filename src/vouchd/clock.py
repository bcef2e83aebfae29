"""Wall-clock time, the one place that reads it."""

from __future__ import annotations

import time


class SystemClock:
    """The clock of this host."""

    def now(self) -> int:
        """POSIX seconds, UTC."""
        return int(time.time())
