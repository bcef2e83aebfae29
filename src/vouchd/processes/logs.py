"""The one set-up of logging: what the processes say about themselves, never about a request or a client."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


_STREAMS = (1, 2)
_log = logging.getLogger(__name__)


class LogFile:
    """The file at `path` that standard output and error go to, where `vouchd start` has sent them there.

    A descriptor follows its file under every name, so after a rename (logrotate) or a removal the processes would go on
    writing what nobody looks at. `streams` are the descriptors that went to the file when this process, or the one that
    it was before a restart, began; others (a terminal, a journal, a file of the operator's) are left alone.
    """

    def __init__(self, path: Path, streams: Sequence[int] = ()) -> None:
        self._path = path
        self.streams = tuple(one for one in _STREAMS if one in streams or self._leads_there(one))

    def reopen(self) -> None:
        """Have the streams go to the file that is at the path now, made anew where there is none."""
        strays = [one for one in self.streams if not self._leads_there(one)]
        if not strays:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.error("the log %s cannot be opened anew: %s", self._path, error.strerror)
            return
        for stream in strays:
            os.dup2(descriptor, stream)
        os.close(descriptor)
        _log.info("the log goes on here; its former file was renamed or removed")

    def _leads_there(self, stream: int) -> bool:
        try:
            status, file = os.fstat(stream), self._path.stat()
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and os.path.samestat(status, file)


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
