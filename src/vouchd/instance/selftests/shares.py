"""Many checks of one kind, shared among as many processes as there are processors.

How it works: this process forks one for each further processor, which makes its share of the checks and writes what
came of each as a line of JSON into memory that both have. This one makes the first share meanwhile, reads what the
others wrote, and makes those itself that a process has not told of: it ended early, takes far longer than this one, or
could not be started, as where the system allows no more processes. A share can also be left to itself, and what it has
told be looked at now and then (`start_proof`).

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
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import NoReturn

from vouchd import errors
from vouchd.errors import VouchdError
from vouchd.hardening import end_with_parent

Check = Callable[[], str]
Outcome = str | VouchdError

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
                shares.append(Share({name: checks[name] for name in names[first::processes]}))
                others.callback(shares[-1].end)
        done |= {name: outcome(checks[name]) for name in names[::processes]}
        deadline = time.monotonic() + (time.monotonic() - begin) + _PATIENCE_SECONDS
        for share in shares:
            with suppress(OSError):
                share.wait(deadline)
                done |= share.news()
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


class Gate:
    """What processes wait at before they make checks, until it is released, or ended with them."""

    def __init__(self) -> None:
        """Raises: OSError."""
        self._inside, self._outside = os.pipe2(os.O_CLOEXEC)
        self._is_open = False

    def release(self) -> None:
        """Let all processes go on, and those that come."""
        if not self._is_open:
            self._is_open = True
            os.close(self._outside)
            os.close(self._inside)

    def pass_through(self) -> None:
        """In the child: wait until it is open."""
        if not self._is_open:
            os.close(self._outside)  # it is open once nobody has this end any more
            os.read(self._inside, 1)


class Share:
    """A process that makes checks, which `end` has to end."""

    def __init__(self, checks: Mapping[str, Check], gate: Gate | None = None) -> None:
        """With a `gate` it makes none before that is open. Raises: OSError."""
        self._memory = os.memfd_create("checks")
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._memory)
            raise
        if self._pid == 0:
            _be_child(checks, self._memory, parent, gate)
        self._pidfd = os.pidfd_open(self._pid)
        self._seen = 0  # octets

    @property
    def ended(self) -> bool:
        """Whether it has made all that it will."""
        return self.wait(0)

    def wait(self, deadline: float) -> bool:
        """Wait until it has `ended`, or that moment of the monotonic clock."""
        return bool(select.select([self._pidfd], [], [], max(0.0, deadline - time.monotonic()))[0])

    def news(self) -> dict[str, Outcome]:
        """What came of checks that it has told of since the last look. Raises: OSError."""
        data = os.pread(self._memory, os.fstat(self._memory).st_size - self._seen, self._seen)
        lines = data[: data.rfind(b"\n") + 1]
        self._seen += len(lines)
        return _read(lines)

    def end(self) -> None:
        """End it; nothing of it is left."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)  # one that has ended is not reaped yet: this is no other
        os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        os.close(self._memory)


def _be_child(checks: Mapping[str, Check], memory: int, parent: int, gate: Gate | None) -> NoReturn:
    try:
        _stand_alone(parent)
        gc.disable()  # it would write to all objects, which are shared as long as nobody does
        if gate is not None:
            gate.pass_through()
        for name, check in checks.items():
            os.write(memory, json.dumps([name, *_record(outcome(check))]).encode() + b"\n")
    finally:
        os._exit(0)  # whatever has happened: the parent makes the checks that were not told of


def _stand_alone(parent: int) -> None:
    signal.set_wakeup_fd(-1)  # the parent's loop hears its own signals
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGUSR1):  # sent to the whole group, meant for the parent
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(parent)


def _record(result: Outcome) -> tuple[str, ...]:
    if isinstance(result, VouchdError):
        return str(result), type(result).__name__, result.hint
    return (result,)


def _read(lines: bytes) -> dict[str, Outcome]:
    """What whole lines say."""
    read = dict[str, Outcome]()
    for line in lines.splitlines():
        name, text, *error = json.loads(line)
        if not error:
            read[name] = text
        elif isinstance(kind := getattr(errors, error[0], None), type) and issubclass(kind, VouchdError):
            read[name] = kind(text, hint=error[1])
    return read
