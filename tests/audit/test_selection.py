"""Which events are recorded: by the keys of the Certificate System, and never less than holds the log together."""

from __future__ import annotations

import json

import pytest
from tests.pki import NOW

from vouchd.audit.chain import Entry
from vouchd.audit.log import AuditLog
from vouchd.audit.selection import OPTIONAL, Selection
from vouchd.core.facts import Caller
from vouchd.core.record_filter import matches


class Clock:
    """Stands at NOW."""

    def now(self) -> int:
        return NOW


def entry(event: str, outcome: str = "success", **detail: str) -> Entry:
    return Entry(NOW, event, outcome, Caller("alice"), detail)


def events(path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []


def test_events_that_are_not_named_are_not_written(tmp_path):
    """Of the events that the Certificate System has, those of the list are recorded; ours are whatever it says."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, Clock(), selection=Selection(frozenset({"AUTHZ"})))
    log.record_all([entry("AUTH"), entry("AUTHZ"), entry("MEMBER_REMOVED")])
    log.record("CRL_RETRIEVAL", Caller("alice"), "success")
    assert events(path) == ["AUTHZ", "MEMBER_REMOVED"]


def test_filter_keeps_of_its_event_what_matches(tmp_path):
    """A filter concerns one event: its failures alone, say."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, Clock(), selection=Selection(filters={"AUTH": "(Outcome=Failure)"}))
    log.record_all([entry("AUTH"), entry("AUTH", "failure"), entry("AUTHZ")])
    assert events(path) == ["AUTH", "AUTHZ"]


def test_events_of_the_log_itself_cannot_be_turned_off():
    """What proves the log, and changes of its settings, are recorded with an empty list too."""
    nothing = Selection(frozenset())
    assert not OPTIONAL & {"AUDIT_LOG_STARTUP", "AUDIT_LOG_SIGNING", "AUDIT_LOG_DELETE", "CONFIG_SIGNED_AUDIT"}
    assert nothing.wants(entry("AUDIT_LOG_SIGNING"))
    assert not nothing.wants(entry("AUTH"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(outcome=FAILURE)", True),
        ("(Outcome=Success)", False),
        ("(SubjectID=alice)", True),
        ("(&(Outcome=failure)(ca=x))", True),
        ("(|(Outcome=success)(!(ca=y)))", True),
        ("(&(ca=*)(other=*))", False),
    ],
)
def test_filter_is_read_as_in_a_directory(text, expected):
    """Equality, presence, and, or, not (RFC 4515), whatever the case of letters."""
    assert matches(text, {"outcome": "failure", "subjectid": "alice", "ca": "x"}) is expected


@pytest.mark.parametrize("text", ["", "Outcome=Failure", "(Outcome)", "(&)", "(!(a=b)(c=d))", "(a=b)x", "(&(a=b)"])
def test_what_is_no_filter_is_refused(text):
    """A filter that cannot be read keeps nothing by accident: it is an error."""
    with pytest.raises(ValueError, match="filter"):
        matches(text, {})
