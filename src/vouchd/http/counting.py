"""What the EE port counts beside the worker's own counters: requests by method, bytes, hits by kind of answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from vouchd.core.facts import CertStatus
from vouchd.http.cacheable import Tally
from vouchd.ops.counters import Snapshot, WorkerCounters


class EECounters:
    """Counts of one EE port; `worker` is shared with the rest of the process."""

    def __init__(self, worker: WorkerCounters) -> None:
        self.worker = worker
        self.requests: Counter[str] = Counter()  # by method, without the cache hits of the tallies
        self.sent_bytes = 0
        self.connections = 0  # accepted since start
        self._tallies: dict[tuple[str, tuple[CertStatus, ...]], Tally] = {}

    def tally(self, cert_statuses: tuple[CertStatus, ...], authority_id: str = "") -> Tally:
        """Where the hits of answers of that CA with these CertStatus values are counted."""
        return self._tallies.setdefault((authority_id, tuple(sorted(cert_statuses))), Tally())

    def refused(self, cause: str) -> None:
        """Count an error that the EE port itself answered."""
        self.worker.errors[cause] += 1

    def snapshot(self, gauges: Mapping[str, int]) -> Snapshot:
        """All counters of the worker, in the shape of `ops.counters`."""
        found = self.worker.snapshot(gauges)
        counters = found["counters"]
        requests, sent_bytes = Counter(self.requests), self.sent_bytes
        answers, cert_statuses = Counter(counters["answers"]), Counter(counters["cert_statuses"])
        by_authority = Counter(counters["by_authority"])
        for (authority_id, statuses), tally in self._tallies.items():
            hits = tally.gets + tally.posts + tally.parsed
            counters["cache_hits"] += hits
            sent_bytes += tally.sent_bytes
            requests.update({"GET": tally.gets, "POST": tally.posts})
            answers["successful"] += hits
            by_authority[authority_id] += hits
            cert_statuses.update({str(status): count * hits for status, count in Counter(statuses).items()})
        by_authority.pop("", None)
        counters.update(
            by_authority=dict(+by_authority),
            requests=dict(+requests),  # the plus drops zeros
            sent_bytes=sent_bytes,
            connections=self.connections,
            answers=dict(+answers),
            cert_statuses=dict(+cert_statuses),
        )
        return found
