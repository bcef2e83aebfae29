#!/usr/bin/env python3
"""Runs an instance as systemd does: `supervise.py INSTANCE ISSUER CERTIFICATE`, with the `vouchd` of the path.

It hands a listening socket over and hears the notices: READY has to come, an answer through that socket, STOPPING, and
an end without failure. It needs nothing but Debian's Python, since it goes where the package was installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

DESCRIPTOR = 3
SECONDS = 120


def become(instance: str, listener: socket.socket, notices: Path) -> None:
    """Put the socket where a service manager puts it, and become the program."""
    os.dup2(listener.fileno(), DESCRIPTOR)  # of the same number it would stay closed for the program
    os.set_inheritable(DESCRIPTOR, True)  # noqa: FBT003
    sockets = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "ocsp"}
    program = shutil.which("vouchd") or "vouchd"
    environment = {**os.environ, **sockets, "NOTIFY_SOCKET": str(notices)}
    os.execve(program, ["vouchd", "run", "--instance", instance], environment)  # noqa: S606  no shell is wanted


def hear(channel: socket.socket, word: str) -> str:
    """The next notice that has that line."""
    while True:
        notice = channel.recv(4096).decode()
        if word in notice.splitlines():
            return notice


def main(instance: str, issuer: str, certificate: str) -> int:
    """The exit code of the instance."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        notices = Path(folder) / "notify"
        channel.bind(str(notices))
        channel.settimeout(SECONDS)
        process = os.fork()
        if not process:
            become(instance, listener, notices)
        try:
            print(hear(channel, "READY=1"))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            query = ["vouchd", "query", "--url", url, "--issuer", issuer, certificate]
            subprocess.run(query, check=True, timeout=SECONDS)
            os.kill(process, signal.SIGTERM)
            print(hear(channel, "STOPPING=1"))
        except BaseException:
            os.kill(process, signal.SIGKILL)
            raise
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
