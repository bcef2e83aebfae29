"""The audit log: one JSON object a line, appended and on disk before the call returns.

The lines are not chained or signed: whoever can write the file can change it. Every field is escaped by JSON, so no
value can begin a line of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from vouchd.core.facts import Caller
from vouchd.core.ports import Clock
from vouchd.errors import StoreUnavailable


class AuditLog:
    """Keeps the contract of AuditSink in the file `path` (mode 0600); several processes may append to it.

    The file is opened for each record, so that it can be rotated by renaming it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        """See AuditSink. Raises: StoreUnavailable when the record is not on disk."""
        line = {
            "time": self._clock.now(),
            "event": event,
            "outcome": outcome,
            "caller": caller.name,
            "groups": sorted(caller.groups),
            "origin": caller.origin,
            "detail": detail,
        }
        try:
            self._append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            raise StoreUnavailable(
                f"the audit log {self._path} cannot be written: {error.strerror}",
                hint="no administrative act is carried out without its record; free space or mend the permissions",
            ) from error

    def _append(self, line: bytes) -> None:
        created = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            end = os.lseek(descriptor, 0, os.SEEK_END)
            # A disk that ran full may have cut the last record short: ours must not become part of it.
            if end and os.pread(descriptor, 1, end - 1) != b"\n":
                line = b"\n" + line
            if os.write(descriptor, line) != len(line):
                raise OSError(0, "the record was cut short")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if created:
            _sync_directory(self._path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
