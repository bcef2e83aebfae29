"""The processes of the lab: a root folder with process ids, mounts and a name of its own; all end with the first one.

The network is the host's. Whoever knows the folder can run commands inside, also when another process opened it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.dogtag.lab import plan

# As installed, keys are kept with 10,000 rounds of PBKDF2, and each signature costs 90 ms of them.
_ENVIRONMENT = {
    "HOME": plan.HOME,
    "TERM": "dumb",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "PKISPAWN_STARTUP_TIMEOUT_SECONDS": "900",
    "NSS_MAX_MP_PBE_ITERATION_COUNT": "1",
    "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
_UNSHARE = ("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child")
_GOOD_ORDER_SECONDS = 60
# Children that nobody waits for are gone at once where SIGCHLD is ignored.
_FIRST = f"""
set -e
mount -t tmpfs -o mode=1777 tmpfs dev/shm
echo {plan.HOST} >proc/sys/kernel/hostname  # its installers look for their servers under the host's own name
echo open
exec env --ignore-signal=CHLD sleep infinity
"""


class CommandFailed(Exception):
    """A command inside the lab said no; the text is its last lines."""


class Enclosure:
    """The processes below `root`; `open` before use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._pid_file = root.with_suffix(".pid")

    def open(self) -> None:
        """Have the first process, here or from before."""
        if self.first():
            return
        with subprocess.Popen(
            [*_UNSHARE, f"--mount-proc={self.root / 'proc'}", "sh", "-c", _FIRST],
            cwd=self.root,
            env=os.environ | {"VOUCHD_LAB": str(self.root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as process:
            if process.stdout.readline() != "open\n":
                raise CommandFailed("processes and mounts of their own are not allowed here: unshare failed")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
            self._pid_file.write_text(children.split()[0], encoding="ascii")
            process.returncode = 0  # it stays, and is ended by `close`

    def close(self) -> None:
        """End all its processes, in good order where they do so soon, and with them its mounts."""
        if first := self.first():
            self.run("kill", "-TERM", "-1", check=False)
            self._wait_for_end(first)
            descriptor = os.pidfd_open(first)
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        self._pid_file.unlink(missing_ok=True)

    def first(self) -> int | None:
        """The first process, from which all others come; None where none of them runs."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if f"VOUCHD_LAB={self.root}".encode() in environment else None

    def _wait_for_end(self, first: int) -> None:
        processes = Path("/proc", str(first), "root", *self.root.parts[1:], "proc")
        end = time.monotonic() + _GOOD_ORDER_SECONDS
        while time.monotonic() < end and [path.name for path in processes.iterdir() if path.name.isdigit()] != ["1"]:
            time.sleep(0.1)

    def run(self, *words: object, text: str = "", check: bool = True) -> str:
        """What the command prints on both streams, `text` being its input.

        Raises:
            CommandFailed: it ended otherwise than well, and `check` is on.
        """
        done = subprocess.run(
            self._words(*words), input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        said = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("Picked up JAVA_TOOL"))
        if check and done.returncode:
            raise CommandFailed(f"{' '.join(map(str, words))}: {said[-3000:]}")
        return said

    def _words(self, *words: object) -> list[str]:
        entering = ["nsenter", "--target", str(self.first() or 0), "--mount", "--pid", "--uts", "--wd=/"]
        variables = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        return [*entering, "chroot", str(self.root), "env", "-i", *variables, *map(str, words)]
