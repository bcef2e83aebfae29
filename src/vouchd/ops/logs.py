"""The one set-up of logging: what the processes say about themselves, never about a request or a client."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


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
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(target)
    root.setLevel(level)
    logging.getLogger("aiohttp.access").disabled = True
    logging.getLogger("asyncio").setLevel(logging.WARNING)
