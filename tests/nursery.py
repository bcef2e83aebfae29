"""The process that has loaded the program and forks one for each command of a test: started by `tests.commands`.

Arguments: the descriptor of a SEQPACKET socket, then code that loads the program. A request is JSON with the descriptors of
standard input, output and error, and a stream socket; that is told the id of the new process, then its exit code. The
new process has the folder, environment and descriptors of the request, signals as at a start, and runs its code. The
nursery has one thread and opens nothing but what it is asked with, so a fork of it is as good as a start. It ends with
whoever started it.

An instance has threads soon, and forks no more. So it has a twin, forked before it had any, that forks its workers: as
children of the instance, by the flag CLONE_PARENT. A restart is an exec, which nothing can be loaded before: it becomes
this program again, with `again` as its first argument, which loads an instance and has a new twin. So it is with the
instance without a store of tests/processes.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

MAIN = "import sys\nfrom vouchd.cli.main import main\nsys.exit(main())\n"
PROGRAM = [sys.executable, "-P", "-m", "vouchd.cli.main"]
AGAIN, STUB_AGAIN = "again", "stub-again"
_WORKER = [sys.executable, "-P", "-m", "vouchd.cli.worker"]
_WORKER_MAIN = "import sys\nfrom vouchd.cli.worker import main\nsys.exit(main(sys.argv[1:]))\n"
# The instance without a store of tests/processes, whose workers are the same program.
STUB = [sys.executable, str(Path(__file__).parent / "processes" / "stub_instance.py")]
STUB_MAIN = "from tests.processes.stub_instance import main\nmain()\n"
_WORKERS = ((_WORKER, _WORKER_MAIN), (STUB, STUB_MAIN))
# What an instance loads, and last what those load that its twin forks.
_INSTANCE = ("cli.main", "processes.health", "wiring.agent", "wiring.manager", "wiring.worker")
_REQUEST_BYTES = 1 << 20
_MOST_DESCRIPTORS = 250
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT = 0x8000
_PR_GET_TID_ADDRESS = 40


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
    _begin(request["code"], request["arguments"], request["environment"])


def _begin(code: str, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Run it as the first program of a process: what that starts and becomes of ours goes through here as well."""
    subprocess.Popen = Start  # type: ignore[misc]
    os.execvpe = _become_again  # type: ignore[assignment]
    Start.twin = twin_of(code, arguments)
    run(code, arguments, environment)


def _become_again(file: str, args: Sequence[str], env: Mapping[str, str], become: Any = os.execvpe) -> NoReturn:
    """As `os.execvpe`, which our program restarts itself by."""
    become(file, _again(args), env)


def _again(args: Sequence[str]) -> Sequence[str]:
    """The words that start this program as what those start, if they start one of ours."""
    for program, again in ((PROGRAM, AGAIN), (STUB, STUB_AGAIN)):
        if list(args[: len(program)]) == program:
            return [sys.executable, __file__, again, *args[len(program) :]]
    return args


def _go_on(arguments: Sequence[str]) -> NoReturn:
    """Be the instance that this process was before the exec."""
    sys.path[0] = str(Path(__file__).parents[1])
    gc.disable()  # what is loaded stays
    from tests.cheap_passwords import cheapen
    from tests.compiled import compiled

    with compiled():
        from vouchd.agent.loading import without_trust

        with without_trust():
            for module in _INSTANCE:
                import_module(f"vouchd.{module}")
        from tests.pace import quicken
    gc.freeze()
    gc.enable()
    cheapen()
    quicken()
    _begin(MAIN, arguments, os.environ)


def _go_on_as_stub(arguments: Sequence[str]) -> NoReturn:
    """The same for an instance without a store."""
    sys.path[0] = str(Path(__file__).parents[1])
    import tests.processes.stub_instance  # noqa: F401  for those that the twin forks

    _begin(STUB_MAIN, arguments, os.environ)


def close_all_but(kept: set[int]) -> None:
    """Close the descriptors of this process but these."""
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - kept:  # noqa: PTH208
        with suppress(OSError):  # the one that lists them
            os.close(descriptor)


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
        if error.code is not None and status is not error.code:
            sys.stderr.write(f"{error.code}\n")
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


