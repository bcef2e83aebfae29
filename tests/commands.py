"""`vouchd` as tests run it: each command a process of its own, forked from one that has loaded the program.

Most of what a command costs is loading the program, anew for each of the thousands that tests run. The first one of a
test process therefore starts a nursery (nursery.py), which loads it once and forks a process for each command: with its
own folder, environment, descriptors and end, as if a shell had started it. So is the instance that `start` starts, and
its workers, also those that it has after a restart.

With VOUCHD_TESTS_COLD=1 (`make test COLD=1`) each is started as the installed command is; tests/cli/test_installed.py
always does so, with every verb.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Self

from tests.nursery import MAIN, PROGRAM

ROOT = Path(__file__).parents[1]
COLD = "VOUCHD_TESTS_COLD"
# All of the program, with what it imports when it is used: modules of verbs and operations, and by the first command
# that has an option the library that reads these.
_LOADED = """
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pkgutil import walk_packages
import vouchd
from tests.cheap_passwords import cheapen
from tests.pace import quicken
from vouchd.cli.main import main
cheapen()
quicken()
for module in walk_packages(vouchd.__path__, "vouchd."):
    import_module(module.name)
with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
    main(["status", "--instance", "/nowhere"])
"""
_DEADLINE_SECONDS = 300
PIPE = subprocess.PIPE


def words(*arguments: object) -> list[str]:
    """The words that start a command without a nursery."""
    return [*PROGRAM, *map(str, arguments)]


def run_vouchd(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command after it ended, with what it said."""
    return run_python(MAIN, *arguments, cwd=cwd, env=env)


def start_vouchd(*arguments: object, **more) -> Process | subprocess.Popen[str]:
    """The command, running; `more` as for `start_python`."""
    return start_python(MAIN, *arguments, **more)


def run_python(code: str, *arguments: object, **more) -> subprocess.CompletedProcess[str]:
    """The end of a process that runs that code, with what it said; `more` as for `start_python`."""
    with start_python(code, *arguments, stdout=PIPE, stderr=PIPE, **more) as running:
        stdout, stderr = running.communicate(timeout=_DEADLINE_SECONDS)
    return subprocess.CompletedProcess([*map(str, arguments)], running.returncode, stdout, stderr)


def start_python(
    code: str,
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO = subprocess.DEVNULL,
    stdout: int | IO | None = None,
    stderr: int | IO | None = None,
) -> Process | subprocess.Popen[str]:
    """A process that runs that code, as `python -c` does, with everything of ours at hand."""
    environment = dict(os.environ if env is None else env)
    if not os.environ.get(COLD):
        return Process(code, list(map(str, arguments)), str(cwd or Path.cwd()), environment, (stdin, stdout, stderr))
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


class Process:
    """A forked process, with what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        code: str,
        arguments: list[str],
        folder: str,
        environment: dict[str, str],
        standard: tuple[int | IO | None, ...],
    ) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._lock = threading.Lock()
        theirs, ours = zip(*(_ends(number, wanted) for number, wanted in enumerate(standard)), strict=True)
        self.stdin, self.stdout, self.stderr = ours
        request = {"code": code, "arguments": arguments, "folder": folder, "environment": environment}
        self._ends = nursery().ask(json.dumps(request).encode(), theirs)
        for descriptor, wanted in zip(theirs, standard, strict=True):
            if wanted in (PIPE, subprocess.DEVNULL):
                os.close(descriptor)
        self.pid = self._number()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        """It has ended then: by itself, unless what was done with it failed, and would be told only after its end."""
        if failed:
            self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:  # in a thread: to close what another one reads from waits until that has read all
                threading.Thread(target=stream.close, daemon=True).start()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def communicate(self, timeout: float = _DEADLINE_SECONDS) -> tuple[str, str]:
        """What it writes to its end; empty for what is no pipe."""
        said = {}

        def read(name: str, stream: IO[str]) -> None:
            with stream:
                said[name] = stream.read()

        streams = {name: stream for name in ("stdout", "stderr") if (stream := getattr(self, name))}
        self.stdout = self.stderr = None  # to close what another thread waits for would wait as well
        readers = [threading.Thread(target=read, args=one, daemon=True) for one in streams.items()]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(timeout)
        return said.get("stdout", ""), said.get("stderr", "")

    def wait(self, timeout: float = _DEADLINE_SECONDS) -> int:
        """Its exit code when it has ended, minus the signal's number if that ended it."""
        with self._lock:
            if self.returncode is None:
                self._ends.settimeout(timeout)
                try:
                    self.returncode = self._number()
                except (TimeoutError, BlockingIOError):
                    raise subprocess.TimeoutExpired(self.args, timeout) from None
                self._ends.close()
            return self.returncode

    def poll(self) -> int | None:
        """Its exit code; none while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens once it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        """The next one that the nursery tells: ten digits at most, sent at once, so a wait for one is a wait for all."""
        line = b""
        while not line.endswith(b"\n"):
            part = self._ends.recv(1)
            assert part, "the nursery has ended"
            line += part
        return int(line)


class Nursery:
    """The process that forks the others; it ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, Path(__file__).with_name("nursery.py"), str(theirs.fileno()), _LOADED]
        with theirs:
            self._process = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def ask(self, request: bytes, standard: tuple[int, ...]) -> socket.socket:
        """Have a process forked; its id is told there, and then its exit code."""
        ours, theirs = socket.socketpair()
        ours.settimeout(_DEADLINE_SECONDS)
        with theirs, self._lock:
            socket.send_fds(self._requests, [request], [*standard, theirs.fileno()])
        return ours


@cache
def nursery() -> Nursery:
    """The one of this process."""
    return Nursery()


def _ends(number: int, wanted: int | IO | None) -> tuple[int, IO[str] | None]:
    """The descriptor for the process, and our end of the pipe if it is one."""
    if wanted is None:
        return number, None
    if wanted == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    if wanted != PIPE:
        return wanted if isinstance(wanted, int) else wanted.fileno(), None
    read, write = os.pipe()
    return (write, open(read)) if number else (read, open(write, "w"))  # noqa: PTH123
