"""The counters of the workers over the last minutes, sampled while the agent port is open."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vouchd.core.ports import Clock
from vouchd.ee.counters import SIGNATURE_BUCKETS, Snapshot

_log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5
MAX_SAMPLES = 181  # a quarter of an hour


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of all workers together at one moment (POSIX seconds)."""

    at: int
    counters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two samples, per second; latencies are seconds, None where nothing was signed."""

    until: int
    good: float
    revoked: float
    unknown: float
    errors: float
    hit_share: float | None  # of the answers, 0 to 1; None without any
    signatures: float
    median: float | None
    slowest: float | None  # 99th percentile

    @property
    def requests(self) -> float:
        """Answers per second, errors included."""
        return self.good + self.revoked + self.unknown + self.errors


class History:
    """Samples `snapshot` now and then and keeps the last ones."""

    def __init__(self, snapshot: Callable[[], Awaitable[Snapshot]], clock: Clock) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sample, if that has not begun and there is a loop to do it on; it ends with the loop."""
        if self._task is None or self._task.done():
            try:
                self._task = asyncio.get_running_loop().create_task(self._run())
            except RuntimeError:  # no loop: somebody only looks at the table of routes
                return

    async def latest(self) -> dict[str, Any]:
        """The counters now; they count as a sample when the last one is old enough."""
        counters: dict[str, Any] = (await self._snapshot()).get("counters", {})
        now = self._clock.now()
        if not self._samples or now - self._samples[-1].at >= INTERVAL_SECONDS:
            self._samples.append(Sample(now, counters))
        return counters

    def intervals(self) -> tuple[Interval, ...]:
        """What happened from sample to sample, oldest first."""
        samples = tuple(self._samples)
        return tuple(_interval(before, after) for before, after in pairwise(samples))

    async def _run(self) -> None:
        while True:
            try:
                await self.latest()
            except Exception:  # noqa: BLE001  outermost of a task that must not end; charts are not worth a failure
                _log.exception("agent: counters could not be read")
            await asyncio.sleep(INTERVAL_SECONDS)


def _interval(before: Sample, after: Sample) -> Interval:
    seconds = max(1, after.at - before.at)
    old, new = before.counters, after.counters

    def rate(*path: str) -> float:
        return max(0, _number(new, *path) - _number(old, *path)) / seconds

    signed = _rise(old.get("signature_counts", ()), new.get("signature_counts", ()))
    failed = sum(_failures(new.get("answers", {}))) - sum(_failures(old.get("answers", {})))
    return Interval(
        until=after.at,
        good=rate("cert_statuses", "good"),
        revoked=rate("cert_statuses", "revoked"),
        unknown=rate("cert_statuses", "unknown"),
        errors=max(0, failed) / seconds,
        hit_share=rate("cache_hits") / lookups if (lookups := rate("cache_hits") + rate("cache_misses")) else None,
        signatures=sum(signed) / seconds,
        median=quantile(signed, 0.5),
        slowest=quantile(signed, 0.99),
    )


def _failures(answers: dict[str, int]) -> list[int]:
    return [count for status, count in answers.items() if status != "successful"]


def _number(tree: Any, *path: str) -> float:
    for key in path:
        tree = tree.get(key, 0) if isinstance(tree, dict) else 0
    return tree if isinstance(tree, int | float) else 0


def _rise(old: Any, new: Any) -> list[int]:
    """How much each bucket grew; all of it where there was nothing to compare with."""
    old = old if len(old) == len(new) else [0] * len(new)
    return [max(0, b - a) for a, b in zip(old, new, strict=True)]


def quantile(counts: list[int], share: float) -> float | None:
    """The upper bound (seconds) of the bucket in which that share of the signatures lies; None without any."""
    total, reached = sum(counts), 0
    if not total:
        return None
    for bound, count in zip((*SIGNATURE_BUCKETS, SIGNATURE_BUCKETS[-1]), counts, strict=False):
        reached += count
        if reached >= share * total:
            return bound
    return SIGNATURE_BUCKETS[-1]
