"""Blocking calls of the manager process, each in a daemon thread: none of them can keep the process from ending."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """The result of `call`, made in a thread of its own.

    When the caller is cancelled, or the process ends, the call is abandoned where it stands: what it does must be
    atomic, as every step of a store is.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    threading.Thread(target=_work, args=(call, loop, result), daemon=True).start()
    try:
        return await result
    finally:
        del result  # an error knows this frame, and would stay, with all that its frames hold, for knowing itself


def _work(call: Callable[[], T], loop: asyncio.AbstractEventLoop, result: asyncio.Future[T]) -> None:
    value, error = None, None
    try:
        value = call()
    except BaseException as caught:  # noqa: BLE001  handed on to the caller
        error = caught
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
