"""Workers that misbehave: each is a tiny program that breaks the rules in one way."""

from __future__ import annotations

import asyncio
import sys

import pytest
from tests.processes.running import gone

from vouchd.processes import pool as pool_module
from vouchd.processes.pool import WorkerPool
from vouchd.processes.worker_process import DESCRIPTORS, WorkerProcess
from vouchd.sockets import bind_slots, listen

pytestmark = pytest.mark.process

PRELUDE = (
    "import json, os, socket, time\n"
    f"found = json.loads(os.environ[{DESCRIPTORS!r}])\n"
    "control = socket.socket(fileno=found['control'])\n"
)
DEAF = PRELUDE + "time.sleep(600)\n"
GARBAGE = PRELUDE + "control.sendall(b'garbage\\n'); time.sleep(600)\n"
UNKNOWN = PRELUDE + "control.sendall(b'{\"surprise\": 1}\\n'); time.sleep(600)\n"
STUBBORN = PRELUDE + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)\n"
COUNTING = (
    PRELUDE
    + 'control.sendall(b\'{"metrics": 0, "snapshot": {"counters": {"cache_hits": 5}}}\\n\'); control.recv(100)\n'
)


class Changes:
    """Lets a test wait until the pool tells of a change that makes a condition true."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self._event.set()

    async def until(self, condition) -> None:
        while not condition():
            self._event.clear()
            await self._event.wait()


@pytest.fixture
def listeners():
    sockets = bind_slots(("127.0.0.1", 0), 1)
    listen(sockets)
    yield sockets
    for listener in sockets:
        listener.close()


async def started(program: str, listeners):
    """A pool of one worker that runs `program`."""
    changes = Changes()
    pool = WorkerPool([sys.executable, "-c", program], listeners, 1, changes, lambda: None)
    pool.start()
    await changes.until(lambda: pool.workers or pool.restarts)
    return pool, changes


async def kill(pool: WorkerPool) -> None:
    await pool.release()
    for worker in pool.workers:
        worker.signal(9)
        await worker.ended.wait()


@pytest.mark.parametrize("program", [GARBAGE, UNKNOWN])
async def test_worker_that_breaks_the_protocol_is_replaced(program, listeners):
    """A worker that says what nobody understands is killed and started again."""
    pool, changes = await started(program, listeners)
    await changes.until(lambda: pool.restarts >= 1)
    await kill(pool)


async def test_worker_that_dies_with_garbage_on_its_lips_is_replaced(listeners):
    """A worker that ends before what it said is judged is replaced like any other, again and again."""
    pool, changes = await started(PRELUDE + "control.sendall(b'garbage\\n')\n", listeners)
    await changes.until(lambda: pool.restarts >= 4)
    await kill(pool)


async def test_pool_that_is_stopped_while_it_starts_leaves_no_process(listeners):
    """A stop that comes right after the start ends what was started."""
    pool = WorkerPool([sys.executable, "-c", DEAF], listeners, 1, Changes(), lambda: None)
    pool.start()
    await asyncio.sleep(0)  # the child is there, its channel is not open yet
    (worker,) = pool.workers
    await pool.stop(0.1)
    assert gone(worker.pid)


async def test_worker_that_does_not_react_is_replaced(listeners, monkeypatch):
    """A worker that hangs is killed and started again."""
    monkeypatch.setattr(pool_module, "_PULSE_SECONDS", 0.01)
    monkeypatch.setattr(pool_module, "_DEAF_SECONDS", 0.05)
    monkeypatch.setattr(pool_module, "_STARTING_SECONDS", 0)
    pool, changes = await started(DEAF, listeners)
    pool.load(1)
    await changes.until(lambda: pool.restarts >= 1)
    await kill(pool)


async def test_worker_that_starts_is_not_deaf(listeners, monkeypatch):
    """It reads the keys of all CAs before it hears anybody; what has answered once is another matter."""
    monkeypatch.setattr(pool_module, "_PULSE_SECONDS", 0)
    questions, over = iter(range(8)), asyncio.Event()

    async def pulse(_: WorkerProcess, within_seconds: float) -> bool:
        if next(questions, within_seconds) == within_seconds:
            over.set()
        return False

    monkeypatch.setattr(WorkerProcess, "ask_metrics", pulse)
    pool, changes = await started(DEAF, listeners)
    pool.load(1)
    await over.wait()
    (worker,) = pool.workers
    assert pool.restarts == 0
    worker.loaded = 1
    await changes.until(lambda: pool.restarts >= 1)
    await kill(pool)


async def test_worker_that_answers_the_second_question_is_left_alone(listeners, monkeypatch):
    """The manager's own loop may have stood still for so long that it did not hear the answer to the first."""
    monkeypatch.setattr(pool_module, "_PULSE_SECONDS", 0)
    replies, over = iter([False, True, False, True]), asyncio.Event()

    async def pulse(_: WorkerProcess, within_seconds: float) -> bool:
        assert within_seconds
        reply = next(replies, None)
        if reply is None:
            over.set()
        return reply is not False

    monkeypatch.setattr(WorkerProcess, "ask_metrics", pulse)
    monkeypatch.setattr(pool_module, "_STARTING_SECONDS", 0)
    pool, _ = await started(DEAF, listeners)
    pool.load(1)
    await over.wait()
    assert (pool.restarts, len(pool.workers)) == (0, 1)
    await kill(pool)


