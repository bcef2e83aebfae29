"""The audit log: complete lines, on disk, in a private file."""

from __future__ import annotations

import json
import stat

import pytest

from vouchd.audit.log import AuditLog
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
    (found,) = lines(path)
    assert len(found.pop("hash")) == 64
    assert found == {
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


def test_record_after_renaming_begins_a_new_file(path):
    """A file that somebody moved away takes no records any more."""
    log = AuditLog(path, FixedClock())
    log.record("A", CALLER, "success")
    path.rename(path.with_suffix(".1"))
    log.record("B", CALLER, "success")
    assert [line["event"] for line in lines(path)] == ["B"]


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
