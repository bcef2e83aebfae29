"""How long a worker's loop stands still among many CAs: while CRLs come one after the other, at a start, at a restart.

One client asks one question each millisecond over one connection, and its answer is cached: so it waits as long as the
loop does something else, and next to no longer. Beside the longest wait stands that while nothing is published, which
is what the machine does to a loop that has nothing to do.

What the kernel had the loop's thread, or the client, wait for a processor meanwhile is taken off, since it is not the
loop that stands still then; the longest wait by the clock alone stands beside. Both are the kernel's figures, so what
is left is the loop's own work, and its waiting for the interpreter, for the disk, for another thread of the worker.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from bench.arrivals import arriving, next_crls
from bench.figures import Figure
from bench.instance import timed_vouchd
from bench.many_cas import THOUSAND, ManyCAs, many_cas
from bench.processes import family, going_first
from bench.signing import HEAD, request
from vouchd.instance import lifecycle

MS = {THOUSAND: 5.0, 10 * THOUSAND: 5.0}
SECONDS = 10.0
MOST_CRLS = 1000  # in these seconds
_RESTART_SECONDS = 600  # on a machine that does much else
_EVERY_SECONDS = 0.001
_SERIAL = 1 << 126
_LOOK_SECONDS = 0.01
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wait:
    """Milliseconds for one answer by the clock, and how many of them loop or client had no processor."""

    clock: float
    queued: float

    @property
    def still(self) -> float:
        """What is left."""
        return max(self.clock - self.queued, 0.0)


@dataclass
class Answers:
    """What a client waited for its answers.

    The first one over a connection, of a worker that may have none of its own yet, is among `first`, in milliseconds by
    the clock.
    """

    waits: list[Wait] = field(default_factory=list)
    first: list[float] = field(default_factory=list)


class Client:
    """Asks the port of an instance about one CA, in a process that does nothing else, until `end` has something."""

    def __init__(self, made: ManyCAs, port: int, end: Connection) -> None:
        request_der = request(made.cas[-1], _SERIAL)
        self._question = HEAD % (b"/ocsp", len(request_der)) + request_der
        self._made, self._port, self._end = made, port, end
        self.answers = Answers()

    def run(self) -> None:
        """Ask; where a connection ends, over another one."""
        gc.disable()
        begin = time.perf_counter()
        while not self._end.poll():
            with socket.create_connection(("127.0.0.1", self._port)) as connection:
                if not _ask(connection, self._question):
                    continue  # accepted by a worker that ends
                self.answers.first.append(1000 * (time.perf_counter() - begin))
                with Queues.of(newest_worker(self._made), os.getpid()) as queues:
                    begin = self._over(connection, queues)

    def _over(self, connection: socket.socket, queues: Queues) -> float:
        """Ask over this connection to its end; returns when the question that had no answer was asked."""
        due = time.perf_counter()
        while not self._end.poll(max(due - time.perf_counter(), 0.0)):
            due = max(due + _EVERY_SECONDS, time.perf_counter())
            before, begin = queues.seconds(), time.perf_counter()
            if not _ask(connection, self._question):
                return begin
            clock, queued = time.perf_counter() - begin, queues.seconds() - before
            self.answers.waits.append(Wait(1000 * clock, 1000 * queued))
        return due


class Queues:
    """Where the first threads of processes wait for a processor, by the kernel."""

    def __init__(self, files: Sequence[int]) -> None:
        self._files = files
        self._last = [0.0] * len(files)

    @classmethod
    @contextmanager
    def of(cls, *pids: int) -> Iterator[Queues]:
        """Those of these processes."""
        with ExitStack() as stack:
            paths = (f"/proc/{pid}/task/{pid}/schedstat" for pid in pids)
            yield cls([stack.enter_context(Path(path).open("rb")).fileno() for path in paths])

    def seconds(self) -> float:
        """How long they have waited, together; of one that has ended, until then."""
        for place, file in enumerate(self._files):
            with suppress(ProcessLookupError):
                self._last[place] = int(os.pread(file, 64, 0).split()[1]) / 1e9
        return sum(self._last)


def _ask(connection: socket.socket, question: bytes) -> bool:
    """Whether an answer came, whole; not where the connection has ended."""
    try:
        connection.sendall(question)
        answer = b""
        while (length := _LENGTH.search(answer)) is None or len(answer) < _whole(answer, int(length[1])):
            piece = connection.recv(1 << 16)
            if not piece:
                return False
            answer += piece
    except ConnectionError:
        return False
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"an answer that is none: {answer[:80]!r}")
    return True


def _whole(answer: bytes, length: int) -> int:
    return answer.index(b"\r\n\r\n") + 4 + length


def newest_worker(made: ManyCAs) -> int:
    """The process that was started last of those that answer: who connects now is answered by it."""
    pid = lifecycle.status(made.layout).pid
    if pid is None:
        raise SystemExit("the instance does not run")
    return max(one for one in family(pid) if _is_worker(one))


def _is_worker(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        return b"vouchd.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@contextmanager
def questioning(made: ManyCAs, port: int) -> Iterator[Answers]:
    """What a client waits while this is entered; to be read afterwards."""
    ours, theirs = multiprocessing.Pipe()
    answers = Answers()
    child = multiprocessing.get_context("fork").Process(target=_ask_on, args=(Client(made, port, theirs), theirs))
    child.start()
    theirs.close()
    try:
        yield answers
        with suppress(EOFError, BrokenPipeError):  # it has said why
            ours.send(None)
            answers.waits, answers.first = ours.recv()
    finally:
        child.terminate()
        child.join()
    if not answers.waits:
        raise SystemExit("the client had no answers")


def _ask_on(client: Client, parent: Connection) -> None:
    client.run()
    parent.send((client.answers.waits, client.answers.first))


def figures(count: int) -> Iterator[Figure]:
    """The longest that the loop stood still, for each of what happens to an instance of so many CAs."""
    with many_cas(count) as made:
        starting = _while_starting(made)
        pid, port = _at_work(made)
        with going_first(pid):
            with questioning(made, port) as quiet:
                time.sleep(SECONDS)
            yield row(count, "from the first answer of a start until it answers for all", starting, quiet)
            with arriving(made, next_crls(made), MOST_CRLS, None) as arrivals, questioning(made, port) as busy:
                time.sleep(SECONDS)
            how = f"{arrivals.count} in {arrivals.seconds:.0f} s"
            yield row(count, "while one CRL after the other is published", busy, quiet, how)
            with questioning(made, port) as restarting:
                timed_vouchd(made.root, "restart", "--timeout", f"{_RESTART_SECONDS}")
        yield row(count, "from a restart until others answer", restarting, quiet, _firsts(restarting))


def row(count: int, what: str, some: Answers, quiet: Answers, how: str = "") -> Figure:
    """What happened in some time beside the time in which nothing did."""
    detail = "; ".join(filter(None, (how, _in_words(some.waits), f"quiet {_in_words(quiet.waits)}")))
    longest = max(wait.still for wait in some.waits)
    return Figure(f"a worker's loop stands still, {count:,} CAs, {what}", longest, MS[count], "ms", detail)


def _firsts(answers: Answers) -> str:
    """Of the workers that came into place of others."""
    return f"first answer by another worker {', '.join(f'{one:.0f}' for one in answers.first[1:])} ms"


def _in_words(waits: list[Wait]) -> str:
    still, clock = (sorted(column) for column in zip(*((wait.still, wait.clock) for wait in waits), strict=True))
    rare = len(waits) * 999 // 1000
    return (
        f"longest {still[-1]:.1f} ms, p99.9 {still[rare]:.1f} ms of {len(waits)} answers; "
        f"by the clock {clock[-1]:.1f}, {clock[rare]:.1f} ms"
    )


def _while_starting(made: ManyCAs) -> Answers:
    command = [sys.executable, "-m", "vouchd.cli.main", "start", "--instance", str(made.layout.root)]
    with ExitStack() as stack, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as start:
        answers: Answers | None = None
        look = lifecycle.looks(made.layout)
        while start.poll() is None:
            report = look().report
            if answers is None and report is not None and report.acknowledged:
                stack.enter_context(going_first(report.pid))
                answers = stack.enter_context(questioning(made, report.ee[1]))
            time.sleep(_LOOK_SECONDS)
    if start.returncode or answers is None:
        raise SystemExit(f"the instance did not start: see {made.layout.log}")
    return answers


def _at_work(made: ManyCAs) -> tuple[int, int]:
    """Process id and port of the instance."""
    report = lifecycle.status(made.layout).report
    if report is None:
        raise SystemExit("the instance does not run")
    return report.pid, report.ee[1]
