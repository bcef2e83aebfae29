"""The audit log under crashes and many writers: no acknowledged record is lost, and the chain stays one."""

from __future__ import annotations

import os
import signal

import pytest
from tests.audit.auditing import Bench
from tests.commands import PIPE, start_python

from vouchd.audit.log import REPAIR, AuditLog
from vouchd.audit.log_files import lock_file
from vouchd.audit.search import AuditReader

WRITER = """
import sys
from pathlib import Path
from vouchd.core.facts import Caller
from vouchd.audit.log import AuditLog, Rotation
from vouchd.clock import SystemClock
log = AuditLog(Path(sys.argv[1]), SystemClock(), Rotation(max_bytes=4000))
for number in range(int(sys.argv[3])):
    log.record("WRITTEN", Caller(sys.argv[2]), "success", number=number)
    print(number, flush=True)
"""


def writer(path, name: str, count: int):
    """A process that appends `count` records and says each number once it is acknowledged."""
    return start_python(WRITER, path, name, count, stdout=PIPE)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "audit.jsonl")


@pytest.mark.process
def test_record_many_processes_keep_one_chain(bench):
    """Any number of processes may append at the same time, across rotations too."""
    writers = [writer(bench.path, f"w{number}", 40) for number in range(4)]
    for one in writers:
        one.communicate(timeout=60)
    proof = bench.prove()
    assert (proof.broken, proof.records) == (None, 160)
    assert proof.files > 3


@pytest.mark.process
def test_record_process_killed_keeps_what_was_acknowledged(bench):
    """What was acknowledged before a `kill -9` is in the log, and the log goes on."""
    one = writer(bench.path, "victim", 100_000)
    acknowledged = [one.stdout.readline() for _ in range(30)]
    os.kill(one.pid, signal.SIGKILL)
    acknowledged += one.communicate(timeout=60)[0].splitlines()
    bench.record("AFTER")
    assert bench.prove().broken is None
    numbers = {record.detail.get("number") for record in AuditReader(bench.path).search(limit=10_000)}
    assert {int(line) for line in acknowledged if line.strip().isdigit()} <= numbers


def test_record_after_every_cut_of_the_last_line_repairs(bench):
    """Wherever a write was cut short, the records before it stay, and a record tells what was taken out."""
    bench.record("A", "B")
    content = bench.path.read_bytes()
    note = lock_file(bench.path).read_bytes()
    start = content.index(b"\n") + 1
    for end in range(start + 1, len(content)):
        bench.path.write_bytes(content[:end])
        lock_file(bench.path).write_bytes(note)
        bench.log = AuditLog(bench.path, bench.clock)
        bench.record("C")
        proof = bench.prove()
        assert proof.broken is None
        assert proof.repairs == (2,)
        newest, repair, oldest = AuditReader(bench.path).search()
        assert (newest.event, repair.event, oldest.event) == ("C", REPAIR, "A")
        assert repair.detail["bytes"] == end - start
        assert content[start:end].decode().startswith(str(repair.detail["text"]))


def test_record_after_zeros_of_a_lost_power_supply_repairs(bench):
    """A file system may leave zeros where a write was under way."""
    bench.record("A")
    with bench.path.open("ab") as file:
        file.write(bytes(20_000))
    bench.record("B")
    assert bench.prove().repairs == (2,)


def test_record_after_a_damaged_line_goes_on_and_leaves_it(bench):
    """A damaged last line is left for whoever verifies the log; acts can still be recorded."""
    bench.record("A", "B")
    bench.path.write_bytes(bench.path.read_bytes().replace(b'"event":"B"', b'"event":"X"'))
    bench.record("C")
    assert bench.prove().broken.line == 2
    assert [record.event for record in AuditReader(bench.path).search()] == ["C", REPAIR, "A"]


def test_record_disk_full_leaves_the_log_as_it_was(bench, monkeypatch):
    """A record that did not fit leaves no half of itself behind."""
    bench.record("A")
    before = bench.path.read_bytes()
    write = os.write
    monkeypatch.setattr("vouchd.audit.log.os.write", lambda descriptor, data: write(descriptor, data[:10]))
    with pytest.raises(Exception, match="No space left"):
        bench.record("B")
    assert bench.path.read_bytes() == before
