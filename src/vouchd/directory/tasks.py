"""Waiting for the tasks that a directory server does in the background."""

from __future__ import annotations

import threading
import time

from vouchd.directory.connection import Connection
from vouchd.errors import StoreError


def task_exit_code(connection: Connection, dn: str, timeout_seconds: float) -> int:
    """Wait for a task of the server. Raises: StoreError when it takes longer."""
    pause, end = threading.Event(), time.monotonic() + timeout_seconds
    while True:
        entry = connection.read(dn, ["nsTaskExitCode"])
        if entry is None:  # it is over, and was removed after its time to live
            return 0
        if code := entry.text("nsTaskExitCode"):
            return int(code)
        if time.monotonic() > end:
            raise StoreError(f"the directory server's task {dn} does not end", hint="see the server's error log")
        pause.wait(0.05)
