"""The process of a directory server on this host, found by its process id; no systemd, no name of a program."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from vouchd.directory.plan import config_folder, socket_path
from vouchd.errors import LifecycleError, StoreUnavailable
from vouchd.files import read_file, read_tail

PROGRAMS = (Path("/usr/sbin/ns-slapd"), Path("/usr/bin/ns-slapd"))
START_SECONDS = 60.0
STOP_SECONDS = 60.0
# Log as usual, and stay in the foreground: the process that is started is the server.
_LEVEL = "266354688"
# An anonymous search for the root DSE (RFC 4511 4.5.1), in BER.
_PROBE = bytes.fromhex("3025020101632004000a01000a0100020100020100010100870b6f626a656374636c6173733000")
_SEARCH_RESULT = b"\x30"
_TAIL_BYTES = 2000
_PID_BYTES = 32


class ServerProcess:
    """Starts and ends the server that was made in `folder`; any process of the same user can."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._pid_file = self.folder / "run/pid"
        self._log = self.folder / "log/errors"
        self._child: subprocess.Popen[bytes] | None = None

    def pid(self) -> int | None:
        """The process id of the running server, None when it does not run."""
        text = read_tail(self._pid_file, _PID_BYTES).decode("ascii", "replace").strip()
        pid = int(text) if text.isdigit() else self._child.pid if self._child else 0
        return pid if pid and self._is_ours(pid) else None

    def answers(self) -> bool:
        """Whether it answers on its socket."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(2)
                probe.connect(str(socket_path(self.folder)))
                probe.sendall(_PROBE)
                return probe.recv(1) == _SEARCH_RESULT
        except OSError:
            return False

    def start(self, timeout_seconds: float = START_SECONDS) -> int:
        """Start it and wait until it answers; returns its process id, also when it ran already.

        Raises: LifecycleError with what the server logged.
        """
        if (running := self.pid()) and self.answers():
            return running
        command = self._command()
        try:
            with (self.folder / "log/console").open("wb") as console:
                self._child = subprocess.Popen(  # noqa: S603  arguments of ours, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    start_new_session=True,
                    cwd="/",
                )
        except OSError as error:
            raise LifecycleError(f"the directory server cannot be started: {error.strerror}") from error
        self._wait_ready(self._child, timeout_seconds)
        return self._child.pid

    def become(self) -> NoReturn:
        """Put the server into the place of this process, which a container or a service manager watches.

        Raises: LifecycleError when it runs already, or cannot be started.
        """
        if running := self.pid():
            raise LifecycleError(
                f"the directory server runs already, process {running}", hint="vouchd directory stop ends it"
            )
        command = self._command()
        os.chdir("/")
        try:
            os.execv(command[0], command)  # noqa: S606  no shell is wanted
        except OSError as error:
            raise LifecycleError(f"the directory server cannot be started: {error.strerror}") from error

    def _command(self) -> list[str]:
        """What is run, in the foreground. Raises: LifecycleError where it is not installed."""
        program = next((path for path in PROGRAMS if path.exists()), None)
        if program is None:
            raise LifecycleError("ns-slapd is not installed", hint="apt-get install 389-ds-base libnss3-tools")
        return [str(program), "-D", str(config_folder(self.folder)), "-i", str(self._pid_file), "-d", _LEVEL]

    def _wait_ready(self, child: subprocess.Popen[bytes], timeout_seconds: float) -> None:
        pause, end = threading.Event(), time.monotonic() + timeout_seconds
        while not self.answers():
            if child.poll() is not None:
                raise LifecycleError(
                    f"the directory server ended at its start: {self._complaint()}", hint=f"its log: {self._log}"
                )
            if time.monotonic() > end:
                child.kill()
                child.wait()
                raise LifecycleError(
                    f"the directory server does not answer: {self._complaint()}", hint=f"its log: {self._log}"
                )
            pause.wait(0.02)

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> bool:
        """End it in good order, which takes it seconds; False when it did not run. Raises: LifecycleError."""
        return self._end(signal.SIGTERM, timeout_seconds)

    def kill(self) -> bool:
        """End it at once, as a crash would; False when it did not run. Raises: LifecycleError."""
        return self._end(signal.SIGKILL, STOP_SECONDS)

    def _end(self, number: signal.Signals, timeout_seconds: float) -> bool:
        pid = self.pid()
        if pid is None:
            return False
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if not self._is_ours(pid):  # its number was given to another between the two calls
                return False
            signal.pidfd_send_signal(process, number)
            if not select.select([process], [], [], timeout_seconds)[0]:
                raise LifecycleError(f"the directory server, process {pid}, did not end in {timeout_seconds:.0f} s")
        except PermissionError:
            raise LifecycleError(f"the directory server, process {pid}, is another user's") from None
        finally:
            os.close(process)
        self._pid_file.unlink(missing_ok=True)
        with suppress(OSError):  # a server that was killed leaves it behind
            Path(f"/dev/shm/sem.{config_folder(self.folder).name}.stats").unlink(missing_ok=True)  # noqa: S108  POSIX
        if self._child is not None and self._child.pid == pid:
            self._child.wait()
            self._child = None
        return True

    def _is_ours(self, pid: int) -> bool:
        """Whether that process is a server of this folder."""
        try:
            arguments = read_file(Path(f"/proc/{pid}/cmdline")).split(b"\0")
        except (FileNotFoundError, StoreUnavailable):
            return False
        return os.fsencode(config_folder(self.folder)) in arguments

    def _complaint(self) -> str:
        """The last errors that the server logged, in one line."""
        lines: list[str] = []
        for name in ("log/console", "log/errors"):
            with suppress(StoreUnavailable):
                lines += read_tail(self.folder / name, _TAIL_BYTES).decode(errors="replace").splitlines()
        complaints = [line.partition("] - ")[2] or line for line in lines if " ERR " in line or "EMERG" in line]
        return "; ".join(dict.fromkeys(complaints[-3:] or lines[-2:])) or "it logged nothing"
