"""Many checks of one kind, shared among as many processes as there are processors.

How it works: this process forks one for each further processor, which makes its share of the checks and writes what
came of each as a line of JSON into memory that both have. This one makes the first share meanwhile, reads what the
others wrote, and makes those itself that a process has not told of: it ended early, takes far longer than this one, or
could not be started, as where the system allows no more processes. A share can also be left to itself, take lots of
checks by their turns, and what it has told be looked at now and then (`start_proof`).

Why this is right: a fork has all that the checks look at as it is at that moment, and none of them changes anything.
Checks that ask a store, or a token, are not shared: what is open there belongs to one process. Nor is anything shared
in a process of several threads, as an instance that runs: a lock that one of them has would stay locked in the child.
A child never returns into the code of its parent, hears no signal in its place, closes nothing that is the parent's,
and does not outlive it: it has the parent's sockets and locks.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, NoReturn

from vouchd import errors
from vouchd.errors import VouchdError
from vouchd.hardening import end_with_parent

Check = Callable[[], str]
Outcome = str | VouchdError
Line = Sequence[Any]  # what a process tells, as JSON has it

_LEAST = 50  # checks for which a process pays
_PATIENCE_SECONDS = 10.0  # with a process that takes longer than twice this one's share


def outcomes(checks: Mapping[str, Check], *, shared: bool = False) -> dict[str, Outcome]:
    """What each check returned or raised, by name and in their order; `shared`: among processes, where it pays."""
    names, done = list(checks), dict[str, Outcome]()
    processes = _processes(len(names)) if shared else 1
    begin = time.monotonic()
    with ExitStack() as others:
        shares: list[Share] = []
        with suppress(OSError):
            for first in range(1, processes):
                shares.append(Share(partial(_lines, {name: checks[name] for name in names[first::processes]})))
                others.callback(shares[-1].end)
        done |= {name: outcome(checks[name]) for name in names[::processes]}
        deadline = time.monotonic() + (time.monotonic() - begin) + _PATIENCE_SECONDS
        for share in shares:
            with suppress(OSError):
                share.wait(deadline)
                done |= {name: result for name, *words in share.news() if (result := outcome_of(words)) is not None}
    return {name: done[name] if name in done else outcome(checks[name]) for name in names}


def outcome(check: Check) -> Outcome:
    """What it returned or raised."""
    try:
        return check()
    except VouchdError as error:
        return error


def _processes(checks: int) -> int:
    if not may_share():
        return 1
    return max(1, min(processors(), checks // _LEAST))


def may_share() -> bool:
    """Whether this process may fork: it has one thread."""
    return threading.active_count() == 1


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


class Turns:
    """Numbers from 0 of which each goes to one of the processes that take them, once they are let out.

    They lie in a pipe: who reads one has it alone. Every pipe holds 1,024.
    """

    def __init__(self) -> None:
        """Raises: OSError."""
        self._inside, self._outside = os.pipe2(os.O_CLOEXEC)
        self._is_open = True

    def let_out(self, count: int) -> None:
        """Let the processes have that many, which is all that there will be."""
        if self._is_open:
            os.write(self._outside, array("I", range(count)).tobytes())
        self.close()

    def close(self) -> None:
        """There are no more; those that processes wait for do not come."""
        if self._is_open:
            self._is_open = False
            os.close(self._outside)
            os.close(self._inside)

    def __iter__(self) -> Iterator[int]:
        """In a child: its turns, as they come, until there are no more."""
        os.close(self._outside)  # they end once nobody has this end any more
        size = array("I").itemsize
        while number := os.read(self._inside, size):
            yield array("I", number)[0]


class Share:
    """A process that makes checks, which `end` has to end."""

    def __init__(self, lines: Callable[[], Iterable[Line]]) -> None:
        """It tells those `lines`, each once it is made. Raises: OSError."""
        self._memory = os.memfd_create("checks")
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._memory)
            raise
        if self._pid == 0:
            _be_child(lines, self._memory, parent)
        try:
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:  # no descriptor is left, or a policy knows no such call
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._memory)
            raise
        self._seen = 0  # octets

    @property
    def ended(self) -> bool:
        """Whether it has made all that it will."""
        return self.wait(0)

    def wait(self, deadline: float) -> bool:
        """Wait until it has `ended`, or that moment of the monotonic clock."""
        end = select.poll()  # `select` takes no descriptor above 1,023
        end.register(self._pidfd, select.POLLIN)
        return bool(end.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def news(self) -> list[Line]:
        """The lines that it has told since the last look. Raises: OSError."""
        data = os.pread(self._memory, os.fstat(self._memory).st_size - self._seen, self._seen)
        whole = data[: data.rfind(b"\n") + 1]
        self._seen += len(whole)
        # All at once: one by one takes seven times as long.
        return list(json.loads(b"[%b]" % b",".join(whole.splitlines())))

    def end(self) -> None:
        """End it; nothing of it is left."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)  # one that has ended is not reaped yet: this is no other
        os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        os.close(self._memory)


def _be_child(lines: Callable[[], Iterable[Line]], memory: int, parent: int) -> NoReturn:
    try:
        _stand_alone(parent)
        gc.disable()  # it would write to all objects, which are shared as long as nobody does
        for line in lines():
            os.write(memory, json.dumps(line).encode() + b"\n")
    finally:
        os._exit(0)  # whatever has happened: the parent makes the checks that were not told of


def _stand_alone(parent: int) -> None:
    signal.set_wakeup_fd(-1)  # the parent's loop hears its own signals
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGUSR1):  # sent to the whole group, meant for the parent
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(parent)


def _lines(checks: Mapping[str, Check]) -> Iterator[Line]:
    for name, check in checks.items():
        yield name, *record(outcome(check))


def record(result: Outcome) -> tuple[str, ...]:
    """What came of a check, as a process tells it."""
    if isinstance(result, VouchdError):
        return str(result), type(result).__name__, result.hint
    return (result,)


def outcome_of(words: Sequence[str]) -> Outcome | None:
    """What came of a check that was told as this `record`; None where the error is none of the common table."""
    text, *error = words
    if not error:
        return text
    kind = getattr(errors, error[0], None)
    return kind(text, hint=error[1]) if isinstance(kind, type) and issubclass(kind, VouchdError) else None
