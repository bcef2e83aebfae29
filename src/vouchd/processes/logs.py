"""The one set-up of logging: what the processes say about themselves, never about a request or a client."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


class Repetition(logging.Filter):
    """Lets one line of code log at most `limit` records a minute: an error at line rate must not fill the disk."""

    def __init__(self, limit: int = 20) -> None:
        super().__init__()
        self._limit = limit
        self._minute = 0
        self._counts: Counter[tuple[str, int]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged; the last one before silence says so."""
        minute = int(record.created // 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        place = (record.pathname, record.lineno)
        self._counts[place] += 1
        if self._counts[place] == self._limit:
            record.msg = f"{record.msg} (no more of these in this minute)"
        return self._counts[place] <= self._limit


def set_up_logs(path: Path | None = None, *, level: int = logging.INFO) -> None:
    """Send log records to standard error, or append them to the file `path` (0600).

    Calling it again replaces what was set up before. The libraries' access logs stay off: they would name clients.
    """
    if path is None:
        target: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        path.touch(mode=0o600, exist_ok=True)
        target = logging.FileHandler(path, encoding="utf-8")
    target.setFormatter(logging.Formatter(_FORMAT))
    target.addFilter(Repetition())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(target)
    root.setLevel(level)
    logging.getLogger("aiohttp.access").disabled = True
    logging.getLogger("asyncio").setLevel(logging.WARNING)
