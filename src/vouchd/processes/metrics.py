"""The text of `/metrics`: a function of the instance's report and of the workers' counters.

Names and meaning stand in docs/operate/processes.md.
"""

from __future__ import annotations

import platform
import ssl
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from vouchd import __version__
from vouchd.audit.keeping import AuditState
from vouchd.cloning.verdicts import Verification
from vouchd.ee.counters import SIGNATURE_BUCKETS, Snapshot
from vouchd.instance.hindrances import Cause, hindrances
from vouchd.instance.report import InstanceReport, ReplicationReport, ServedPoint, ServerReport
from vouchd.service.pulling import SourceState


def content_type(accept: str) -> str:
    """What `render` gives to who accepts that: OpenMetrics where it is named, Prometheus' text format otherwise."""
    return choose_encoder(accept)[1]


def render(
    report: InstanceReport, snapshot: Snapshot, verification: Verification | None, now: int, accept: str = ""
) -> bytes:
    """All metrics; `snapshot` are the counters of all workers together, `accept` is the request's header."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(report, snapshot, verification, now))
    ProcessCollector(registry=registry)
    return choose_encoder(accept)[0](registry)


class _Collector(Collector):
    def __init__(self, report: InstanceReport, snapshot: Snapshot, verification: Verification | None, now: int) -> None:
        self._report = report
        self._snapshot = snapshot
        self._verification = verification
        self._now = now

    def collect(self) -> Iterator[Metric]:
        report, now = self._report, self._now
        yield from _answers(self._snapshot)
        yield from _processes(report)
        yield from _issuing_points(report, now)
        yield from _sources(report.sources)
        yield from _selftests(report)
        yield _hindrances(report, now)
        yield from _audit(report.audit)
        yield from _alerts(report)
        yield from _members(report)
        yield from _replication(report.replication)
        yield from _verification(self._verification)
        yield _labelled(
            "vouchd_certificate_expiry_seconds",
            "Until notAfter of a certificate of the instance, negative once it has passed",
            {name: validity.not_after - now for name, validity in report.certificates},
            "certificate",
        )
        yield _labelled(
            "vouchd_certificate_renewal_seconds",
            "Until a certificate renews itself, negative while that is overdue",
            {one.name: one.due_at - now for one in report.renewals if one.due_at is not None},
            "certificate",
        )
        yield _labelled(
            "vouchd_certificate_renewal_failing",
            "1 where the last attempt of a certificate to renew itself failed",
            {one.name: int(bool(one.why)) for one in report.renewals},
            "certificate",
        )


def _answers(snapshot: Snapshot) -> Iterator[Metric]:
    counters = snapshot.get("counters", {})
    for name, text, key, label in (
        ("vouchd_answers", "OCSP answers by response status", "answers", "status"),
        ("vouchd_error_answers", "OCSP answers that are not successful, by cause", "errors", "cause"),
        ("vouchd_requests", "HTTP requests by method", "requests", "method"),
        (
            "vouchd_lost_turns",
            "Requests that gave way to clients with fewer, by client (hashed)",
            "lost_turns",
            "client",
        ),
        ("vouchd_cert_statuses", "Single responses by certificate status", "cert_statuses", "status"),
    ):
        by_label = CounterMetricFamily(name, text, labels=[label])
        for value, count in sorted(counters.get(key, {}).items()):
            by_label.add_metric([value], count)
        yield by_label
    for name, text, key in (
        ("vouchd_cache_hits", "Answers from the cache", "cache_hits"),
        ("vouchd_cache_misses", "Answers that had to be made", "cache_misses"),
        ("vouchd_sent_bytes", "Bytes of HTTP answers", "sent_bytes"),
        ("vouchd_connections_accepted", "Connections taken", "connections"),
    ):
        yield CounterMetricFamily(name, text, value=counters.get(key, 0))
    yield _signatures(counters)
    for name, value in sorted(snapshot.get("gauges", {}).items()):
        yield GaugeMetricFamily(f"vouchd_{name}", f"{name.replace('_', ' ')} now, all workers", value=value)


def _signatures(counters: Mapping[str, object]) -> Metric:
    counts = counters.get("signature_counts", [])
    seconds = counters.get("signature_seconds", 0.0)
    bounds = [*(str(bound) for bound in SIGNATURE_BUCKETS), "+Inf"]
    if not isinstance(counts, list) or len(counts) != len(bounds):
        counts = [0] * len(bounds)
    below, cumulated = 0, []
    for bound, count in zip(bounds, counts, strict=True):
        below += count
        cumulated.append((bound, below))
    return HistogramMetricFamily(
        "vouchd_signature_seconds",
        "Time to make one signature",
        buckets=cumulated,
        sum_value=seconds if isinstance(seconds, float) else 0.0,
    )


def _processes(report: InstanceReport) -> Iterator[Metric]:
    gauge = GaugeMetricFamily
    build = gauge("vouchd_build_info", "1; what runs, in the labels", labels=["version", "python", "openssl"])
    build.add_metric([__version__, platform.python_version(), ssl.OPENSSL_VERSION.split()[1]], 1)
    yield build
    yield gauge("vouchd_start_timestamp_seconds", "When this instance started", value=report.started_at)
    yield gauge("vouchd_workers", "Worker processes", value=len(report.workers))
    yield gauge("vouchd_workers_ready", "Workers that answer from the current manifest", value=report.workers_ready)
    yield gauge("vouchd_proved", "CAs that were proved since the start, passed or not", value=report.proved)
    yield gauge("vouchd_unproved", "CAs that wait to be proved", value=report.to_prove - report.proved)
    confined = sum(worker.confined for worker in report.workers)
    yield gauge("vouchd_workers_confined", "Workers that cannot open the instance's files", value=confined)
    yield CounterMetricFamily("vouchd_worker_restarts", "Workers started again after they ended", value=report.restarts)
    yield gauge("vouchd_manifest_version", "Version of the serving manifest", value=report.version)
    yield gauge("vouchd_unverified", "Issuing points not served as the store has them", value=len(report.unverified))
    yield CounterMetricFamily("vouchd_index_repairs", "Damaged index files made again", value=report.index_repairs)
    yield gauge("vouchd_store_up", "1 while the store can be reached", value=int(not report.store_error))


def _hindrances(report: InstanceReport, now: int) -> Metric:
    """One of each cause is always there, 0 without a name, so that an alert can be written before it is needed."""
    family = GaugeMetricFamily(
        "vouchd_hindrance", "1 for each thing that keeps revocations from being answered", labels=["cause", "name"]
    )
    present = hindrances(report, now)
    for one in dict.fromkeys((hindrance.cause, hindrance.name) for hindrance in present):
        family.add_metric([one[0].value, one[1]], 1)
    for cause in Cause:
        if not any(hindrance.cause is cause for hindrance in present):
            family.add_metric([cause.value, ""], 0)
    return family


def _audit(audit: AuditState) -> Iterator[Metric]:
    gauge = GaugeMetricFamily
    yield gauge("vouchd_audit_up", "1 while the audit log can be written", value=int(audit.up))
    yield gauge("vouchd_audit_newest_record", "Number of the newest record in the audit log", value=audit.newest)
    yield gauge("vouchd_audit_unsigned_records", "Newest records that no signature covers", value=audit.unsigned)
    yield CounterMetricFamily(
        "vouchd_audit_lost_answers", "Answers that could not be recorded in the audit log", value=audit.lost_answers
    )


def _alerts(report: InstanceReport) -> Iterator[Metric]:
    standing = GaugeMetricFamily(
        "vouchd_alert", "1 for each alert that stands", labels=["condition", "name", "severity"]
    )
    for alert in report.alerts:
        standing.add_metric([alert.condition, alert.subject, alert.severity], 1)
    yield standing
    carriers = report.carriers
    for name, text, values in (
        ("vouchd_alert_carrier_up", "1 when the last attempt went out", {c.name: int(not c.error) for c in carriers}),
        ("vouchd_alert_waiting", "Notices that have not gone out yet", {c.name: c.waiting for c in carriers}),
    ):
        yield _labelled(name, text, values, "carrier")
    for name, text, values in (
        ("vouchd_alert_sent", "Notices that went out", {c.name: c.sent for c in carriers}),
        ("vouchd_alert_failures", "Attempts to send one that failed", {c.name: c.failures for c in carriers}),
        ("vouchd_alert_lost", "Notices that were given up, too many had to wait", {c.name: c.lost for c in carriers}),
    ):
        yield _counted(name, text, values, "carrier")
    backup = report.backup
    yield GaugeMetricFamily(
        "vouchd_backup_made_timestamp_seconds", "When the last backup was made", value=backup.made_at
    )
    yield GaugeMetricFamily(
        "vouchd_backup_proved_timestamp_seconds", "When a backup was restored and asked last", value=backup.proved_at
    )
    yield GaugeMetricFamily("vouchd_backup_failed", "1 when the last attempt failed", value=int(bool(backup.error)))


def _members(report: InstanceReport) -> Iterator[Metric]:
    members = report.members
    seen = {one.id: one.seen_at for one in members if one.seen_at is not None}
    for name, text, values in (
        ("vouchd_member_reachable", "1 when the other member answered last", {m.id: int(m.reachable) for m in members}),
        ("vouchd_member_last_seen_timestamp_seconds", "When the other member answered last", seen),
        ("vouchd_member_clock_skew_seconds", "Its clock before ours", {m.id: m.skew_seconds for m in members}),
    ):
        yield _labelled(name, text, values, "member")
    lag = GaugeMetricFamily(
        "vouchd_member_lag_seconds",
        "For how long the other member has had an older CRL than this one, negative: a newer one",
        labels=["member", "ca", "authority", "scope"],
    )
    for member in members:
        lags = {(authority, scope): seconds for authority, scope, seconds in member.lags}
        for point in report.issuing_points:
            value = lags.get((point.authority_id, point.scope_id), 0)
            lag.add_metric([member.id, point.label, point.authority_id, point.scope_id], value)
    yield lag
    behind = frozenset(report.behind)
    yield _labelled(
        "vouchd_behind",
        "1 while the CA is answered tryLater because a newer CRL is known and not answered from",
        {point.label: int(point.label in behind) for point in report.issuing_points},
        "ca",
    )
    waiting = GaugeMetricFamily(
        "vouchd_signer_waiting",
        "1 for each signer that the set does not switch to yet, and member that is in the way",
        labels=["signer", "member"],
    )
    for one in report.waiting_signers:
        waiting.add_metric([one.signer, one.member], 1)
    yield waiting
    yield GaugeMetricFamily(
        "vouchd_approvals_waiting",
        "Operations that wait for a second agent, at the master",
        value=len(report.waiting_approvals),
    )
    yield GaugeMetricFamily(
        "vouchd_upkeep_failing", "Pieces of work for the set that could not be done", value=len(report.upkeep)
    )


def _replication(report: ReplicationReport | None) -> Iterator[Metric]:
    servers = report.servers if report else ()
    for name, text, value_of in _OF_A_SERVER:
        family = GaugeMetricFamily(name, text, labels=["member", "server"])
        for one in servers:
            value = value_of(one)
            if value is not None:
                family.add_metric([one.member, one.server], value)
        yield family
    state = GaugeMetricFamily(
        "vouchd_replication_state",
        "1 for the state that replication with the other member's directory server is in",
        labels=["member", "server", "state"],
    )
    for one in servers:
        for colour in ("green", "amber", "red"):
            state.add_metric([one.member, one.server, colour], int(one.state == colour))
    yield state
    for name, text, number_of in _OF_REPLICATION:
        yield GaugeMetricFamily(name, text, value=number_of(report) if report else None)


_OF_A_SERVER: tuple[tuple[str, str, Callable[[ServerReport], int | None]], ...] = (
    ("vouchd_replication_lag_seconds", "Age of the newest change that it lacks", lambda one: one.lag_seconds),
    ("vouchd_replication_ahead", "1 while it has changes that are not here", lambda one: int(one.ahead)),
    ("vouchd_replication_error_code", "Error of the last attempt to send to it, 0: none", lambda one: one.code),
    ("vouchd_replication_last_update_timestamp_seconds", "When changes were sent to it last", lambda one: one.sent_at),
)

_OF_REPLICATION: tuple[tuple[str, str, Callable[[ReplicationReport], int]], ...] = (
    ("vouchd_replication_last_look_timestamp_seconds", "When the servers were asked last", lambda report: report.at),
    ("vouchd_replication_conflicts", "Entries made on two servers at once", lambda report: report.conflicts),
    (
        "vouchd_replication_stale_replicas",
        "Ids of servers that left the set and were not cleaned up",
        lambda report: len(report.stale_replicas),
    ),
)


def _verification(comparison: Verification | None) -> Iterator[Metric]:
    members, gauge = comparison.members if comparison else (), "vouchd_clone_verification"
    yield GaugeMetricFamily(
        f"{gauge}_last_run_timestamp_seconds", "When it was compared last", value=comparison.at if comparison else None
    )
    for name, text, values in (
        ("identical", "1 when nothing was different and it answered", {m.id: int(m.identical) for m in members}),
        ("asked", "Answers that were compared", {m.id: m.questions for m in members}),
        ("asked_bytes", "Of them, those that can be the same bytes", {m.id: m.bytes_asked for m in members}),
        ("differences", "Differences in lists and answers", {m.id: m.differences for m in members}),
    ):
        yield _labelled(f"{gauge}_{name}", text, values, "member")
    alike = GaugeMetricFamily(f"{gauge}_alike", "Answers that were alike at this level", labels=["member", "level"])
    for one in members:
        levels = {"status": one.status, "ResponseData": one.response_data, "bytes": one.bytes}
        for level, count in levels.items():
            alike.add_metric([one.id, level], count)
    yield alike


def _issuing_points(report: InstanceReport, now: int) -> Iterator[Metric]:
    for name, text, value_of in _OF_A_POINT:
        family = GaugeMetricFamily(name, text, labels=["ca", "authority", "scope"])
        for point in report.issuing_points:
            value = value_of(point, now)
            if value is not None:
                family.add_metric([point.label, point.authority_id, point.scope_id], value)
        yield family


_OF_A_POINT: tuple[tuple[str, str, Callable[[ServedPoint, int], int | None]], ...] = (
    ("vouchd_crl_age_seconds", "Since thisUpdate of the newest CRL", lambda point, now: now - point.this_update),
    (
        "vouchd_crl_seconds_to_next_update",
        "Until nextUpdate of the newest CRL, negative once it has passed",
        lambda point, now: None if point.next_update is None else point.next_update - now,
    ),
    ("vouchd_crl_number", "CRL number of the newest CRL", lambda point, _: point.crl_number),
    ("vouchd_crl_entries", "Revoked certificates in the index", lambda point, _: point.entries),
    ("vouchd_epoch_sequence", "How often a CRL was accepted", lambda point, _: point.sequence),
    ("vouchd_index_bytes", "Size of the index file", lambda point, _: point.index_bytes),
)


def _sources(sources: tuple[SourceState, ...]) -> Iterator[Metric]:
    for name, text, values in (
        ("vouchd_source_up", "1 when the last attempt succeeded", {s.name: int(not s.last_error) for s in sources}),
        ("vouchd_source_failures", "Failed attempts in a row", {s.name: s.failures for s in sources}),
        (
            "vouchd_source_last_success_timestamp_seconds",
            "When it last succeeded",
            {s.name: s.last_success for s in sources},
        ),
        (
            "vouchd_source_next_attempt_timestamp_seconds",
            "When it is asked next",
            {s.name: s.next_attempt for s in sources},
        ),
    ):
        yield _labelled(name, text, values, "source")
    for name, text, values in (
        ("vouchd_source_attempts", "Times it was asked", {s.name: s.attempts for s in sources}),
        ("vouchd_source_accepted", "CRLs taken in", {s.name: s.accepted for s in sources}),
        ("vouchd_source_not_modified", "Attempts that found nothing new", {s.name: s.not_modified for s in sources}),
    ):
        yield _counted(name, text, values, "source")


def _selftests(report: InstanceReport) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "vouchd_halted",
        "1 while a critical self test keeps the instance from answering",
        value=int(bool(report.halting)),
    )
    passed = {result.name: int(result.ok) for result in report.selftests}
    ran = {result.name: result.at for result in report.selftests}
    yield _labelled("vouchd_selftest_passed", "1 when the newest run of this self test passed", passed, "test")
    yield _labelled("vouchd_selftest_last_run_timestamp_seconds", "When this self test last ran", ran, "test")


def _labelled(name: str, text: str, values: Mapping[str, int], label: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value_of_label, value in sorted(values.items()):
        family.add_metric([value_of_label], value)
    return family


def _counted(name: str, text: str, values: Mapping[str, float], label: str) -> Metric:
    """A counter with one value for each of these labels."""
    counter = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        counter.add_metric([key], value)
    return counter
