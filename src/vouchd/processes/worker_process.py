"""One worker process as the manager process sees it: started or adopted, spoken to, ended."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress

from vouchd.audit.answer_records import given_answers
from vouchd.audit.keeping import GivenAnswer
from vouchd.ee.counters import Snapshot
from vouchd.errors import LifecycleError
from vouchd.processes.control import ControlChannel, Message
from vouchd.processes.handover import HandedWorker

# Which inherited descriptors are what, as JSON: {"slot": N, "sockets": [fd, …], "control": fd, "salt": hex}.
DESCRIPTORS = "VOUCHD_WORKER"

_LAST_WORDS_SECONDS = 1.0
_IDS_AT_ONCE = 2000  # a message has its bound
_MARGIN_SECONDS = 1.0  # between the end of a worker's grace and its being killed

# What hashes of clients are made with, the same in all processes of one start and never written down.
SALT = secrets.token_bytes(16)

Answered = Callable[[Sequence[GivenAnswer], int], None]
Damaged = Callable[[Sequence[str]], None]

_log = logging.getLogger(__name__)


def ignore(answers: Sequence[GivenAnswer], lost: int) -> None:
    """Nobody is told of answers."""


def overlook(names: Sequence[str]) -> None:
    """Nobody is told of damaged index files."""


class WorkerProcess:
    """A child that answers on its sockets; `loaded` is the manifest version that it said it answers from.

    `answer_sink` takes what the audit log is to be told of answers, `damaged` the names of damaged index files.
    `changed` is called whenever something that is shown of the worker changes. `ended` is set once the child is reaped.
    """

    def __init__(
        self,
        slot: int,
        pid: int,
        control: socket.socket,
        changed: Callable[[], None],
        answer_sink: Answered = ignore,
        damaged: Damaged = overlook,
    ) -> None:
        self.slot = slot
        self.pid = pid
        self.control = control
        self.loaded = 0
        self.confined = False  # it said that it can open nothing of the instance but the indexes
        self.halted = False  # it said that it answers tryLater only
        self.failed = 0  # the manifest that it could not load last
        self._withheld: dict[str, frozenset[str]] = {}  # by cause, as it was told
        self.snapshot: Snapshot = {}
        self.opened = asyncio.Event()  # the channel: it was sent what it was told
        self.ended = asyncio.Event()
        self.stopping = False
        self.is_adopted = False  # it may be of the version before an upgrade
        self.begun = asyncio.get_running_loop().time()
        self._changed = changed
        self._answer_sink = answer_sink
        self._damaged = damaged
        self._channel: ControlChannel | None = None
        self._unsent: list[Message] = []  # until the channel is open
        self._reaped = False
        self._last: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._questions: dict[int, asyncio.Future[None]] = {}
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    def start(
        cls,
        slot: int,
        command: Sequence[str],
        sockets: Sequence[socket.socket],
        changed: Callable[[], None],
        answer_sink: Answered = ignore,
        damaged: Damaged = overlook,
    ) -> WorkerProcess:
        """Start `command` as the worker of `slot`, which inherits `sockets`. Raises: LifecycleError."""
        ours, theirs = socket.socketpair()
        with theirs:
            inherited = [s.fileno() for s in sockets]
            described = {"slot": slot, "sockets": inherited, "control": theirs.fileno(), "salt": SALT.hex()}
            try:
                child = subprocess.Popen(  # noqa: S603  quick, and the command is the wiring's
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[*inherited, theirs.fileno()],
                    env={**os.environ, DESCRIPTORS: json.dumps(described)},
                )
            except OSError as error:
                ours.close()
                raise LifecycleError(f"cannot start a worker: {error}") from error
        child.returncode = 0  # reaped by us, as an adopted child is: Popen shall not wait for it
        return cls(slot, child.pid, ours, changed, answer_sink, damaged)

    @classmethod
    def adopt(
        cls,
        handed: HandedWorker,
        changed: Callable[[], None],
        answer_sink: Answered = ignore,
        damaged: Damaged = overlook,
    ) -> WorkerProcess:
        """Go on with a worker that was started before this process became what it is."""
        worker = cls(handed.slot, handed.pid, socket.socket(fileno=handed.control), changed, answer_sink, damaged)
        worker.loaded, worker.is_adopted = handed.loaded, True
        return worker

    def tell(self, message: Message) -> None:
        """Send one message."""
        if self._channel is None:
            self._unsent.append(message)
        else:
            self._channel.send(message)

    def withhold(self, authority_ids: frozenset[str], cause: str) -> None:
        """Have it answer tryLater for these CAs and for no others for that cause.

        It is told what is otherwise than before, so that no CA is let go in between, and many cost little. One that is
        adopted lets none go: it soon ends, and ends at once for a word that its version does not know.
        """
        before = self._withheld.get(cause, frozenset())
        self._withheld[cause] = authority_ids
        self._tell_of("withhold", authority_ids - before, cause)
        if not self.is_adopted:
            self._tell_of("release", before - authority_ids, cause)

    def _tell_of(self, word: str, authority_ids: frozenset[str], cause: str) -> None:
        ids = sorted(authority_ids)
        for begin in range(0, len(ids), _IDS_AT_ONCE):
            # `first` is for those adopted ones: it said whether these come in place of what was told before.
            self.tell({word: ids[begin : begin + _IDS_AT_ONCE], "cause": cause, "first": False})

    async def ask_metrics(self, within_seconds: float) -> bool:
        """Have the worker send its snapshot; false when it did not within the time, or has ended."""
        if self.ended.is_set():
            return False
        question = next(self._numbers)
        answer = self._questions[question] = asyncio.get_running_loop().create_future()
        self.tell({"metrics": question})
        try:
            async with asyncio.timeout(within_seconds):
                await answer
        except TimeoutError:
            return False
        finally:
            self._questions.pop(question, None)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the worker has ended."""
        if not self._reaped:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def stop(self, grace_seconds: float) -> None:
        """Let the worker drain, and kill it when it has not ended within the time."""
        self.stopping = True
        self.tell({"drain": max(0.0, grace_seconds - _MARGIN_SECONDS)})
        try:
            async with asyncio.timeout(grace_seconds):
                await self.ended.wait()
        except TimeoutError:
            _log.warning("worker %d (slot %d) did not end within %.0f s: killed", self.pid, self.slot, grace_seconds)
            self.signal(signal.SIGKILL)
            await self.ended.wait()

    async def _read(self) -> None:
        self._channel = channel = await ControlChannel.over(self.control)
        for unsent in self._unsent:
            channel.send(unsent)
        self.opened.set()
        try:
            while (message := await channel.receive()) is not None:
                self._hear(message)
        except LifecycleError as error:
            _log.error("worker %d (slot %d): %s: killed", self.pid, self.slot, error)
            self.signal(signal.SIGKILL)

    def _hear(self, message: Message) -> None:
        match message:
            case {"loaded": int(version), "confined": bool(confined)}:
                self.loaded, self.confined = version, confined
                self._changed()
            case {"halted": bool(halted)}:
                self.halted = halted
                self._changed()
            case {"failed": int(version), "why": str(why)}:
                self.failed = version
                _log.error("worker %d (slot %d) cannot load manifest %d: %s", self.pid, self.slot, version, why)
            case {"damaged": list(names)}:
                _log.error("worker %d (slot %d): damaged index files: %s", self.pid, self.slot, names)
                self._damaged([name for name in names if isinstance(name, str)])
            case {"answered": list(rows), "lost": int(lost)}:
                self._answer_sink(given_answers(rows), lost)
            case {"metrics": int(question), "snapshot": dict(snapshot)}:
                self.snapshot = snapshot
                answer = self._questions.get(question)
                if answer is not None and not answer.done():
                    answer.set_result(None)
            case _:
                raise LifecycleError("control channel: an unknown message")

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._reaped = True  # from now on the descriptor and the process id may be another's
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self._last = asyncio.create_task(self._end(os.waitstatus_to_exitcode(status)))

    async def _end(self, code: int) -> None:
        # Its last counters may still stand in the channel, which ends with it unless it left a child behind.
        await asyncio.wait({self._reader}, timeout=_LAST_WORDS_SECONDS)
        if self._channel is not None:
            self._channel.close()
        self.ended.set()
        level = logging.INFO if self.stopping and code == 0 else logging.WARNING
        _log.log(level, "worker %d (slot %d) ended with %d", self.pid, self.slot, code)
        self._changed()
