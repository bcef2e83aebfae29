"""Blocking calls of the manager process, each in a daemon thread: none of them can keep the process from ending.

There are as many threads as there are calls at a time. One that has nothing to do for some seconds ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_IDLE_SECONDS = 2.0  # looks at the store, and other work that comes back, come sooner


async def in_thread(call: Callable[[], T]) -> T:
    """The result of `call`, made in a thread that does nothing else meanwhile.

    When the caller is cancelled, or the process ends, the call is abandoned where it stands: what it does must be
    atomic, as every step of a store is.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    job = partial(_work, call, loop, result)
    try:
        _idle.pop().put(job)  # to begin a thread takes many times as long, and the loop waits for it
    except IndexError:
        threading.Thread(target=_work_on, args=(job,), daemon=True).start()
    del job
    try:
        return await result
    finally:
        del result  # an error knows this frame, and would stay, with all that its frames hold, for knowing itself


_Jobs = SimpleQueue[Callable[["_Jobs"], None]]
_idle: list[_Jobs] = []  # of threads without work, the one that had some last behind the others


def _work_on(job: Callable[[_Jobs], None]) -> None:
    """Do the job, and what comes soon after it."""
    jobs = _Jobs()
    jobs.put(job)
    del job
    while True:
        try:
            jobs.get(timeout=_IDLE_SECONDS)(jobs)
        except Empty:
            try:
                _idle.remove(jobs)
            except ValueError:  # somebody has just taken it for a job
                continue
            return


def _work(call: Callable[[], T], loop: asyncio.AbstractEventLoop, result: asyncio.Future[T], jobs: _Jobs) -> None:
    value, error = None, None
    try:
        value = call()
    except BaseException as caught:  # noqa: BLE001  handed on to the caller
        error = caught
    _idle.append(jobs)  # first: who waits may have more to do
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_settle, result, value, error)
    del result, error  # likewise


def _settle(result: asyncio.Future[T], value: T | None, error: BaseException | None) -> None:
    if result.done():
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(value)  # type: ignore[arg-type]


def tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Have the loop call it, from another thread; nothing when the loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
