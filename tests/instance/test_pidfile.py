"""The PID file: one holder, told from outside, kept through exec."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from vouchd.errors import LifecycleError
from vouchd.instance.pidfile import PidFile, running_pid


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vouchd.pid"


def test_held_file_names_its_holder_and_refuses_another(path):
    """Who asks learns the holder's process id; who wants the lock as well is refused with it."""
    pid_file = PidFile.acquire(path)
    assert running_pid(path) == os.getpid()
    with pytest.raises(LifecycleError, match=f"already running, process {os.getpid()}"):
        PidFile.acquire(path)
    pid_file.release()


def test_released_file_is_gone_and_free(path):
    """After a release nobody runs, and the next one may."""
    PidFile.acquire(path).release()
    assert running_pid(path) is None
    assert not path.exists()
    PidFile.acquire(path).release()


def test_file_left_by_a_dead_process_counts_for_nothing(path):
    """A PID file whose process was killed does not keep the next one out, whatever stands in it."""
    path.write_text(f"{os.getpid()}\n")
    assert running_pid(path) is None
    PidFile.acquire(path).release()


def test_file_that_is_taken_over_names_its_holder_all_the_time(path):
    """A restarting manager adopts its own lock: who asks at that very moment is not told that nobody runs."""
    pid_file = PidFile.acquire(path)
    over = threading.Event()
    answers: set[int | None] = set()

    def ask() -> None:
        while not over.is_set():
            answers.add(running_pid(path))

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(2000):
        PidFile.adopt(path, pid_file.fileno())
    over.set()
    asking.join()
    pid_file.release()
    assert answers == {os.getpid()}


def test_longer_number_of_before_is_cut_off(path):
    """What a former holder left in the file does not become part of the number."""
    path.write_text("123456789012\n")
    pid_file = PidFile.acquire(path)
    assert running_pid(path) == os.getpid()
    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.release()


def test_asking_never_gets_in_the_way_of_a_start(path):
    """A status query does not take the lock, not even for a moment."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            running_pid(path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(300):
            PidFile.acquire(path).release()
    finally:
        over.set()
        asking.join()


@pytest.mark.process
def test_lock_lives_on_through_exec(path):
    """A process that becomes another program by exec, with the descriptor kept, still holds the lock."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from vouchd.instance.pidfile import PidFile, running_pid\n"
        "path = Path(sys.argv[1])\n"
        "if len(sys.argv) == 2:\n"
        "    held = PidFile.acquire(path)\n"
        "    os.set_inheritable(held.fileno(), True)\n"
        "    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], str(held.fileno())])\n"
        "PidFile.adopt(path, int(sys.argv[2]))\n"
        "print(running_pid(path) == os.getpid(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "True\n"
        assert running_pid(path) == child.pid
        with pytest.raises(LifecycleError):
            PidFile.acquire(path)
        child.stdin.close()
    assert running_pid(path) is None
