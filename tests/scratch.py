"""Where tests keep their files: in memory where this host has enough of it, as a disk is waited for at each commit."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# For servers of others: they wait for no disk here, and are used to one. Told to the processes that share the tests.
DISK = os.environ.setdefault("VOUCHD_TESTS_DISK", tempfile.gettempdir())
_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 4 << 30  # a run keeps half a gigabyte, and as much while it goes


def keep_in_memory() -> None:
    """Have all temporary files made there, by this process and those it starts, unless TMPDIR says where."""
    if "TMPDIR" in os.environ or not _has_room(_MEMORY):
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def _has_room(folder: Path) -> bool:
    """Whether programs can be run from there too, and so much fits in."""
    try:
        status = os.statvfs(folder)
        free = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        available = int(free["MemAvailable"].split()[0]) << 10
    except (OSError, ValueError, KeyError):  # not every sandbox tells it
        return False
    room = min(status.f_bavail * status.f_frsize, available)
    return room >= _NEEDED_BYTES and not status.f_flag & os.ST_NOEXEC and os.access(folder, os.W_OK | os.X_OK)
