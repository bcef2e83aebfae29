"""What keeps a run of the tests from standing still for ever."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from tests.bounds import interrupted
from tests.commands import PIPE, run_python, start_python

WAITING = "import signal\nprint('here', flush=True)\nsignal.pause()\n"
CAUGHT = "import ctypes\nfrom tests.bounds import ended\nwith ended(0.01): ctypes.PyDLL(None).pause()\n"


def test_wait_that_takes_too_long_fails_and_the_next_one_will():
    """A test is interrupted where it waits, tells what the others do, and is interrupted again where it cleans up."""
    go_on = threading.Event()
    beside = threading.Thread(target=go_on.wait, args=(60,), name="the one beside")
    beside.start()
    try:
        with (  # noqa: PT012
            pytest.raises(pytest.fail.Exception, match=r"(?s)stood still.*the one beside:.*wait"),
            interrupted(0.05, 3600),
        ):
            assert signal.getitimer(signal.ITIMER_REAL)[1] == 3600
            threading.Event().wait()
    finally:
        go_on.set()
        beside.join(60)
    assert signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL, "the bound of this test is in force again"


def test_process_that_nothing_interrupts_ends_and_tells_its_stacks():
    """Where a lock of a library holds the interpreter the process ends, and says in what it was caught."""
    done = run_python(CAUGHT)
    assert (done.returncode, "Timeout" in done.stderr) == (1, True), done.stderr


def test_process_ends_with_what_failed_beside_it():
    """What fails while a command runs is told at once: the command is not waited for, nor who reads what it says."""
    lines: list[str] = []
    with (  # noqa: PT012
        pytest.raises(AssertionError, match="what failed"),
        start_python(WAITING, stdout=PIPE) as running,
    ):
        assert running.stdout.readline() == "here\n"
        threading.Thread(target=lambda: lines.extend(running.stdout), daemon=True).start()
        raise AssertionError("what failed")
    assert running.returncode == -signal.SIGKILL


SHARED = """
import pytest
made = []

@pytest.fixture(scope="module")
def shared():
    made.append(1)
    assert len(made) > 1, "it fails by itself at first"
    return len(made)

@pytest.mark.process
def test_first(shared):
    assert shared == 2

@pytest.mark.process
def test_second(shared):
    assert shared == 2
"""


def test_test_that_is_run_again_has_a_failed_shared_set_up_made_anew(tmp_path):
    """What tests share fails by itself as well: its failure is not kept for the second try, nor for the tests after it."""
    (tmp_path / "test_shared.py").write_text(SHARED, encoding="utf-8")
    program = "import sys\nimport pytest\nsys.exit(pytest.main(sys.argv[1:]))\n"
    options = ("-c", os.devnull, "--rootdir", tmp_path, "-p", "tests.conftest", "-p", "no:cacheprovider")
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = run_python(program, *options, tmp_path / "test_shared.py", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "test_first was run again" in done.stdout
