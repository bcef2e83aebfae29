"""The garbage collector of a worker, for which its loop stands still."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from vouchd.processes.worker import collect_little

AT_ONCE = 4_000


ENDING_WORKER = """
import gc, socket
from vouchd.core.status import ServingState
from vouchd.processes.worker import Inherited, run_worker

class Server:
    async def stop(self, grace_seconds): pass
    def answer_records(self): return ()
    def summing(self):
        yield
        return {}

manager, control = socket.socketpair()
manager.shutdown(socket.SHUT_WR)
run_worker(Server(), lambda state: iter(()), lambda: ServingState(0, ()), Inherited(0, (), control, b""))
print(gc.get_freeze_count() > 0, manager.recv(1 << 10))
"""


@pytest.fixture
def looks():
    """How many objects the collector looked at, each time that it did, with what a worker sets."""
    before, looked_at = gc.get_threshold(), []

    def note(phase, info):
        if phase == "start":
            looked_at.append(sum(len(gc.get_objects(generation)) for generation in range(info["generation"] + 1)))

    gc.collect()
    collect_little()
    gc.callbacks.append(note)
    yield looked_at
    gc.callbacks.remove(note)
    gc.set_threshold(*before)


def test_few_objects_are_looked_at_at_a_time_however_many_stay(looks):
    """A hundred thousand objects that live on are looked at in lots that do not grow with them, all but never again."""
    kept = [[] for _ in range(100_000)]
    assert len(looks) > len(kept) // AT_ONCE
    assert max(looks) <= AT_ONCE


@pytest.mark.process
def test_worker_that_ends_looks_for_no_garbage():
    """What it holds of many CAs goes with the process; it has told its counters before."""
    done = subprocess.run([sys.executable, "-c", ENDING_WORKER], capture_output=True, check=True, text=True)
    assert done.stdout == """True b'{"metrics":0,"snapshot":{}}\\n'\n"""
