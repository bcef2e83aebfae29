"""Whose turn it is to have a response signed: cached answers stay quick however many signatures are wanted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

# How long signing may hold the loop before sockets are looked at again: one RSA-2048 signature, or a dozen of P-256.
SLICE_SECONDS = 0.001


class SigningQueue:
    """First come, first served, and between two slices of signing the event loop serves everyone else.

    A connection has at most one place in the queue, so one that pipelines waits no less than the others.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None  # known once it runs

    def __len__(self) -> int:
        return len(self._waiting)

    def is_free(self) -> bool:
        """Whether the caller may sign at once; if so, later callers of this turn of the loop have to wait."""
        if self._busy:
            return False
        self._busy = True
        self._again()
        return True

    def enter(self, take_turn: Callable[[], None]) -> bool:
        """Call `take_turn` when it is due; False when there is no place left."""
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append(take_turn)
        return True

    def _turn(self) -> None:
        end = perf_counter() + SLICE_SECONDS
        while self._waiting:
            self._waiting.popleft()()
            if perf_counter() >= end:
                break
        self._busy = bool(self._waiting)
        if self._busy:
            self._again()

    def _again(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._turn)
