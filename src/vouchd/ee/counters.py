"""What one worker counts: plain numbers on the hot path, made into JSON when the manager asks for them.

A snapshot is a tree of numbers: `counters` only rise and are kept when a worker ends, `gauges` belong to the living.
Nothing here names a client or a certificate.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Snapshot = dict[str, Any]
Summing = Generator[None, None, Snapshot]  # the steps in which one is made

# Upper bounds in seconds; a software key signs in 20 us to 2 ms, a hardware token in up to 100 ms.
SIGNATURE_BUCKETS: tuple[float, ...] = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
)


@dataclass(slots=True)
class WorkerCounters:
    """Counters of one worker process; the EE port adds to them."""

    answers: Counter[str] = field(default_factory=Counter)  # OCSPResponseStatus name, lower case
    errors: Counter[str] = field(default_factory=Counter)  # cause of an answer that is not `successful`
    cert_statuses: Counter[str] = field(default_factory=Counter)  # good, revoked, unknown
    by_authority: Counter[str] = field(default_factory=Counter)  # answers that speak of one CA, by its id
    cache_hits: int = 0
    cache_misses: int = 0
    signature_counts: list[int] = field(default_factory=lambda: [0] * (len(SIGNATURE_BUCKETS) + 1))
    signature_seconds: float = 0.0

    def observe_signatures(self, seconds: float, count: int = 1) -> None:
        """Count so many signatures, made in a row, that took `seconds` together."""
        self.signature_counts[bisect_left(SIGNATURE_BUCKETS, seconds / count)] += count
        self.signature_seconds += seconds

    def snapshot(self, gauges: Mapping[str, int] | None = None) -> Snapshot:
        """The counters as JSON-ready numbers, with the worker's present `gauges`."""
        return {
            "counters": {
                "answers": dict(self.answers),
                "errors": dict(self.errors),
                "cert_statuses": dict(self.cert_statuses),
                "by_authority": dict(self.by_authority),
                "cache_hits": self.cache_hits,
                "cache_misses": self.cache_misses,
                "signature_counts": list(self.signature_counts),
                "signature_seconds": self.signature_seconds,
            },
            "gauges": dict(gauges or {}),
        }


def whole(summing: Summing) -> Snapshot:
    """What all the steps come to."""
    while True:
        try:
            next(summing)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of several snapshots; a key that one of them lacks counts as zero."""
    total: Snapshot = {}
    for snapshot in snapshots:
        total = _add(total, snapshot)
    return total


def ended(snapshot: Snapshot) -> Snapshot:
    """What is kept of the last snapshot of a worker that ended: its counters."""
    return {"counters": snapshot.get("counters", {})}


def _add(left: Any, right: Any) -> Any:
    """Sum two trees; where their shapes differ (another version's worker) the left one is kept."""
    if isinstance(left, dict) and isinstance(right, dict):
        return {key: _sum(left, right, key) for key in left.keys() | right.keys()}
    if isinstance(left, list) and isinstance(right, list):
        return [a + b for a, b in zip(left, right, strict=True)] if len(left) == len(right) else left
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left + right
    return left


def _sum(left: Snapshot, right: Snapshot, key: str) -> Any:
    if key not in left:
        return right[key]
    return _add(left[key], right[key]) if key in right else left[key]
