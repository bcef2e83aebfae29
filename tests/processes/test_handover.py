"""What a manager process hands to its successor."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from vouchd.processes.handover import VARIABLE, handover_in

pytestmark = pytest.mark.process

COUNTS = 10_000

PREDECESSOR = f"""
import os, socket, sys
from vouchd.processes.handover import Handover, execute
health, lock = socket.socket(), socket.socket()
counters = {{"counters": {{"by_authority": {{f"{{number:064x}}": 1 for number in range({COUNTS})}}}}}}
handover = Handover("127.0.0.1", 0, (), "127.0.0.1", 0, health.fileno(), lock.fileno(), (), counters, 0, 0)
execute(handover, [sys.executable, "-c", sys.argv[1]], os.environ)
"""

SUCCESSOR = """
import json, os
from vouchd.processes.handover import handover_in
before = set(os.listdir("/proc/self/fd"))
kept = handover_in(os.environ).kept
print(json.dumps({"kept": kept, "closed": len(before) - len(os.listdir("/proc/self/fd"))}))
"""


def test_counters_of_many_cas_are_handed_on():
    """There are more than what the kernel takes of one variable; the successor has them all and closes their file."""
    done = subprocess.run([sys.executable, "-c", PREDECESSOR, SUCCESSOR], capture_output=True, check=True)
    said = json.loads(done.stdout)
    assert len(done.stdout) > 128 << 10
    assert sum(said["kept"]["counters"]["by_authority"].values()) == COUNTS
    assert said["closed"] == 1


def test_counters_of_a_predecessor_of_an_earlier_version_stand_in_what_it_says():
    """A version that knew no file of counters is followed as well."""
    kept = {"counters": {"cache_hits": 5}}
    with socket.socket() as health, socket.socket() as lock:
        values = {
            "ee_host": "127.0.0.1", "ee_port": 0, "sockets": [], "health_host": "127.0.0.1", "health_port": 0,
            "health": health.fileno(), "lock": lock.fileno(), "workers": [], "kept": kept, "restarts": 0,
            "started_at": 0,
        }  # fmt: skip
        handover = handover_in({VARIABLE: json.dumps(values)})
    assert handover is not None
    assert handover.kept == kept
