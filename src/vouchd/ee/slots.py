"""With live times: the answers of the next slot are there before it begins.

Where a CA's policy has live times every cached answer ends with its slot, and all clients would meet an empty cache at
once. So the answers that were asked for in this slot are made for the next one in its last seconds, when nobody waits
for a signature, and put into the cache by the tick that begins it.

Why this is right: an answer is made for the second at which its slot begins, by the same responder and of the same
facts, so it is the one that would be made then, on every member. It lies here until then and is given to nobody, since
its producedAt is still to come. When the facts change meanwhile, or other signers sign, its basis is not current any
more and it is dropped. One that was made ahead and not asked for is not made again: nothing goes on by itself.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import islice

from vouchd.ee.cache_renewal import HOTTEST, PAUSE_SECONDS
from vouchd.ee.port_state import PortState
from vouchd.ee.replies import Entry
from vouchd.service.terms import Answer

AHEAD_SECONDS = 3  # slots of that length or less are made ahead all through
LOOKED_AT = 2000  # answers of a slot, at most, of which the most asked are chosen


class Slots:
    """The answers of the slots to come, of one port; `tick` is called at each full second."""

    def __init__(self, port: PortState) -> None:
        self._port = port
        # From which second it is right, and its request; the most asked last.
        self._due: list[tuple[int, bytes]] = []
        self._ready: dict[int, dict[bytes, Answer]] = {}
        self._seen: set[int] = set()  # slots whose answers were chosen
        self._unasked: set[bytes] = set()  # requests whose answers were made ahead for the present slot
        self._step: asyncio.Handle | None = None

    @property
    def is_due(self) -> bool:
        """Whether anything is to be made still."""
        return self._step is not None

    def tick(self) -> None:
        """Put in what is right from now on, and look for what ends soon."""
        second = self._port.second
        for end in [end for end in self._ready if end <= second]:
            answers = self._ready.pop(end)
            self._unasked = set(answers)
            for request_der, answer in answers.items():
                self._port.keep(request_der, answer)
        self._seen = {end for end in self._seen if end > second}
        self._due = [one for one in self._due if one[0] > second]
        for end, entries in self._port.cache.ending(second + 1, second + AHEAD_SECONDS).items():
            if end not in self._seen:
                self._seen.add(end)
                self._choose(end, entries)
        if self._due and self._step is None:
            self._step = asyncio.get_running_loop().call_soon(self._go_on)

    def stop(self) -> None:
        """Leave the rest."""
        if self._step is not None:
            self._step.cancel()

    def _choose(self, end: int, entries: set[Entry]) -> None:
        some = islice(entries, LOOKED_AT)
        wanted = [(one.uses, one.key) for one in some if one.uses or one.key not in self._unasked]
        self._due += [(end, request_der) for _, request_der in reversed(heapq.nlargest(HOTTEST, wanted))]

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        if self._due and self._port.queue.is_idle and self._port.threads.is_free:
            end, request_der = self._due.pop()
            if end > self._port.second:
                self._port.ahead(request_der, end, lambda answer: self._take(end, request_der, answer))
        elif self._due:
            self._step = loop.call_later(PAUSE_SECONDS, self._go_on)
            return
        self._step = loop.call_soon(self._go_on) if self._due else None

    def _take(self, end: int, request_der: bytes, answer: Answer) -> None:
        if answer.terms.cacheable and end > self._port.second:
            self._ready.setdefault(end, {})[request_der] = answer
