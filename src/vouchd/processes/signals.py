"""The signals of the manager process, one after the other, none of them lost: not by a restart either.

How it works. Python's own handler of a signal writes its number into a pipe (`signal.set_wakeup_fd`), whichever thread
the kernel has it run in; the event loop reads the pipe. A restart hands the pipe on (handover.py) with what is in it,
and puts back what was read and not yet acted upon. From before `exec` until the successor has its handlers the main
thread blocks the signals.

Why it is right. `exec` ends all threads but the one that calls it, and takes the handlers away. A signal that comes
before is in the pipe if a handler ran, in any thread; otherwise it is pending, for none but the main thread is left to
take it, and that one blocks it. So `vouchd stop` ends an instance also in the middle of a restart.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from types import FrameType

STOP = (signal.SIGTERM, signal.SIGINT)
NUMBERS = (*STOP, signal.SIGHUP, signal.SIGUSR1)
_AT_ONCE_BYTES = 4096


class Signals:
    """What has come and was not yet acted upon."""

    def __init__(self) -> None:
        self._waiting: deque[signal.Signals] = deque()
        self._arrival = asyncio.Event()
        self._pipe: tuple[int, int] | None = None

    def open(self, pipe: tuple[int, int] | None) -> None:
        """Begin to hear them, in the main thread; `pipe` is that of the predecessor."""
        read, write = self._pipe = pipe or os.pipe()
        for descriptor in self._pipe:
            os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(read, self._hear, read)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in NUMBERS:
            signal.signal(number, _written)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)

    def close(self) -> None:
        """Hear them no more; they do what they do to any process."""
        if self._pipe is None:
            return
        for number in NUMBERS:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        asyncio.get_running_loop().remove_reader(self._pipe[0])
        for descriptor in self._pipe:
            os.close(descriptor)
        self._pipe = None

    async def next(self) -> signal.Signals:
        """The oldest, waited for."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        return self._waiting.popleft()

    def put(self, number: signal.Signals) -> None:
        """As if it had come."""
        self._waiting.append(number)
        self._arrival.set()

    @property
    def ending(self) -> bool:
        """Whether one has come that ends the process, be it only just now: the loop need not have heard it yet."""
        if self._pipe is not None:
            self._hear(self._pipe[0])
        return any(number in STOP for number in self._waiting)

    def hand_on(self) -> tuple[int, int]:
        """Block them in this thread until a successor opens the pipe, which is returned with all of them in it."""
        assert self._pipe is not None, "they were never opened"  # noqa: S101  for mypy
        signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        os.write(self._pipe[1], bytes(self._waiting))
        self._waiting.clear()
        return self._pipe

    def take_back(self) -> None:
        """There is no successor: unblock them, and hear what is in the pipe."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)

    def _hear(self, read: int) -> None:
        try:
            numbers = os.read(read, _AT_ONCE_BYTES)
        except BlockingIOError:  # they were heard already
            return
        for number in numbers:
            if number in NUMBERS:
                self.put(signal.Signals(number))


def _written(number: int, frame: FrameType | None) -> None:
    """Nothing: that its number is in the pipe is all there is to do."""
