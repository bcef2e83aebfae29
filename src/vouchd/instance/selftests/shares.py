"""Many checks of one kind, shared among as many processes as there are processors.

How it works: this process forks one for each further processor, which makes its share of the checks and writes what
came of each as a line of JSON into memory that both have. This one makes the first share meanwhile, reads what the
others wrote, and makes those itself that a process has not told of: it ended early, takes far longer than this one, or
could not be started, as where the system allows no more processes.

Why this is right: a fork has all that the checks look at as it is at that moment, and none of them changes anything.
Checks that ask a store, or a token, are not shared: what is open there belongs to one process. Nor is anything shared
in a process of several threads, as an instance that runs: a lock that one of them has would stay locked in the child.
A child never returns into the code of its parent, and closes nothing that is the parent's.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NoReturn

from vouchd import errors
from vouchd.errors import VouchdError

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
        shares = []
        with suppress(OSError):
            for first in range(1, processes):
                shares.append(others.enter_context(_process(checks, names[first::processes])))  # noqa: PERF401  some may do
        done |= {name: outcome(checks[name]) for name in names[::processes]}
        deadline = time.monotonic() + (time.monotonic() - begin) + _PATIENCE_SECONDS
        for results in shares:
            with suppress(OSError):
                done |= results(deadline)
    return {name: done[name] if name in done else outcome(checks[name]) for name in names}


def outcome(check: Check) -> Outcome:
    """What it returned or raised."""
    try:
        return check()
    except VouchdError as error:
        return error


def _processes(checks: int) -> int:
    if threading.active_count() > 1:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), checks // _LEAST))


@contextmanager
def _process(checks: Mapping[str, Check], share: Sequence[str]) -> Iterator[Callable[[float], dict[str, Outcome]]]:
    """A process that makes this share; what it told when it has ended, or at that moment. It is gone at the end."""
    memory = os.memfd_create("checks")
    try:
        pid = os.fork()
    except OSError:
        os.close(memory)
        raise
    if pid == 0:
        _be_child(checks, share, memory)
    pidfd = os.pidfd_open(pid)

    def results(deadline: float) -> dict[str, Outcome]:
        select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
        return _read(memory)

    try:
        yield results
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # one that has ended is not reaped yet, so this is no other
        os.waitpid(pid, 0)
        os.close(pidfd)
        os.close(memory)


def _be_child(checks: Mapping[str, Check], share: Sequence[str], memory: int) -> NoReturn:
    try:
        gc.disable()  # it would write to all objects, which are shared as long as nobody does
        for name in share:
            os.write(memory, json.dumps([name, *_record(outcome(checks[name]))]).encode() + b"\n")
    finally:
        os._exit(0)  # whatever has happened: the parent makes the checks that were not told of


def _record(result: Outcome) -> tuple[str, ...]:
    if isinstance(result, VouchdError):
        return str(result), type(result).__name__, result.hint
    return (result,)


def _read(memory: int) -> dict[str, Outcome]:
    """What was told in whole lines."""
    data = os.pread(memory, os.fstat(memory).st_size, 0)
    read = dict[str, Outcome]()
    for line in data.split(b"\n")[:-1]:
        name, text, *error = json.loads(line)
        if not error:
            read[name] = text
        elif isinstance(kind := getattr(errors, error[0], None), type) and issubclass(kind, VouchdError):
            read[name] = kind(text, hint=error[1])
    return read
