"""Signatures that take long, made beside the loop: what needs none, or one of another key, does not wait for them.

How it works. A signature of RSA-4096, of ML-DSA or on a token takes milliseconds or more. The library lets go of the
interpreter meanwhile, so a thread makes it while the loop answers others. Few threads do, and whoever finds none free
waits for one in turns that are as fair as those for quick signatures (`signing_queue`), in places of their own: a token
that hangs holds up those who want its signature, and nobody else.

A token is far away: what is wanted of it at the same time is asked at once, in a lot of as many signatures as it makes
in a few milliseconds. The thread that has a lot waits most of the time; so there are two for each session of a token.

Why it is right.
- What was drafted before a thread was free may have become wrong: at the turn it is drafted anew.
- What was signed while the state of its CA changed rests on a `Basis` that is not current any more: it is not given,
  but made again from the new state. So nobody who asks after a new CRL was acknowledged has an answer from before.
- All but the signature itself is done on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, Self

from vouchd.ee.signing_queue import FairQueue, Waiter
from vouchd.service.terms import Answer

THREADS = 2


class ThreadWaiter(Waiter, Protocol):
    """Who waits for a thread."""

    @property
    def together(self) -> int:
        """With how many turns its own may come at once, itself counted."""

    def take_turns(self, others: Sequence[Self]) -> None:
        """Its turn has come and, with it, that of these others; also called of those who have left."""


class SigningThreads(FairQueue[ThreadWaiter]):
    """Who waits for a thread, and the threads."""

    def __init__(self, limit: int, threads: int = THREADS) -> None:
        super().__init__(limit)
        self._threads = threads
        self._under_way = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="signing")

    @property
    def is_free(self) -> bool:
        """Whether `run` may be called now; whoever enters the queue instead may call it when his turn comes."""
        return self._under_way < self._threads and not len(self)

    def run(self, sign: Callable[[], Sequence[Answer]], take: Callable[[Sequence[Answer]], None]) -> None:
        """Have a thread sign, and the loop take the answers; then others have their turn."""
        loop = asyncio.get_running_loop()
        self._under_way += 1

        def pass_on(signed: Future[Sequence[Answer]]) -> None:
            with suppress(RuntimeError):  # the loop has ended, and the connection with it
                loop.call_soon_threadsafe(end, signed.result())

        def end(answers: Sequence[Answer]) -> None:
            self._under_way -= 1
            self._take_turns()
            take(answers)

        self._pool.submit(sign).add_done_callback(pass_on)

    def _take_turns(self) -> None:
        while self._under_way < self._threads and len(self):
            first = self.next_waiter()
            first.take_turns(self.next_waiters(first.together - 1))

    def close(self) -> None:
        """No more signatures; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
