"""Sessions in the audit log: the first of a kind at once, the rest as a number, kinds in a bounded number."""

from __future__ import annotations

import pytest
from tests.audit.auditing import Bench, SetClock

from vouchd.audit.keeping import AuditKeeping, address_shown
from vouchd.audit.search import AuditReader
from vouchd.audit.sessions import ESTABLISH, MAX_KINDS, TERMINATED, WINDOW_SECONDS, SessionRecords
from vouchd.core.policy import ClientAddress

ADDRESS, SUBJECT = "192.0.2.77", "CN=agent"


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def sessions(clock):
    return SessionRecords(clock, str)


def told(sessions: SessionRecords, **kw) -> list[tuple[str, str, int]]:
    """(event, outcome, count) of what is due."""
    return [(entry.event, entry.outcome, entry.detail["count"]) for entry in sessions.due(**kw)]


def test_session_is_recorded_when_it_begins_and_when_it_ends(sessions):
    """Both events name the client's address and the subject of its certificate."""
    sessions.established(ADDRESS, SUBJECT)
    (began,) = sessions.due()
    sessions.terminated(ADDRESS, SUBJECT)
    (ended,) = sessions.due()
    assert (began.event, ended.event) == (ESTABLISH, TERMINATED)
    for entry in (began, ended):
        assert (entry.caller.origin, entry.detail["subject"], entry.outcome) == (ADDRESS, SUBJECT, "success")


def test_handshake_that_failed_tells_why(sessions):
    """A failure has no subject: nothing was proved."""
    sessions.refused(ADDRESS, "certificate has expired")
    (entry,) = sessions.due()
    assert (entry.event, entry.outcome) == (ESTABLISH, "failure")
    assert dict(entry.detail) == {"subject": "-", "count": 1, "why": "certificate has expired"}


def test_same_session_again_is_counted_until_the_minute_is_over(sessions, clock):
    """However often a client comes, it leaves one record a minute."""
    sessions.established(ADDRESS, SUBJECT)
    assert told(sessions) == [(ESTABLISH, "success", 1)]
    for _ in range(1000):
        sessions.established(ADDRESS, SUBJECT)
    assert told(sessions) == []
    clock.at += WINDOW_SECONDS
    assert told(sessions) == [(ESTABLISH, "success", 1000)]
    sessions.established(ADDRESS, SUBJECT)
    assert told(sessions) == []


def test_client_that_stayed_away_for_a_minute_is_recorded_at_once(sessions, clock):
    """Nothing is kept of a kind that does not come any more."""
    for _ in range(2):
        sessions.established(ADDRESS, SUBJECT)
        assert told(sessions) == [(ESTABLISH, "success", 1)]
        clock.at += WINDOW_SECONDS
        assert told(sessions) == []


def test_kinds_beyond_the_limit_are_counted_together(sessions):
    """Many addresses cannot fill memory or log: the rest is one record for each event and outcome."""
    for number in range(MAX_KINDS + 30):
        sessions.refused(f"192.0.2.{number}", "it took too long")
    counts = {entry.caller.origin: entry.detail["count"] for entry in sessions.due()}
    assert len(counts) == MAX_KINDS + 1
    assert counts["others"] == 30


def test_last_records_wait_for_no_minute(sessions):
    """What is counted is told before the process ends."""
    for _ in range(3):
        sessions.terminated(ADDRESS, SUBJECT)
        sessions.due()
    assert told(sessions, final=True) == [(TERMINATED, "success", 2)]
    assert told(sessions, final=True) == []


def test_long_subject_is_cut(sessions):
    """A name of a certificate is not longer in the log than can be read."""
    sessions.established(ADDRESS, "CN=" + "x" * 100_000)
    assert len(sessions.due()[0].detail["subject"]) == 200


@pytest.mark.parametrize("end", ["keep_last", "stopped"])
def test_sessions_are_written_with_the_address_as_the_policy_shows_it(tmp_path, end):
    """`clientAddress` counts for sessions as it does for answers; none is lost at the end."""
    bench = Bench(tmp_path / "audit.jsonl")
    kept = AuditKeeping(bench.log, None, bench.clock, shown=address_shown(ClientAddress.TRUNCATED))
    for _ in range(2):
        kept.sessions.established(ADDRESS, SUBJECT)
        kept.keep()
    getattr(kept, end)()
    found = [record for record in AuditReader(bench.path).search() if record.event == ESTABLISH]
    assert [(record.origin, record.detail["count"]) for record in found] == [("192.0.2.0/24", 1), ("192.0.2.0/24", 1)]


def test_sessions_wait_while_the_log_cannot_be_written(tmp_path):
    """What could not be written is written later, once."""
    bench = Bench(tmp_path / "audit.jsonl")
    kept = AuditKeeping(bench.log, None, bench.clock)
    bench.path.mkdir()
    kept.sessions.established(ADDRESS, SUBJECT)
    kept.keep()
    bench.path.rmdir()
    kept.keep()
    kept.keep()
    assert [record.event for record in AuditReader(bench.path).search()] == [ESTABLISH]
