"""Sessions in the audit log: the first of a kind at once, the rest as a number, kinds in a bounded number."""

from __future__ import annotations

import pytest
from tests.audit.auditing import Bench, SetClock

from vouchd.audit.keeping import AuditKeeping, address_shown
from vouchd.audit.log import AuditLog
from vouchd.audit.search import AuditQuery, AuditReader
from vouchd.audit.traffic import ESTABLISH, MAX_KINDS, TERMINATED, WINDOW_SECONDS, SessionRecords, Traffic
from vouchd.core.facts import Caller
from vouchd.core.policy import ClientAddress
from vouchd.errors import StoreUnavailable

ADDRESS, SUBJECT = "192.0.2.77", "CN=agent"


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def sessions(clock):
    return SessionRecords(clock, str)


def rows(sessions: SessionRecords, **kw) -> list[tuple[str, str, int]]:
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
    assert rows(sessions) == [(ESTABLISH, "success", 1)]
    for _ in range(1000):
        sessions.established(ADDRESS, SUBJECT)
    assert rows(sessions) == []
    clock.at += WINDOW_SECONDS
    assert rows(sessions) == [(ESTABLISH, "success", 1000)]
    sessions.established(ADDRESS, SUBJECT)
    assert rows(sessions) == []


def test_client_that_stayed_away_for_a_minute_is_recorded_at_once(sessions, clock):
    """Nothing is kept of a kind that does not come any more."""
    for _ in range(2):
        sessions.established(ADDRESS, SUBJECT)
        assert rows(sessions) == [(ESTABLISH, "success", 1)]
        clock.at += WINDOW_SECONDS
        assert rows(sessions) == []


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
    assert rows(sessions, final=True) == [(TERMINATED, "success", 2)]
    assert rows(sessions, final=True) == []


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
    beginnings = [record for record in AuditReader(bench.path).search() if record.event == ESTABLISH]
    assert [(record.origin, record.detail["count"]) for record in beginnings] == [
        ("192.0.2.0/24", 1),
        ("192.0.2.0/24", 1),
    ]


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


AGENT = Caller("agent", frozenset({"Auditors"}), ADDRESS)
STRANGER = {"subject": "CN=stranger", "certificate": "aa", "reason": "no user has this certificate"}


def on_record(bench: Bench) -> list[tuple[str, str, int]]:
    """(event, outcome, count) of every record, oldest first."""
    records = reversed(AuditReader(bench.path).search())
    return [(record.event, record.outcome, int(record.detail.get("count", 1))) for record in records]


def test_stranger_with_a_certificate_leaves_one_record_a_minute(tmp_path):
    """Requests of whoever has a certificate and no user are counted as sessions are: the first at once, the rest as one."""
    bench = Bench(tmp_path / "audit.jsonl")
    traffic = Traffic(bench.log, bench.clock)
    kept = AuditKeeping(bench.log, None, bench.clock, traffic=traffic)
    for _ in range(1000):
        traffic.record("AUTH", Caller("-", origin=ADDRESS), "failure", **STRANGER)
    assert on_record(bench) == [("AUTH", "failure", 1)]
    bench.clock.at += WINDOW_SECONDS
    kept.keep()
    assert on_record(bench) == [("AUTH", "failure", 1), ("AUTH", "failure", 999)]


def test_user_who_is_refused_again_and_again_is_counted_whatever_he_asked_for(tmp_path):
    """Acts that a user may not do are one kind, so that a user without rights cannot fill the log either."""
    bench = Bench(tmp_path / "audit.jsonl")
    traffic = Traffic(bench.log, bench.clock)
    for number in range(1000):
        traffic.record("AUTHZ", AGENT, "failure", action="remove CA", target=f"CA {number}")
    assert on_record(bench) == [("AUTHZ", "failure", 1)]
    assert [entry.detail["count"] for entry in traffic.due(final=True)] == [999]


def test_act_is_never_counted(tmp_path):
    """Each act that was allowed has a record of its own before it is done."""
    bench = Bench(tmp_path / "audit.jsonl")
    traffic = Traffic(bench.log, bench.clock)
    for _ in range(3):
        traffic.record("AUTHZ", AGENT, "success", action="remove CA", target="CA")
        traffic.record("CONFIG_ROLE", AGENT, "success", operation="add")
    assert on_record(bench) == [("AUTHZ", "success", 1), ("CONFIG_ROLE", "success", 1)] * 3


def test_certificates_beyond_the_limit_are_counted_together(tmp_path):
    """However many certificates a stranger has, what is kept and recorded of them is bounded."""
    bench = Bench(tmp_path / "audit.jsonl")
    traffic = Traffic(bench.log, bench.clock)
    for number in range(MAX_KINDS + 100):
        traffic.record("AUTH", Caller("-", origin=ADDRESS), "failure", **{**STRANGER, "certificate": str(number)})
    assert AuditReader(bench.path).search()[0].seq == MAX_KINDS + 1
    (rest,) = traffic.due(final=True)
    assert (rest.caller.origin, rest.detail["certificate"], rest.detail["count"]) == ("others", "others", 99)


def test_first_of_a_kind_that_cannot_be_recorded_is_refused_each_time(tmp_path):
    """While the log cannot be written nobody comes in by being counted."""
    bench = Bench(tmp_path / "none" / "audit.jsonl")
    traffic = Traffic(bench.log, bench.clock)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            traffic.record("AUTH", AGENT, "success", subject="CN=agent")
    assert traffic.due(final=True) == []


def test_traffic_alone_is_signed_rarely_and_an_act_within_seconds(tmp_path):
    """An idle set does not sign its own looks every few seconds; what is done is proved soon."""
    bench = Bench(tmp_path / "audit.jsonl")
    kept = AuditKeeping(bench.log, bench.signing, bench.clock)
    kept.started()
    kept.keep()
    signed = bench.signing.signed_through
    for _ in range(10):
        bench.clock.at += WINDOW_SECONDS
        kept.sessions.established(ADDRESS, SUBJECT)
        kept.keep()
    assert bench.signing.signed_through == signed
    bench.record("CONFIG_ROLE")
    bench.clock.at += 5
    kept.keep()
    assert bench.signing.signed_through > signed
    bench.clock.at += 900
    kept.sessions.established(ADDRESS, SUBJECT)
    kept.keep()
    assert not kept.state().unsigned
    assert bench.prove().broken is None


def test_act_of_another_process_is_signed_within_seconds(tmp_path):
    """A command writes to the same log; what it did is of weight."""
    bench = Bench(tmp_path / "audit.jsonl")
    kept = AuditKeeping(bench.log, bench.signing, bench.clock)
    kept.started()
    kept.keep()
    AuditLog(bench.path, bench.clock).record("CONFIG_ROLE", AGENT, "success")
    bench.clock.at += 5
    kept.keep()
    assert not kept.state().unsigned


def test_page_of_people_leaves_traffic_out_and_keeps_refusals(tmp_path):
    """A search without traffic shows what was done and refused, or the traffic whose event it names."""
    bench = Bench(tmp_path / "audit.jsonl")
    for event, outcome in (("AUTH", "success"), ("AUTH", "failure"), ("ROLE_ASSUME", "success"), ("AUTHZ", "success")):
        bench.log.record(event, AGENT, outcome)
    bench.signing.sign()
    reader = AuditReader(bench.path)
    shown = [(one.event, one.outcome) for one in reader.search(AuditQuery(traffic=False))]
    assert shown == [("AUTHZ", "success"), ("AUTH", "failure")]
    assert len(reader.search(AuditQuery(traffic=False, event="AUTH"))) == 2
    assert len(reader.search()) == 5
