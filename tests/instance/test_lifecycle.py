"""Starting and stopping from another process, against a small program that stands for the manager process."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from vouchd.core.facts import CRLRecord, Epoch, IssuingPointId
from vouchd.errors import LifecycleError
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout

pytestmark = pytest.mark.process

POINT = IssuingPointId("a" * 64)
# Takes the PID file, writes a report for each signal in turn, ends at SIGTERM.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from vouchd.settings.layout import Layout
from vouchd.instance.pidfile import PidFile
from vouchd.instance.report import ServedPoint, InstanceReport, WorkerReport, write_report
layout = Layout(Path(sys.argv[1]))
signals = {signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
pid_file = PidFile.acquire(layout.pid_file)
worker, sequence = 1, 1
while True:
    point = ServedPoint("a" * 64, "complete", "CA", sequence, 1, 0, None, 0, 0, 0)
    report = InstanceReport(os.getpid(), 0, ("h", 1), ("h", 2), 1, True, (point,), (WorkerReport(0, worker, 1),))
    write_report(layout.serving, report)
    number = signal.sigwait(signals)
    if number == signal.SIGTERM:
        break
    worker += number == signal.SIGHUP
    sequence += number == signal.SIGUSR1
pid_file.release()
"""


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    for folder in layout.folders:
        folder.mkdir()
    yield layout
    lifecycle.stop(layout)


def command(layout, program=PROGRAM):
    return [sys.executable, "-c", program, str(layout.root)]


def epoch(sequence):
    return Epoch(POINT, sequence, CRLRecord("0" * 64, 1, 0, None, 1), 0)


def test_start_returns_what_is_served_and_stop_ends_it(layout):
    """A started instance is ready when the call returns; after stop it is gone."""
    report = lifecycle.start(layout, command(layout))
    assert lifecycle.status(layout).report == report
    assert lifecycle.status(layout).ready
    assert lifecycle.stop(layout)
    assert lifecycle.status(layout) == lifecycle.Status(None, None)


def test_start_passes_on_what_the_process_warned_of(layout):
    """Who starts an instance reads its warnings, those of this start and no other lines of its log."""
    layout.log.write_text("vouchd: warning: of another start\n")
    program = "import sys; sys.stderr.write('vouchd: warning: a doubt\\nvouchd: hint: h\\n')\n" + PROGRAM
    warnings, begun = [], []
    lifecycle.start(layout, command(layout, program), warn=warnings.append, meanwhile=lambda: begun.append(True))
    assert warnings == ["a doubt"]
    assert begun == [True]


def test_start_twice_is_refused(layout):
    """An instance has one manager process."""
    lifecycle.start(layout, command(layout))
    with pytest.raises(LifecycleError, match="already running"):
        lifecycle.start(layout, command(layout))


def test_start_that_fails_tells_its_last_words(layout):
    """What a process said before it ended is the error; an older log is not."""
    layout.log.write_text("vouchd: an old trouble\n")
    program = (
        "import sys; sys.stderr.write('vouchd: warning: w\\nvouchd: port 1 is taken\\nvouchd: hint: h\\n'); sys.exit(1)"
    )
    with pytest.raises(LifecycleError, match=r"^port 1 is taken$"):
        lifecycle.start(layout, command(layout, program))


def test_start_that_ends_silently_tells_the_exit_code(layout):
    """Without words there is the exit code and the log's name."""
    with pytest.raises(LifecycleError, match="exit code 7") as caught:
        lifecycle.start(layout, command(layout, "raise SystemExit(7)"))
    assert str(layout.log) in caught.value.hint


def test_start_that_is_not_ready_in_time_is_told(layout):
    """Waiting ends."""
    program = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); signal.sigwait({15})"
    with pytest.raises(LifecycleError, match="not ready after") as caught:
        lifecycle.start(layout, command(layout, program), seconds=0.2)
    os.kill(int(str(caught.value).split("process ")[1].split(",")[0]), signal.SIGTERM)


def test_stop_when_stopped_is_no_error(layout):
    """Stopping twice is fine."""
    assert not lifecycle.stop(layout)


def test_restart_waits_for_new_workers(layout):
    """A restart is done when workers of after it answer."""
    before = lifecycle.start(layout, command(layout))
    after = lifecycle.restart(layout, command(layout))
    assert (after.pid, before.workers[0].pid, after.workers[0].pid) == (before.pid, 1, 2)


def test_restart_when_stopped_starts(layout):
    """Restarting a stopped instance starts it."""
    assert lifecycle.restart(layout, command(layout)).pid == lifecycle.status(layout).pid


def test_look_now_tells_whether_there_was_somebody(layout):
    """A stopped instance is not signalled."""
    assert not lifecycle.look_now(layout)


def test_wait_until_served_returns_when_the_epoch_is(layout):
    """Waiting ends when every worker answers from the epoch."""
    lifecycle.start(layout, command(layout))
    assert lifecycle.look_now(layout)
    lifecycle.wait_until_served(layout, [epoch(2)])
    with pytest.raises(LifecycleError, match="not served after"):
        lifecycle.wait_until_served(layout, [epoch(3)], seconds=0)


def test_wait_until_served_notices_the_end(layout):
    """An instance that ends meanwhile is told."""
    with pytest.raises(LifecycleError, match="stopped meanwhile"):
        lifecycle.wait_until_served(layout, [epoch(1)])
