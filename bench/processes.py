"""What processes cost: their processor time and their memory, as the kernel counts them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.02
FIRST, SECOND = -20, -10  # niceness


def cpu_seconds(pid: int) -> float:
    """Processor time of a running process, all threads, in user space and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def ended_seconds(pid: int) -> float:
    """Processor time of its children that have ended and were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS


def pss_mib(pid: int) -> float:
    """Its memory, with its share of what it has in common with others."""
    return _rollup_mib(pid, "Pss:")


def private_mib(pid: int) -> float:
    """Memory that it shares with nobody."""
    return _rollup_mib(pid, "Private_Clean:", "Private_Dirty:")


def peak_mib(pid: int) -> float:
    """The most memory that it had, mapped files included."""
    return _status_mib(pid, "VmHWM:")


def own_mib(pid: int) -> float:
    """Memory of its own that it has now: mapped files are not in it."""
    return _status_mib(pid, "RssAnon:")


def _rollup_mib(pid: int, *fields: str) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith(fields)) / 1024


def _status_mib(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def keep_to(pid: int, processors: Iterable[int]) -> None:
    """Have all threads of a process, and what they start from now on, run on these processors alone."""
    for thread in _threads(pid):
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(thread, processors)


@contextmanager
def going_first(*pids: int) -> Iterator[None]:
    """Have these processes, and this program, go before others of the machine, where this program may say so.

    Linux gives each session as much as another, whatever their niceness: that orders the programs within one.
    """
    former = [(pid, _niceness_of_session(pid)) for pid in (os.getpid(), *pids)]
    try:
        for pid, _ in former:
            _set_niceness_of_session(pid, FIRST)
        yield
    finally:
        for pid, niceness in former:
            _set_niceness_of_session(pid, niceness)


def order(pid: int, niceness: int) -> None:
    """Give all threads of a process this niceness, where this program may."""
    for thread in _threads(pid):
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, thread, niceness)


class Apart:
    """A worker has one of our processors by itself; this program, what it starts and others of ours have the rest.

    A client is elsewhere, and neither it nor a manager takes the worker's processor; where there is one alone they
    share it. To be left again.
    """

    def __init__(self, worker: int, *others: int) -> None:
        self._worker, self._others = worker, others
        self._ours = os.sched_getaffinity(0)
        self._own, self._rest = processor_shares(sorted(self._ours))

    def __enter__(self) -> Self:
        keep_to(self._worker, self._own)
        for pid in self._others:
            keep_to(pid, self._rest)
        os.sched_setaffinity(0, self._rest)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.sched_setaffinity(0, self._ours)

    @contextmanager
    def in_its_place(self) -> Iterator[None]:
        """This program has the worker's processor, who is idle meanwhile."""
        os.sched_setaffinity(0, self._own)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self._rest)


def processor_shares(processors: Sequence[int]) -> tuple[set[int], set[int]]:
    """The processor of a worker, and those of all others; the same one where there is no more.

    It is the last one: devices interrupt the first.
    """
    return {processors[-1]}, set(processors[:-1] or processors)


def _niceness_of_session(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").split()[-1])
    except (OSError, ValueError, IndexError):  # the kernel has no such thing
        return 0


def _set_niceness_of_session(pid: int, niceness: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{niceness}", encoding="ascii")


def _threads(pid: int) -> list[int]:
    """None of a process that has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    return []


def family(pid: int) -> list[int]:
    """The process, its children, and theirs."""
    children: list[int] = []
    for thread in _threads(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            children += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii").split())
    return [pid, *(one for child in children for one in family(child))]


class OwnMemory:
    """The most memory of its own that a process has while this is entered, in MiB: mapped files are not in it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self.most = 0.0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            try:
                self.most = max(self.most, own_mib(self._pid))
            except (OSError, StopIteration):  # it has ended
                return
