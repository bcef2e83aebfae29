"""A worker process: answers OCSP on inherited sockets, loads what the manager process tells it to, knows no store.

It begins to accept connections once it has loaded a manifest that it was told to answer from. What is on disk when it
begins it loads at once, and what it is told to get ready for, and waits: while a start is proved, nobody is answered.
When told to drain, on SIGTERM, and also when the
control channel ends, it accepts no more, finishes what it has begun and ends. The last one because a worker whose
manager died would go on answering from CRLs that nobody renews any more, on a port that it shares with the workers of
the next manager.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import uvloop

from vouchd.core.status import ServingState
from vouchd.ee.counters import Summing
from vouchd.errors import LifecycleError, VouchdError
from vouchd.processes.control import ControlChannel, Message, encoding
from vouchd.processes.heap import give_back
from vouchd.processes.worker_process import DESCRIPTORS

V = TypeVar("V")

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 30.0
_TELL_SECONDS = 1.0
_SLICE_SECONDS = 0.002
_SWITCH_SECONDS = 0.0005
# When the collector looks for garbage: at few objects each time, since the loop stands still for it, and at all that
# lives almost never. Who asks about each of ten thousand CAs leaves some hundred thousand objects behind, none of them
# in a cycle: to look at these at once, and not three thousand at a time, holds the loop for a tenth of a second.
_COLLECTING = (1_000, 1, 100_000)


class Server(Protocol):
    """The EE port, as far as a worker process runs it (`ee.server.EEServer`)."""

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begin to accept on `sockets`, which belong to the server from now on."""

    def forget(self) -> None:
        """Drop all cached answers."""

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more and finish what has begun, at most for the grace."""

    def give_way(self) -> None:
        """Let go of connections that ask for nothing, if the process is out of descriptors."""

    def summing(self) -> Summing:
        """The steps in which counters and gauges are made, JSON-ready."""

    def answer_records(self) -> Iterable[Message]:
        """What the audit log is to be told of the answers since the last call."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the manager process left open for this one."""

    slot: int
    sockets: tuple[socket.socket, ...]
    control: socket.socket
    salt: bytes  # of hashes of clients


def inherited() -> Inherited:
    """The inherited descriptors, once. Raises: LifecycleError when this process was not started by a manager."""
    text = os.environ.pop(DESCRIPTORS, None)
    if text is None:
        raise LifecycleError("a worker is started by the manager process only", hint="use `vouchd run`")
    described = json.loads(text)
    sockets = tuple(socket.socket(fileno=descriptor) for descriptor in described["sockets"])
    for listener in sockets:
        listener.settimeout(0)
    control = socket.socket(fileno=described["control"])
    for end in (*sockets, control):
        end.set_inheritable(False)
    return Inherited(described["slot"], sockets, control, bytes.fromhex(described["salt"]))


def run_worker(
    server: Server,
    replacing: Callable[[ServingState], Iterator[None]],
    load: Callable[[], ServingState],
    inheritance: Inherited,
    halt: Callable[[bool], None] = lambda _: None,
    damaged: Collection[str] = (),
    withhold: Callable[[frozenset[str], str], None] = lambda *_: None,
    *,
    confined: bool = False,
) -> None:
    """Answer until told to stop.

    `load` reads the manifest from disk (in a thread; raises VouchdError), `replacing` are the steps in which the
    responder takes over what it says, `halt` makes it answer tryLater only, or answer again. `damaged` are the names of
    the loaded index files that turned out to be damaged. `withhold` makes it answer tryLater for the CAs of these ids,
    and for no others for that cause. `confined`: it cannot open the instance's files any more.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)  # the thread that loads lets the loop answer in between
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Worker(server, replacing, load, inheritance, halt, damaged, withhold, confined=confined).serve())
    gc.freeze()  # all ends with the process: to look for garbage in it would take the processor from who answers now


def collect_little() -> None:
    """Look for garbage among few objects at a time, and hardly ever among the keys and CRLs of many CAs, which stay."""
    gc.set_threshold(*_COLLECTING)


async def _step_by_step(steps: Generator[None, None, V]) -> V:
    """What they come to, the loop doing between two of them what else there is to do."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)


class _Wanted(NamedTuple):
    """A manifest to load, at least of that version, and whether it may be answered from at once."""

    version: int
    answering: bool


_PRESENT = _Wanted(0, answering=False)  # what was published before this start is most of what will be


