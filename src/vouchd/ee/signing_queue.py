"""Whose turn it is to have a response signed: cached answers stay quick however many signatures are wanted.

How it works. A signature takes the worker for itself: twenty microseconds to two milliseconds in software, a hundred
with a token. Requests that need one wait here, in a queue for each group of clients (see `client_groups`), and the
groups take turns: one request of the first group, then the group goes to the end of the round. As many turns as fit
into a slice of time are served together, then the event loop looks at its sockets again, whoever still waits. What
needs no signature never comes here: a cached answer is given at once, and a turn whose answer another one's turn has
made meanwhile takes it from the cache.

All groups together have `limit` places. When they are taken, whoever has most of them gives one up to whoever has
fewer: the newest request of the greediest group is told to try later, if the newcomer's group would even then not have
more places than it has left. Otherwise the newcomer is the one who is told so.

Why it is right.
- A group with one request waits for one signature of each other group at most, not for all that they have queued: who
  asks twenty times what can be signed makes others wait for one signature of his.
- A group loses a request only while it holds at least two places more than the group for which it gives way; so groups
  that want little are never cut for one that wants much, and two that want the same do not push each other out in
  turns.
- More connections or more pipelining change nothing: a connection has at most one place, and a group's share is one.
- Each step takes the same time however long the queues are: groups are kept by the number of their places, and that
  number changes by one at a time, so the greediest group is found without a search.
- A slice is kept by experience: as many turns as the last ones let expect, never more than `TOGETHER`, and at most
  twice and at least half as many as the last time. A few slow signatures after quick ones hold the loop for a few of
  them, and twice as many in all until slices are right again. A slice in which other processes had the processor says
  little of signatures, and costs half of the turns of the next one: turns that come one by one cost more each.
- While one group alone waits (`goes_on`) its answers may be written some at a time: the wait is for signatures of its
  own. As soon as another one is there nothing waits but for the slice in which it was signed.
- Who has many addresses in many networks has many shares. That is the limit of what can be told apart here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, Protocol, TypeVar

# How long signing may hold the loop before sockets are looked at again: four RSA-2048 signatures, or twenty of P-256.
SLICE_SECONDS = 0.001
# How many turns are served together at most.
TOGETHER = 32


class Waiter(Protocol):
    """Who waits for a signature."""

    def lose_turn(self) -> None:
        """The place went to another group: there will be no turn."""


W = TypeVar("W", bound=Waiter)


class FairQueue(Generic[W]):
    """Who waits, in a queue for each group of clients, and whose turn is next."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0
        self._groups: OrderedDict[str, deque[W]] = OrderedDict()  # in the order of their turns, none is empty
        self._by_places: list[dict[str, None]] = [{}]  # groups by how many places they have

    def __len__(self) -> int:
        return self._length

    @property
    def group_count(self) -> int:
        """How many groups wait."""
        return len(self._groups)

    def enter(self, waiter: W, group: str) -> str | None:
        """Call the waiter when it is due; the group that gave up a place for it (its own: it got none), else None."""
        waiting = self._groups.get(group)
        loser = evicted = None
        if self._length >= self._limit:
            own, greediest = len(waiting or ()), len(self._by_places) - 1
            if own + 2 > greediest:
                return group
            loser = next(iter(self._by_places[greediest]))
            evicted = self._pop(loser, newest=True)
        if waiting is None:
            waiting = self._groups[group] = deque()
        waiting.append(waiter)
        self._length += 1
        places, count = self._by_places, len(waiting)
        if count > 1:
            del places[count - 1][group]
        if count == len(places):
            places.append({})
        places[count][group] = None
        self._wake()
        if evicted is not None:  # last: it may come again at once with what it asks next
            evicted.lose_turn()
        return loser

    def _wake(self) -> None:
        """Somebody waits."""

    def _pop(self, group: str, *, newest: bool = False) -> W:
        waiting = self._groups[group]
        places, count = self._by_places, len(waiting)
        del places[count][group]
        if not places[-1]:
            places.pop()
        self._length -= 1
        waiter = waiting.pop() if newest else waiting.popleft()
        if waiting:
            places[count - 1][group] = None
        else:
            del self._groups[group]
        return waiter

    def next_waiter(self) -> W:
        """Whose turn it is now; there must be one."""
        group = next(iter(self._groups))
        waiter = self._pop(group)
        if group in self._groups:
            self._groups.move_to_end(group)
        return waiter

    def next_waiters(self, count: int) -> list[W]:
        """Whose turns come next, so many at most, in their order."""
        if len(self._groups) == 1 and count > 0:  # as most times: in the order in which they came
            ((group, waiting),) = self._groups.items()
            rest = max(self._length - count, 0)
            self._length = rest
            del self._by_places[rest + 1 :]
            if rest:
                self._by_places[rest][group] = None
                return [waiting.popleft() for _ in range(count)]
            self._groups.clear()
            return list(waiting)
        return [self.next_waiter() for _ in range(min(count, self._length))]


class SigningQueue(FairQueue[W]):
    """Groups of clients take turns, and between two slices of signing the event loop serves everyone else.

    `serve` is called with those whose turns have come, also of some who have left.
    """

    def __init__(self, limit: int, serve: Callable[[Sequence[W]], None]) -> None:
        super().__init__(limit)
        self._serve = serve
        self._is_due = False
        self.goes_on = False  # all who are served now and all who wait still are of one group, and some do
        self._fit = 1  # turns in a slice, as of the last one
        self._loop: asyncio.AbstractEventLoop | None = None  # known once it runs

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits."""
        return not self._is_due

    def _wake(self) -> None:
        if not self._is_due:  # else one is under way, and looks who waits when it ends
            self._is_due = True
            self._again()

    def _turn(self) -> None:
        begin = perf_counter()
        is_one = len(self._groups) == 1
        waiters = self.next_waiters(self._fit)
        self.goes_on = is_one and bool(self._groups)
        self._serve(waiters)
        spent = perf_counter() - begin
        fit = int(len(waiters) * SLICE_SECONDS / spent) if spent > 0 else TOGETHER
        self._fit = max(1, self._fit // 2, min(fit, 2 * self._fit, TOGETHER))
        self._is_due = bool(self._groups)
        if self._is_due:
            self._again()

    def _again(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._turn)
