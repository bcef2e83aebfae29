"""What becomes of cached answers when the state that they rest on has changed: out, and the most asked made anew.

Both are done between other work, a little at each turn of the loop: a CA may have a hundred thousand answers here. Dead
ones are given to nobody meanwhile, they only take room. A signature is made when nobody waits for one, so whoever asks
first finds the answer there, and nobody waits for an answer that nobody asks for.
"""

from __future__ import annotations

import asyncio
import heapq

from vouchd.ee.port_state import PortState
from vouchd.ee.replies import Entry

# Of one CA: how many answers are made anew, and how many dead ones are taken out at a turn of the loop.
HOTTEST = 100
SWEPT = 100
# How long signatures are put off while others want some.
PAUSE_SECONDS = 0.01


class Renewal:
    """The dead answers of one port, and those that are due to be made anew."""

    def __init__(self, port: PortState) -> None:
        self._port = port
        self._lots: list[set[Entry]] = []
        self._hottest: list[
            tuple[int, bytes]
        ] = []  # of the last lot, a heap: how often each was given, and its request
        self._due: list[bytes] = []  # requests, the most asked last
        self._step: asyncio.Handle | None = None

    @property
    def is_due(self) -> bool:
        """Whether anything is left to do."""
        return self._step is not None

    def begin(self) -> None:
        """Look for answers that are dead now."""
        self._lots += self._port.cache.dead()
        if self._lots and self._step is None:
            self._step = asyncio.get_running_loop().call_soon(self._go_on)

    def stop(self) -> None:
        """Leave the rest."""
        if self._step is not None:
            self._step.cancel()

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        if self._lots:
            self._sweep(self._lots[-1])
        elif self._port.queue.is_idle and self._port.threads.is_free:
            self._port.renew(self._due.pop())
        else:
            self._step = loop.call_later(PAUSE_SECONDS, self._go_on)
            return
        self._step = loop.call_soon(self._go_on) if self._lots or self._due else None

    def _sweep(self, lot: set[Entry]) -> None:
        for row in self._port.cache.sweep(lot, SWEPT):
            if row[0] and len(self._hottest) < HOTTEST:
                heapq.heappush(self._hottest, row)
            elif row[0]:
                heapq.heappushpop(self._hottest, row)
        if not lot:
            self._lots.pop()
            self._due += [request_der for _, request_der in sorted(self._hottest)]
            self._hottest = []