class _Worker:
    def __init__(
        self,
        server: Server,
        replacing: Callable[[ServingState], Iterator[None]],
        load: Callable[[], ServingState],
        inheritance: Inherited,
        halt: Callable[[bool], None],
        damaged: Collection[str],
        withhold: Callable[[frozenset[str], str], None],
        *,
        confined: bool,
    ) -> None:
        self._confined = confined
        self._withhold = withhold
        self._withheld: dict[str, frozenset[str]] = {}  # by cause
        self._halt = halt
        self._is_halted = False
        self._damaged = damaged
        self._reported: frozenset[str] = frozenset()
        self._server = server
        self._replacing = replacing
        self._load = load
        self._inheritance = inheritance
        self._wanted: asyncio.Queue[_Wanted] = asyncio.Queue()
        self._wanted.put_nowait(_PRESENT)
        self._questions: asyncio.Queue[int] = asyncio.Queue()  # for the counters
        self._stop: asyncio.Future[float]

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._stop = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._drain, _GRACE_SECONDS)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):  # sent to the whole group, meant for the manager
            signal.signal(number, signal.SIG_IGN)
        channel = await ControlChannel.over(self._inheritance.control)
        hearing = asyncio.create_task(self._hear(channel))
        following = asyncio.create_task(self._follow(channel))
        telling = asyncio.create_task(self._tell(channel))
        counting = asyncio.create_task(self._count(channel))
        for task in (hearing, following, telling, counting):
            task.add_done_callback(self._failed)
        grace_seconds = await self._stop
        await self._server.stop(grace_seconds)
        following.cancel()  # only now: what is answered meanwhile is answered from the newest CRLs
        telling.cancel()
        counting.cancel()
        self._tell_answered(channel)
        await self._tell_counters(channel, 0)
        await channel.flush()
        hearing.cancel()
        channel.close()

    def _drain(self, grace_seconds: float) -> None:
        if not self._stop.done():
            self._stop.set_result(grace_seconds)

    def _failed(self, task: asyncio.Task[None]) -> None:
        """A bug in one of the two tasks ends the process: the manager starts another one."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._stop.done():
            self._stop.set_exception(error)

    async def _hear(self, channel: ControlChannel) -> None:
        """Obey the manager until it is gone."""
        try:
            while (message := await channel.receive()) is not None:
                self._obey(channel, message)
        except LifecycleError as error:
            _log.error("%s", error)
        self._drain(_GRACE_SECONDS)

    def _obey(self, channel: ControlChannel, message: Message) -> None:
        match message:
            case {"load": int(version)}:
                self._wanted.put_nowait(_Wanted(version, answering=True))
            case {"get_ready": int(version)}:
                self._wanted.put_nowait(_Wanted(version, answering=False))
            case {"metrics": int(question)}:
                self._questions.put_nowait(question)
            case {"halt": bool(halted)}:
                if halted is not self._is_halted:
                    self._is_halted = halted
                    self._halt(halted)
                    self._server.forget()
                channel.send({"halted": halted})
            case {"withhold": list(ids), "cause": str(cause)}:
                self._keep_silent(self._withheld.get(cause, frozenset()) | frozenset(ids), cause)
            case {"release": list(ids), "cause": str(cause)}:
                self._keep_silent(self._withheld.get(cause, frozenset()) - frozenset(ids), cause)
            case {"drain": int(seconds) | float(seconds)}:
                self._drain(float(seconds))
            case _:
                raise LifecycleError("control channel: an unknown message")

    def _keep_silent(self, withheld: frozenset[str], cause: str) -> None:
        self._withheld[cause] = withheld
        self._withhold(withheld, cause)
        self._server.forget()

    async def _tell(self, channel: ControlChannel) -> None:
        """Tell the audit log of answers, and the manager of damaged index files, once a second."""
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            self._tell_answered(channel)
            self._tell_damage(channel)
            await channel.flush()

    async def _count(self, channel: ControlChannel) -> None:
        """Tell the manager the counters as often as it asks."""
        while True:
            await self._tell_counters(channel, await self._questions.get())

    async def _tell_counters(self, channel: ControlChannel, question: int) -> None:
        """In steps: of ten thousand CAs counters are a megabyte, for which whoever asks meanwhile does not wait."""
        snapshot = await _step_by_step(self._server.summing())
        channel.send_line(await _step_by_step(encoding({"metrics": question, "snapshot": snapshot})))

    def _tell_answered(self, channel: ControlChannel) -> None:
        for message in self._server.answer_records():
            channel.send(message)

    def _tell_damage(self, channel: ControlChannel) -> None:
        damaged = frozenset(self._damaged)
        if damaged - self._reported:
            channel.send({"damaged": sorted(damaged)})
        self._reported = damaged

    async def _take_over(self, state: ServingState) -> None:
        """Answer from `state`, in slices: what is asked meanwhile does not wait for all of it."""
        end = time.perf_counter() + _SLICE_SECONDS
        for _ in self._replacing(state):
            if time.perf_counter() >= end:
                await asyncio.sleep(0)
                end = time.perf_counter() + _SLICE_SECONDS
        self._server.forget()

    async def _follow(self, channel: ControlChannel) -> None:
        """Load each manifest that the manager names; only the newest when several wait."""
        accepting = False
        while True:
            wanted = await self._wanted.get()
            while not self._wanted.empty():
                wanted = self._wanted.get_nowait()
            try:
                state = await asyncio.to_thread(self._load)
                if state.version < wanted.version:
                    raise LifecycleError(f"found manifest {state.version} on disk")
            except VouchdError as error:  # what was loaded before is answered from
                if wanted is _PRESENT:  # there may be none yet: the manager says which one there has to be
                    continue
                self._server.give_way()
                channel.send({"failed": wanted.version, "why": f"{error}"[:1000]})
                continue
            await self._take_over(state)
            if not wanted.answering:
                continue
            if not accepting and not self._stop.done():
                give_back()
                await self._server.start(self._inheritance.sockets)
                accepting = True
            channel.send({"loaded": state.version, "confined": self._confined})
