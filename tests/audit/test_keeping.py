"""What the manager process does for the audit log."""

from __future__ import annotations

import pytest
from tests.audit.auditing import Bench
from tests.pki import NOW

from vouchd.audit.answer_records import given_answers
from vouchd.audit.keeping import AuditKeeping, GivenAnswer, address_shown
from vouchd.audit.log import Rotation
from vouchd.audit.search import AuditReader
from vouchd.core.policy import ClientAddress


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "audit.jsonl")


def keeping(bench: Bench, **kw) -> AuditKeeping:
    return AuditKeeping(bench.log, bench.signing, bench.clock, flush_seconds=5, **kw)


def answer(serial: str = "0x07", status: str = "revoked", client: str = "192.0.2.77", count: int = 3) -> GivenAnswer:
    return GivenAnswer(NOW, "Lab CA", serial, status, client, count)


def events(bench: Bench) -> list[str]:
    return [record.event for record in reversed(AuditReader(bench.path).search())]


def test_start_and_stop_are_recorded_and_signed(bench):
    """The log tells when it began and ended, and its end is signed."""
    kept = keeping(bench)
    kept.started()
    kept.stopped()
    assert events(bench) == ["AUDIT_LOG_STARTUP", "AUDIT_LOG_SHUTDOWN", "AUDIT_LOG_SIGNING"]
    assert bench.prove().unsigned == 0


def test_start_names_the_keys_that_sign_answers(bench):
    """Which key answered at any time can be told from the log: OCSP_SIGNING_INFO has its key identifier."""
    keeping(bench, signers=lambda: {"ocspSigningCert": "ab12"}).started()
    newest, before = AuditReader(bench.path).search()
    assert (newest.event, dict(newest.detail)) == ("OCSP_SIGNING_INFO", {"signer": "ocspSigningCert", "key_id": "ab12"})
    assert before.event == "AUDIT_LOG_STARTUP"


def test_start_names_the_keys_of_any_number_of_signers(bench, monkeypatch):
    """Of thousands they are written in lots, each once and in order."""
    monkeypatch.setattr("vouchd.audit.keeping._LOT", 3)
    names = [f"s{number}" for number in range(8)]
    keeping(bench, signers=lambda: dict.fromkeys(reversed(names), "ab12")).started()
    first, *others = reversed(AuditReader(bench.path).search())
    assert first.event == "AUDIT_LOG_STARTUP"
    assert [dict(one.detail)["signer"] for one in others] == names
    assert bench.prove().broken is None


def test_files_past_their_time_are_deleted_and_recorded(tmp_path):
    """expirationTime: a file goes when its last record is that old, which is recorded; what is left is still proved."""
    bench = Bench(tmp_path / "audit.jsonl", Rotation(max_bytes=1))
    kept = keeping(bench, expires_seconds=10_000)
    for _ in range(4):
        bench.record("A")
        bench.clock.at += 4_000
    kept.keep()
    names = sorted(path.name for path in tmp_path.glob("audit-*.jsonl"))
    assert "audit-000000000001.jsonl" not in names
    assert "audit-000000000003.jsonl" in names
    history = AuditReader(bench.path).search()
    assert [dict(one.detail)["file"] for one in history if one.event == "AUDIT_LOG_DELETE"][-1] == (
        "audit-000000000001.jsonl"
    )
    proof = bench.prove()
    assert proof.broken is None
    assert proof.first > 1


def test_files_stay_without_an_expiration_time(tmp_path):
    """Nothing is ever deleted unless a time is set."""
    bench = Bench(tmp_path / "audit.jsonl", Rotation(max_bytes=1))
    for _ in range(3):
        bench.record("A")
        bench.clock.at += 10**8
    keeping(bench).keep()
    assert (tmp_path / "audit-000000000001.jsonl").exists()


def test_keep_signs_once_in_the_interval(bench):
    """Signatures come in batches, not with every record."""
    kept = keeping(bench)
    for _ in range(10):
        bench.record("A")
        kept.keep()
        bench.clock.at += 1
    assert events(bench).count("AUDIT_LOG_SIGNING") == 2


def test_keep_writes_answers_with_certificate_status_and_client(bench):
    """An OCSP_GENERATION record says which certificate, of which CA, in which state, to whom and how often."""
    kept = keeping(bench, shown=address_shown(ClientAddress.TRUNCATED), sample=10)
    kept.take_answers([answer()], 0)
    kept.keep()
    record = AuditReader(bench.path).record(1)
    assert (record.event, record.outcome, record.time, record.origin) == (
        "OCSP_GENERATION",
        "success",
        NOW,
        "192.0.2.0/24",
    )
    assert record.detail == {"ca": "Lab CA", "serial": "0x07", "status": "revoked", "count": 3, "one_in": 10}


