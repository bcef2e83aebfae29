"""The process that has loaded the program and forks one for each command of a test: started by `tests.commands`.

Arguments: the descriptor of a SEQPACKET socket, then code that loads the program. A request is JSON with the descriptors of
standard input, output and error, and a stream socket; that is told the id of the new process, then its exit code. The
new process has the folder, environment and descriptors of the request, signals as at a start, and runs its code. The
nursery has one thread and opens nothing but what it is asked with, so a fork of it is as good as a start. It ends with
whoever started it.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

MAIN = "import sys\nfrom vouchd.cli.main import main\nsys.exit(main())\n"
PROGRAM = [sys.executable, "-m", "vouchd.cli.main"]
_REQUEST_BYTES = 1 << 20


class Nursery:
    """What waits for requests and for the ends of the processes it has forked."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, tuple[int, socket.socket]] = {}  # pidfd -> id, where its end is told
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)

    def serve(self) -> None:
        """Until nobody is there to ask."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._running:
                    self._reap(descriptor)
                elif not self._take():
                    return

    def _take(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._requests, _REQUEST_BYTES, 4)
        if not message:
            return False
        *standard, teller = descriptors
        pid = os.fork()
        if pid == 0:
            self._requests.close()
            os.close(teller)
            for descriptor, (_, other) in self._running.items():
                os.close(descriptor)
                other.close()
            become(json.loads(message), standard)
        for descriptor in standard:
            os.close(descriptor)
        ends = socket.socket(fileno=teller)
        ends.sendall(f"{pid}\n".encode())
        pidfd = os.pidfd_open(pid)
        self._running[pidfd] = pid, ends
        self._poll.register(pidfd, select.POLLIN)
        return True

    def _reap(self, pidfd: int) -> None:
        pid, ends = self._running.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        with ends:
            try:
                ends.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            except OSError:
                return  # nobody waits for it any more


def become(request: dict[str, Any], standard: list[int]) -> NoReturn:
    """Be the process that was asked for, to its end."""
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    subprocess.Popen = Start  # type: ignore[misc]
    run(request["code"], request["arguments"], request["environment"])


def run(code: str, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Run it as a new interpreter would, to the end of this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # as every interpreter does; Popen has undone it
        signal.signal(ignored, signal.SIG_IGN)
    values = dict(environment)
    os.environ.clear()
    os.environ.update(values)
    sys.argv = ["-c", *arguments]
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    status = 1
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102  a test's
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  as the interpreter does
        traceback.print_exc()
    finally:
        # The end of an interpreter, but that nothing is taken down that ends with the process anyway.
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = status or 120  # the interpreter's code for it
        os._exit(status)


class Start(subprocess.Popen):
    """What a command of one thread starts: if that is our program again (`start` does so), it is forked as well.

    It is a child with the descriptors, the session and the folder of the call; only that it has nothing to load.
    """

    def __init__(self, args: Any, **options: Any) -> None:
        if list(args[: len(PROGRAM)]) == PROGRAM and threading.active_count() == 1:
            kept = {0, 1, 2, *options.get("pass_fds", ())}
            environment = options.get("env") or os.environ
            options["preexec_fn"] = lambda: _run_again(list(args[len(PROGRAM) :]), environment, kept)
        super().__init__(args, **options)


def _run_again(arguments: Sequence[str], environment: Mapping[str, str], kept: set[int]) -> NoReturn:
    """Where exec would follow. The starter hears that all went well when the pipe between them is closed here."""
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - kept:  # noqa: PTH208
        with suppress(OSError):  # the one that lists them
            os.close(descriptor)
    run(MAIN, arguments, environment)


def main() -> None:
    descriptor, code = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exec(compile(code, "<loading>", "exec"), {})  # noqa: S102  ours
    gc.collect()
    gc.freeze()
    Nursery(socket.socket(fileno=int(descriptor))).serve()


if __name__ == "__main__":
    main()
