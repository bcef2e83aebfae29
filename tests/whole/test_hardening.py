"""What the processes of an instance gave up before they read a key, as the kernel tells it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.processes.running import eventually
from tests.whole.key_table import of_keys
from tests.whole.test_selftests import instance_made

from vouchd.hardening import confine
from vouchd.instance.lifecycle import manager_command, status
from vouchd.instance.signing_sets import NamedSigners, write_sets
from vouchd.settings.reading import read_settings
from vouchd.wiring.worker import closed

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


SHUT = """
import json, sys
from pathlib import Path
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.hardening import harden
from vouchd.wiring.worker import shut
layout = Layout(Path(sys.argv[1]))
settings = read_settings(layout)
paths = [path for path in layout.root.rglob("*") if path.is_file()]
harden()
why = shut(layout, settings)
def result(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"
def reading(path):
    return lambda: path.open("rb").close()
files = {str(path.relative_to(layout.root)): result(reading(path)) for path in paths}
import zoneinfo, mailbox  # modules that nothing has loaded yet
writes = {name: result(Path(name).touch) for name in (str(layout.index / "new"), sys.argv[2])}
import subprocess
runs = result(lambda: subprocess.run(["/bin/true"]))
print(json.dumps({"why": why, "files": files, "writes": writes, "runs": runs}))
"""


@of_keys("of workers")
def test_worker_cannot_open_what_it_does_not_need(tmp_path):
    """Passwords, database, keys, settings and logs are closed to a worker that has its signers; indexes are open."""
    with instance_made(tmp_path) as made:
        assert made.vouchd("start").returncode == 0
        root = made.layout.root
        (elsewhere := tmp_path / "elsewhere").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", SHUT, str(root), str(elsewhere / "new")], capture_output=True, text=True, check=True
        )
    outcome = json.loads(done.stdout)
    assert outcome["why"] == ""
    files = outcome["files"]
    opened = {name for name, result in files.items() if result == "done"}
    assert opened == {name for name in files if name.startswith("index/")} != set()
    assert {"password.conf", "CS.cfg", "db/vouchd.sqlite", "alias/audit_signing.key"} <= files.keys() - opened
    assert set(outcome["writes"].values()) == {outcome["runs"]} == {"PermissionError"}
    assert not list(elsewhere.iterdir())


def test_key_of_a_staged_signer_is_closed_wherever_it_lies(tmp_path):
    """A signer that is loaded and follows others has its key closed to workers, outside of the instance's folder too."""
    with instance_made(tmp_path) as made:
        settings = read_settings(made.layout)
        place = Path(ssl.get_default_verify_paths().openssl_cafile).parent / "staged.key"  # where workers may read
        staged = replace(settings.signers[0], nickname="staged", key_file=place)
        now = NamedSigners.of(settings)
        write_sets(made.layout, {0: now, 1: replace(now, signers=(*now.signers, staged))})
        barred = closed(made.layout, settings)
    assert {place, settings.signers[0].key_file, settings.admin.key_file, made.layout.root} <= set(barred)


def test_running_worker_is_confined(tmp_path):
    """A real worker that is led out of the index folder is stopped by the kernel, and says that it is confined."""
    with instance_made(tmp_path) as made:
        assert made.vouchd("start").returncode == 0
        layout = made.layout
        workers = status(layout).report.workers
        assert [worker.confined for worker in workers] == [True, True]
        outside = layout.database_folder / "manifest.log"
        outside.write_bytes(layout.manifest.read_bytes())
        layout.manifest.unlink()
        layout.manifest.symlink_to(outside)
        os.kill(workers[0].pid, signal.SIGKILL)  # the next one reads the manifest anew
        eventually(lambda: "manifest.log: Permission denied" in layout.log.read_text(), layout.log.read_text)


def test_kernel_without_landlock_is_said_and_costs_nothing_else(monkeypatch):
    """Where the kernel cannot close anything the reason is told, and the process goes on as it was."""

    class Old:
        """The C library over a kernel that does not know the call."""

        def syscall(self, *_: object) -> int:
            ctypes.set_errno(errno.ENOSYS)
            return -1

    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Old())
    assert "no Landlock" in confine([], [])


WITHOUT_WRITABLE_CODE = """
import ctypes, os, sys
set_mdwe, refuse_exec_gain = 65, 1
assert ctypes.CDLL(None).prctl(set_mdwe, refuse_exec_gain, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_instance_answers_where_no_memory_is_writable_and_executable(tmp_path):
    """What the service's sandbox takes away (MemoryDenyWriteExecute) is missed by no library that answers."""
    with instance_made(tmp_path) as made:
        command = [sys.executable, "-c", WITHOUT_WRITABLE_CODE, *manager_command(made.layout)]
        process = subprocess.Popen(command, cwd=made.layout.root, stderr=subprocess.PIPE, start_new_session=True)
        eventually(lambda: process.poll() is not None or status(made.layout).ready, "the instance is ready")
        assert process.poll() is None, process.stderr.read()
        assert made.query().returncode == 1, "revoked"
        assert made.vouchd("stop").returncode == 0
        process.stderr.close()
        assert process.wait() == 0
