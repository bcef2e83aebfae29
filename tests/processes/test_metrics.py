"""Counters that merge, and the text of /metrics."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from vouchd.cloning.verdicts import Verification, VerifiedMember
from vouchd.ee.counters import SIGNATURE_BUCKETS, WorkerCounters, ended, merge
from vouchd.instance.report import (
    InstanceReport,
    MemberReport,
    RenewalReport,
    ReplicationReport,
    ServedPoint,
    ServerReport,
    WorkerReport,
)
from vouchd.pkix.purposes import Validity
from vouchd.processes.metrics import content_type, render
from vouchd.service.pulling import SourceState

NOW = 1_795_000_000
PAGE = Path(__file__).parents[2] / "docs" / "operate" / "processes.md"


def snapshot() -> dict:
    """What the workers counted."""
    worker = WorkerCounters(cache_hits=3, cache_misses=2)
    worker.answers.update({"successful": 4, "try_later": 1})
    worker.errors["no_crl"] += 1
    worker.cert_statuses["revoked"] += 2
    worker.observe_signatures(0.0003)
    worker.observe_signatures(2.0)
    gauges = ("connections", 5), ("connection_room", 9), ("waiting_signatures", 0), ("waiting_groups", 0)
    counted = worker.snapshot({**dict(gauges), "cache_entries": 2, "cache_bytes": 9000})
    counted["counters"] |= {"requests": {"GET": 5}, "sent_bytes": 1000, "connections": 6}
    return counted


VERIFICATION = Verification(
    NOW - 9, (VerifiedMember("o2:8443", "", 9, 9, 8, 5, 6, 1), VerifiedMember("o4:8443", "away"))
)


def report(**changes) -> InstanceReport:
    """The report of an instance with one of everything."""
    fields = {
        "pid": 1,
        "started_at": NOW - 100,
        "ee": ("127.0.0.1", 1),
        "health": ("127.0.0.1", 2),
        "workers": (WorkerReport(0, 10, 9), WorkerReport(1, 11, 8)),
        "restarts": 3,
        "version": 9,
        "issuing_points": (
            ServedPoint("ab", "complete", 'CA "one"', 4, 17, NOW - 60, NOW + 40, NOW - 50, 1000, 34000),
        ),
        "sources": (SourceState("main", accepted=2, not_modified=5, attempts=8, failures=1, last_error="down"),),
        "certificates": (("ocsp", Validity(NOW, NOW + 86400)),),
        "renewals": (RenewalReport("sslserver", "est", NOW + 60), RenewalReport("subsystem", "exec", None, "code 1")),
        "members": (
            MemberReport("o2:8443", "clone", True, NOW - 3, 2, (("ab", "complete", -70),)),
            MemberReport("o3:8443", "clone", False),
        ),
        "behind": ('CA "one"',),
        "upkeep": (("following", "away"),),
        "replication": ReplicationReport(
            NOW - 5,
            (
                ServerReport("o2:8443", "ds2:636", "amber", 12, sent_at=NOW - 20),
                ServerReport("o3:8443", "ds3:636", "red", ahead=True, code=49, why="refused"),
            ),
            conflicts=2,
            stale_replicas=(7,),
        ),
    }
    return InstanceReport(**fields | changes)


def text(shown: InstanceReport, counted: dict, verification: Verification | None = VERIFICATION) -> str:
    """The text of /metrics."""
    return render(shown, counted, verification, NOW).decode()


def samples(
    shown: InstanceReport | None = None, counted: dict | None = None, verification: Verification | None = VERIFICATION
) -> dict[str, float]:
    """Value by name and labels, as a Prometheus server would read them."""
    values = {}
    for family in text_string_to_metric_families(
        text(shown or report(), snapshot() if counted is None else counted, verification)
    ):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return values


def test_metrics_show_what_was_counted():
    """Every fact of the view comes out under its name and labels."""
    values = samples()
    assert values["vouchd_answers_total{status=successful}"] == 4
    assert values["vouchd_error_answers_total{cause=no_crl}"] == 1
    assert values["vouchd_cert_statuses_total{status=revoked}"] == 2
    assert (values["vouchd_cache_hits_total"], values["vouchd_cache_misses_total"]) == (3, 2)
    assert values["vouchd_requests_total{method=GET}"] == 5
    assert values["vouchd_connections"] == 5
    assert values["vouchd_connections_accepted_total"] == 6
    assert (values["vouchd_workers"], values["vouchd_workers_ready"], values["vouchd_worker_restarts_total"]) == (
        2,
        1,
        3,
    )
    assert values["vouchd_certificate_expiry_seconds{certificate=ocsp}"] == 86400
    assert values["vouchd_certificate_renewal_seconds{certificate=sslserver}"] == 60
    assert "vouchd_certificate_renewal_seconds{certificate=subsystem}" not in values
    failing = [
        values[f"vouchd_certificate_renewal_failing{{certificate={name}}}"] for name in ("sslserver", "subsystem")
    ]
    assert failing == [0, 1]
    assert values["vouchd_source_up{source=main}"] == 0
    assert values["vouchd_source_accepted_total{source=main}"] == 2


def test_issuing_point_shows_age_and_time_left():
    """An issuing point shows how old its CRL is and how long it is still good."""
    values = samples()
    labels = '{authority=ab,ca=CA "one",scope=complete}'
    assert values["vouchd_crl_age_seconds" + labels] == 60
    assert values["vouchd_crl_seconds_to_next_update" + labels] == 40
    assert values["vouchd_crl_entries" + labels] == 1000
    assert values["vouchd_epoch_sequence" + labels] == 4
    assert values["vouchd_index_bytes" + labels] == 34000


def test_crl_without_next_update_has_no_time_left():
    """What a CRL does not say is not shown as a number."""
    point = ServedPoint("ab", "complete", "CA", 4, None, NOW - 60, None, NOW - 50, 1000, 34000)
    shown = text(report(issuing_points=(point,)), snapshot())
    assert "vouchd_crl_seconds_to_next_update{" not in shown
    assert "vouchd_crl_number{" not in shown


def test_signature_time_is_a_cumulative_histogram():
    """Signature times are counted in buckets that add up, the slowest above the last bound."""
    values = samples()
    assert values["vouchd_signature_seconds_bucket{le=0.00025}"] == 0
    assert values["vouchd_signature_seconds_bucket{le=0.0005}"] == 1
    assert values["vouchd_signature_seconds_bucket{le=1.0}"] == 1
    assert values["vouchd_signature_seconds_bucket{le=+Inf}"] == values["vouchd_signature_seconds_count"] == 2
    assert values["vouchd_signature_seconds_sum"] == 2.0003


def test_metrics_before_the_first_answer_are_zero_not_absent():
    """An instance that has answered nothing shows its plain counters as zero."""
    values = samples(report(issuing_points=(), sources=(), certificates=()), counted={})
    assert values["vouchd_cache_hits_total"] == 0
    assert values["vouchd_signature_seconds_count"] == 0


def test_snapshots_merge_by_adding():
    """Workers' snapshots add up, whichever keys each of them has."""
    one, two = WorkerCounters(cache_hits=1), WorkerCounters(cache_hits=2)
    one.answers["successful"] += 1
    two.answers["malformed_request"] += 1
    two.observe_signatures(SIGNATURE_BUCKETS[0])
    total = merge([one.snapshot({"connections": 1}), two.snapshot({"connections": 4})])
    assert total["counters"]["answers"] == {"successful": 1, "malformed_request": 1}
    assert total["counters"]["cache_hits"] == 3
    assert total["counters"]["signature_counts"][0] == 1
    assert total["gauges"] == {"connections": 5}


