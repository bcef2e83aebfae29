"""The audit log: complete lines, on disk, in a private file."""

from __future__ import annotations

import json
import stat

import pytest

from vouchd.audit.log import AuditLog
from vouchd.audit.log_files import lock_file
from vouchd.core.facts import Caller
from vouchd.errors import StoreUnavailable

CALLER = Caller("agent\nnewline", frozenset({"B", "A"}), "192.0.2.1")


class FixedClock:
    """Always the same second."""

    def now(self) -> int:
        return 1234


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_record_is_one_json_line_with_all_fields(path):
    """A record tells time, event, outcome, who from where and the detail; a value cannot begin a line."""
    AuditLog(path, FixedClock()).record("AUTHZ", CALLER, "success", action="add CRL", number=2**70)
    (record,) = lines(path)
    assert len(record.pop("hash")) == 64
    assert record == {
        "seq": 1,
        "time": 1234,
        "event": "AUTHZ",
        "outcome": "success",
        "caller": "agent\nnewline",
        "groups": ["A", "B"],
        "origin": "192.0.2.1",
        "detail": {"action": "add CRL", "number": 2**70},
        "previous": "0" * 64,
    }


def test_record_file_has_mode_0600(path):
    """The log is its owner's only."""
    AuditLog(path, FixedClock()).record("A", CALLER, "success")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_record_several_writers_append(path):
    """Two writers of one file add lines and take none away."""
    ours, theirs = AuditLog(path, FixedClock()), AuditLog(path, FixedClock())
    for log, event in ((ours, "A"), (theirs, "B"), (ours, "C")):
        log.record(event, CALLER, "success")
    assert [line["event"] for line in lines(path)] == ["A", "B", "C"]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("taken_away", ["file", "records", "file and lock file"])
def test_record_after_the_end_was_taken_away_is_refused_until_it_is_back(path, restarted, taken_away):
    """A log is never begun anew behind its back: not in the process that wrote it, and not in another one."""
    log = AuditLog(path, FixedClock())
    for event in ("A", "B"):
        log.record(event, CALLER, "success")
    content = path.read_bytes()
    path.rename(path.with_suffix(".1"))
    if taken_away == "records":
        path.write_bytes(content[: content.index(b"\n") + 1])
    if taken_away == "file and lock file":
        lock_file(path).unlink()  # whoever knows nothing of the log begins one; the process that wrote it does not
    elif restarted:
        log = AuditLog(path, FixedClock())
    with pytest.raises(StoreUnavailable, match=r"2 was written, it ends with [01]"):
        log.record("C", CALLER, "success")
    assert path.exists() == (taken_away == "records")
    path.with_suffix(".1").rename(path)
    log.record("C", CALLER, "success")
    assert [line["event"] for line in lines(path)] == ["A", "B", "C"]


def test_record_after_another_log_was_put_in_place_is_refused(path, tmp_path):
    """A log of as many records that is not ours is not gone on with."""
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "audit.jsonl"
    AuditLog(other, FixedClock()).record("X", CALLER, "success")
    log = AuditLog(path, FixedClock())
    log.record("A", CALLER, "success")
    other.replace(path)
    with pytest.raises(StoreUnavailable, match="another one of that number"):
        log.record("B", CALLER, "success")
    assert [line["event"] for line in lines(path)] == ["X"]


def test_record_after_an_operator_gave_the_lost_end_up_begins_anew(path):
    """Without its lock file a log that is lost is begun again by the next process."""
    AuditLog(path, FixedClock()).record("A", CALLER, "success")
    path.unlink()
    lock_file(path).unlink()
    AuditLog(path, FixedClock()).record("B", CALLER, "success")
    assert [(line["seq"], line["event"]) for line in lines(path)] == [(1, "B")]


def test_record_after_a_cut_line_stays_readable(path):
    """A line that a full disk cut short does not spoil the next record."""
    path.write_text('{"event":"cut')
    AuditLog(path, FixedClock()).record("B", CALLER, "success")
    assert json.loads(path.read_text().splitlines()[-1])["event"] == "B"


def test_record_folder_missing_unavailable_with_hint(path):
    """A log that cannot be written is an error that says what to do, never a silent loss."""
    with pytest.raises(StoreUnavailable) as caught:
        AuditLog(path.parent / "nowhere" / "audit.jsonl", FixedClock()).record("A", CALLER, "success")
    assert caught.value.hint