async def test_worker_is_not_felt_for_before_it_is_to_answer(listeners, monkeypatch):
    """While a start is proved the manager hears nobody, so nobody counts as deaf, however long that takes."""
    monkeypatch.setattr(pool_module, "_PULSE_SECONDS", 0)
    question = asyncio.Event()

    async def pulse(_: WorkerProcess, within_seconds: float) -> bool:
        assert within_seconds
        question.set()
        return True

    monkeypatch.setattr(WorkerProcess, "ask_metrics", pulse)
    pool, _ = await started(DEAF, listeners)
    await pool.get_ready(1)
    for _ in range(100):
        await asyncio.sleep(0)  # a turn of the loop, and with it of the pulse
    assert not question.is_set()
    pool.load(1)
    await question.wait()
    await kill(pool)


async def test_worker_that_does_not_end_is_killed_after_its_grace(listeners):
    """A stop ends in bounded time, whatever a worker does."""
    pool, changes = await started(STUBBORN, listeners)
    await changes.until(lambda: pool.workers)
    (worker,) = pool.workers
    await pool.stop(0.1)
    assert worker.ended.is_set()
    assert pool.workers == ()


async def test_last_counters_of_a_worker_are_kept(listeners):
    """What a worker says with its last breath is counted."""
    pool, changes = await started(COUNTING, listeners)
    await changes.until(lambda: pool.workers)
    await pool.stop(5)
    assert (await pool.snapshot())["counters"] == {"cache_hits": 5}
    pool.beside = lambda: {"counters": {"cache_hits": 2}}  # what the manager process answered itself
    assert (await pool.snapshot())["counters"] == {"cache_hits": 7}


async def test_command_that_cannot_be_started_is_tried_again(listeners):
    """A missing program is a logged error and another attempt, not the end of the manager."""
    changes = Changes()
    pool = WorkerPool(["/no/such/program"], listeners, 1, changes, lambda: None)
    pool.start()
    await changes.until(lambda: pool.restarts >= 2)
    await pool.release()
    assert pool.workers == ()


async def test_sockets_in_excess_are_shared_among_the_workers(monkeypatch):
    """With fewer workers than sockets every socket still has a worker that accepts from it."""
    numbers_of: dict[int, list[int]] = {}

    def start(slot, command, sockets, *_):
        numbers_of[slot] = [listener.fileno() for listener in sockets]
        raise pool_module.LifecycleError("not started in this test")

    monkeypatch.setattr(WorkerProcess, "start", start)
    sockets = bind_slots(("127.0.0.1", 0), 5)
    listen(sockets)
    changes = Changes()
    pool = WorkerPool(["x"], sockets, 2, changes, lambda: None)
    pool.start()
    await changes.until(lambda: len(numbers_of) == 2)
    await pool.release()
    numbers = [listener.fileno() for listener in sockets]
    assert sorted(numbers_of[0] + numbers_of[1]) == sorted(numbers)
    for listener in sockets:
        listener.close()