def test_ended_worker_leaves_counters_but_no_gauges():
    """What a worker counted outlives it, what it held does not."""
    total = merge([ended(WorkerCounters(cache_hits=7).snapshot({"connections": 3})), WorkerCounters().snapshot()])
    assert total["counters"]["cache_hits"] == 7
    assert total["gauges"] == {}


def test_snapshot_of_another_version_does_not_break_the_sum():
    """A worker of another version, as there is during a restart, cannot take the metrics down."""
    odd = {"counters": {"cache_hits": "many", "signature_counts": [1, 2]}}
    total = merge([WorkerCounters(cache_hits=1).snapshot(), odd])
    assert total["counters"]["cache_hits"] == 1


def test_every_metric_is_documented():
    """Each metric that can be shown stands in the operator's table, and the table names no other."""
    shown = set(re.findall(r"^# TYPE (\S+)", text(report(), snapshot()), re.MULTILINE))
    rows = re.findall(r"^\| (`(?:vouchd|process)_[^|]+) \|", PAGE.read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert shown == documented


def test_other_members_are_told_of():
    """Each member has its reachability, its clock and its lag for each issuing point, alike ones as 0."""
    values = samples()
    assert values["vouchd_member_reachable{member=o2:8443}"] == 1
    assert values["vouchd_member_reachable{member=o3:8443}"] == 0
    assert values["vouchd_member_last_seen_timestamp_seconds{member=o2:8443}"] == NOW - 3
    assert "vouchd_member_last_seen_timestamp_seconds{member=o3:8443}" not in values
    assert values["vouchd_member_clock_skew_seconds{member=o2:8443}"] == 2
    lags = {name: value for name, value in values.items() if name.startswith("vouchd_member_lag_seconds")}
    assert sorted(lags.values()) == [-70, 0]
    assert [value for name, value in values.items() if name.startswith("vouchd_behind")] == [1]
    assert values["vouchd_upkeep_failing"] == 1


def test_comparison_with_each_member_is_told_of():
    """When it was, whether all was alike, and how much at which level; before the first one nothing is said."""
    values = samples()
    name = "vouchd_clone_verification_"
    assert values[name + "last_run_timestamp_seconds"] == NOW - 9
    assert [values[f"{name}identical{{member={one}:8443}}"] for one in ("o2", "o4")] == [0, 0]
    assert values[name + "differences{member=o2:8443}"] == 1
    assert (values[name + "asked{member=o2:8443}"], values[name + "asked_bytes{member=o2:8443}"]) == (9, 6)
    levels = ("status", "ResponseData", "bytes")
    assert [values[f"{name}alike{{level={level},member=o2:8443}}"] for level in levels] == [9, 8, 5]
    assert not [one for one in samples(verification=None) if one.startswith(name)]


def test_replication_with_each_server_is_told_of():
    """A server's state, what it lacks and why are alertable; what was not seen is absent and not taken for 0."""
    values = samples()

    def of(name: str, member: str) -> dict[str, float]:
        start = f"vouchd_replication_{name}{{member={member}:8443"
        return {key.removeprefix(start).partition("state=")[2]: values[key] for key in values if key.startswith(start)}

    assert of("state", "o2") == {"green}": 0, "amber}": 1, "red}": 0}
    assert of("state", "o3") == {"green}": 0, "amber}": 0, "red}": 1}
    assert [of("lag_seconds", member) for member in ("o2", "o3")] == [{"": 12}, {}]
    assert [of("ahead", member) for member in ("o2", "o3")] == [{"": 0}, {"": 1}]
    assert [of("error_code", member) for member in ("o2", "o3")] == [{"": 0}, {"": 49}]
    assert [of("last_update_timestamp_seconds", member) for member in ("o2", "o3")] == [{"": NOW - 20}, {}]
    assert values["vouchd_replication_conflicts"] == 2
    assert values["vouchd_replication_stale_replicas"] == 1
    assert values["vouchd_replication_last_look_timestamp_seconds"] == NOW - 5
    assert not [name for name in samples(report(replication=None)) if name.startswith("vouchd_replication")]


def test_metrics_are_open_metrics_for_who_asks_for_them():
    """The type of the answer is what it is, and a parser of that format reads all of it."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    assert content_type(accept).startswith("application/openmetrics-text; version=1.0.0")
    assert content_type("").startswith("text/plain; version=0.0.4")
    text = render(InstanceReport(1, 0, ("", 0), ("", 0)), {}, None, NOW, accept).decode()
    assert text.endswith("# EOF\n")
    names = {family.name for family in openmetrics.text_string_to_metric_families(text)}
    assert {"vouchd_answers", "vouchd_build_info", "process_cpu_seconds"} <= names


def test_metric_that_is_a_moment_says_so_by_its_name():
    """A time since the epoch ends in _timestamp_seconds, and nothing else does."""
    text = render(InstanceReport(1, 0, ("", 0), ("", 0)), {}, None, NOW).decode()
    helps = re.findall(r"^# HELP (vouchd_\S+) (.*)", text, re.MULTILINE)
    moments = {name for name, words in helps if words.startswith("When ")}
    assert len(moments) > 8
    assert moments == {name for name, _ in helps if name.endswith("_timestamp_seconds")}