class Twin:
    """The process that forks the workers of this one, which is an instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if os.fork() == 0:
                self._requests.close()
                serve_as_twin(theirs)

    def fork(self, code: str, arguments: Sequence[str], environment: Mapping[str, str], passed: Sequence[int]) -> int:
        """The process id of a new child of this process, which runs that code; these descriptors it has, too."""
        umask = os.umask(0o777)
        os.umask(umask)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        request = [code, [*arguments], {**environment}, [1, 2, *passed], umask, limits]
        with self._lock:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [1, 2, *passed])
            return int(self._requests.recv(_REQUEST_BYTES))


def twin_of(code: str, arguments: Sequence[str]) -> Twin | None:
    """The twin of the process that runs this code; only an instance has one, on the machines that we know."""
    instance = arguments[:1] == ["run"] if code == MAIN else code.endswith(STUB_MAIN)
    return Twin() if instance and os.uname().machine in _SYS_CLONE else None


def serve_as_twin(requests: socket.socket) -> NoReturn:
    """Fork a worker at each request, until the instance has ended or has become another program."""
    close_all_but({requests.fileno()})
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # an instance that restarts blocks some until it listens to them
    for _ in range(3):
        os.open(os.devnull, os.O_RDWR)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, _MOST_DESCRIPTORS)
        if not message:
            os._exit(0)
        pid = _fork_sibling()
        if pid == 0:
            requests.close()
            _be_worker(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.sendall(str(pid).encode())


def _fork_sibling() -> int:
    """As `os.fork`, of a process with one thread; but the parent of the new one is that of this one."""
    python, number = ctypes.PyDLL(None), _SYS_CLONE[os.uname().machine]
    python.syscall.restype = ctypes.c_long
    python.PyOS_BeforeFork()
    pid = python.syscall(ctypes.c_long(number), ctypes.c_long(_CLONE_PARENT), *[ctypes.c_long(0)] * 4)
    if pid:
        python.PyOS_AfterFork_Parent()
        return int(pid)
    place = ctypes.c_void_p()  # where the C library keeps the number of its thread
    if python.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(place), 0, 0, 0) == 0 and place.value:
        ctypes.c_int.from_address(place.value).value = os.getpid()
    python.PyOS_AfterFork_Child()
    return 0


def _be_worker(request: Sequence[Any], descriptors: Sequence[int]) -> NoReturn:
    """Be that worker, which has each descriptor under the number that it has in the instance."""
    code, arguments, environment, numbers, umask, limits = request
    above = max(*numbers, *descriptors) + 1
    lifted = [os.dup(descriptor) for descriptor in descriptors]
    while min(lifted) < above:  # out of the way of those numbers
        lifted = [one if one >= above else os.dup(one) for one in lifted]
    for descriptor, number in zip(lifted, numbers, strict=True):
        os.dup2(descriptor, number)
    close_all_but({0, *numbers})
    os.umask(umask)
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(limits))
    run(code, arguments, environment)


class Start(subprocess.Popen):
    """What a command of one thread starts: if that is our program again (`start` does so), it is forked as well.

    It is a child with the descriptors, the session and the folder of the call; only that it has nothing to load.
    So is a worker that an instance starts, whose twin forks it.
    """

    twin: Twin | None = None

    def __init__(self, args: Any, **options: Any) -> None:
        for program, code in _WORKERS:
            if self.twin is not None and list(args[: len(program)]) == program:
                self.args, self.returncode = args, None
                self.stdin = self.stdout = self.stderr = None
                self.pid = self.twin.fork(code, list(args[len(program) :]), options["env"], options["pass_fds"])
                return
        if list(args[: len(PROGRAM)]) == PROGRAM and threading.active_count() > 1:
            args = _again(args)  # threads forbid a fork: the wizard has some when it starts what it has set up
        elif list(args[: len(PROGRAM)]) == PROGRAM:
            kept = {0, 1, 2, *options.get("pass_fds", ())}
            environment = options.get("env") or os.environ
            options["preexec_fn"] = lambda: _run_again(list(args[len(PROGRAM) :]), environment, kept)
        super().__init__(args, **options)


def _run_again(arguments: Sequence[str], environment: Mapping[str, str], kept: set[int]) -> NoReturn:
    """Where exec would follow. The starter hears that all went well when the pipe between them is closed here."""
    close_all_but(kept)
    Start.twin = twin_of(MAIN, arguments)
    run(MAIN, arguments, environment)


def main() -> None:
    if sys.argv[1] == AGAIN:
        _go_on(sys.argv[2:])
    if sys.argv[1] == STUB_AGAIN:
        _go_on_as_stub(sys.argv[2:])
    descriptor, code = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exec(compile(code, "<loading>", "exec"), {})  # noqa: S102  ours
    gc.collect()
    gc.freeze()
    Nursery(socket.socket(fileno=int(descriptor))).serve()


if __name__ == "__main__":
    main()