def test_keep_names_the_client_behind_a_proxy_and_the_proxy(bench):
    """Whom a trusted proxy asks for is recorded as a client is, with the proxy beside it."""
    kept = keeping(bench, shown=address_shown(ClientAddress.TRUNCATED))
    kept.take_answers(given_answers([[NOW, "Lab CA", "0x07", "good", "203.0.113.9 via 10.0.0.1", 1]]), 0)
    kept.keep()
    record = AuditReader(bench.path).record(1)
    assert (record.origin, record.detail["proxy"]) == ("203.0.113.0/24", "10.0.0.1")


def test_keep_error_answer_is_a_failure_with_its_cause(bench):
    """An answer that was none is recorded with its cause."""
    kept = keeping(bench)
    kept.take_answers([GivenAnswer(NOW, "", "", "malformed", "", 1)], 0)
    kept.keep()
    record = AuditReader(bench.path).record(1)
    assert (record.outcome, record.origin, record.detail) == ("failure", "-", {"status": "malformed", "count": 1})


def test_keep_lost_answers_are_told(bench):
    """What could not be recorded is itself on record, once."""
    kept = keeping(bench)
    kept.take_answers([], 41)
    kept.keep()
    kept.keep()
    assert [record.detail.get("lost") for record in AuditReader(bench.path).search()][-1] == 41
    assert events(bench).count("OCSP_GENERATION") == 1
    assert kept.state().lost_answers == 41


def test_keep_log_away_keeps_answers_and_goes_on(bench):
    """While the log cannot be written answers wait, and the state tells."""
    kept = keeping(bench)
    folder = bench.path.parent
    bench.record("A")
    folder.rename(folder.with_name("away"))
    kept.take_answers([answer()], 0)
    kept.keep()
    assert not kept.state().up
    folder.with_name("away").rename(folder)
    kept.keep()
    assert kept.state().up
    assert "OCSP_GENERATION" in events(bench)


def test_keep_without_a_key_signs_nothing_but_knows_the_newest_record(bench):
    """An instance without an audit signing certificate keeps its chain."""
    kept = AuditKeeping(bench.log, None, bench.clock)
    Bench(bench.path).record("A", "B")
    kept.keep()
    assert (kept.state().newest, kept.state().unsigned) == (2, 2)
    assert events(bench) == ["A", "B"]


@pytest.mark.parametrize(
    "policy, address, shown",
    [
        (ClientAddress.FULL, "192.0.2.77", "192.0.2.77"),
        (ClientAddress.NONE, "192.0.2.77", "-"),
        (ClientAddress.TRUNCATED, "192.0.2.77", "192.0.2.0/24"),
        (ClientAddress.TRUNCATED, "2001:db8:1:2::3", "2001:db8:1::/48"),
        (ClientAddress.TRUNCATED, "::ffff:192.0.2.77", "192.0.2.0/24"),
        (ClientAddress.TRUNCATED, "fe80::1%eth0", "fe80::/48"),
        (ClientAddress.TRUNCATED, "nonsense", "-"),
    ],
)
def test_address_is_shown_as_the_policy_wants(policy, address, shown):
    """A client's address is no longer in the log than the operator wants."""
    assert address_shown(policy)(address) == shown


def test_address_hashed_is_comparable_within_one_start_only():
    """Hashes tell one client from another while the instance runs, and nothing afterwards."""
    one, other = address_shown(ClientAddress.HASHED), address_shown(ClientAddress.HASHED)
    assert one("192.0.2.1") == one("192.0.2.1") != one("192.0.2.2")
    assert one("192.0.2.1") != other("192.0.2.1")


def test_keep_end_of_the_log_taken_away_is_said_until_it_is_back(bench, caplog):
    """Nothing has to happen for it to be seen: the log is looked at, and state and log say what is wrong."""
    kept = AuditKeeping(bench.log, None, bench.clock)
    kept.started()
    bench.path.rename(bench.path.with_suffix(".1"))
    bench.clock.at += 5
    kept.keep()
    assert (kept.state().up, bench.path.exists()) == (False, False)
    assert "does not go on from its last record" in kept.state().why
    assert "put back what was taken away" in caplog.text
    bench.path.with_suffix(".1").rename(bench.path)
    bench.clock.at += 5
    kept.keep()
    assert (kept.state().up, kept.state().why) == (True, "")
