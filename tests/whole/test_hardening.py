"""What the processes of an instance gave up before they read a key, as the kernel tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.whole.test_selftests import instance_made

from vouchd.instance.lifecycle import status

pytestmark = pytest.mark.process

ITSELF = """
import ctypes, resource
from vouchd.hardening import harden
harden()
print(ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_hardened_process_is_not_dumpable():
    """Nobody of the same user can look into its memory, and a crash leaves no core file with keys in it."""
    done = subprocess.run([sys.executable, "-c", ITSELF], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["0", "(0, 0)\n"]


def test_manager_and_workers_are_hardened_at_the_start_and_after_a_restart(tmp_path):
    """Every process that holds a key has no core file and gains no privileges, also the one that `exec` made."""
    with instance_made(tmp_path) as made:
        for command in ("start", "restart"):
            assert made.vouchd(command).returncode == 0
            report = status(made.layout).report
            for pid in (report.pid, *(worker.pid for worker in report.workers)):
                limits = Path(f"/proc/{pid}/limits").read_text()
                (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
                assert core[4:6] == ["0", "0"]
                assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
