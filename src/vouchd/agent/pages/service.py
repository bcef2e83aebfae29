"""OCSP Service: what is answered, how fast, and how much of it comes out of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from vouchd.agent.pages.charts import NOTHING, Chart, Line, draw
from vouchd.agent.pages.history import INTERVAL_SECONDS, MAX_SAMPLES, History, Interval, quantile
from vouchd.agent.pages.rendering import Pages
from vouchd.agent.pages.showing import number_text
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.instance.hindrances import hindrances


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the workers began to count: answers, and shares of them."""

    requests: int
    good: int
    revoked: int
    unknown: int
    errors: int
    hits: int
    hit_share: float | None  # 0 to 1
    signatures: int
    median: str
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class ServicePages:
    """One page, and the part of it that is refreshed."""

    services: Services
    pages: Pages
    history: History

    async def shown(self, request: web.Request, caller: Caller) -> web.Response:
        """Totals and charts."""
        totals = _totals(await self.history.latest())
        report = self.services.running.report()
        return self.pages.page(
            request,
            caller,
            "service.html",
            totals=totals,
            charts=_charts(self.history.intervals()),
            report=report,
            hindrances=hindrances(report, self.pages.clock.now()),
            checks=self.services.running.checks(),
        )


def _totals(counters: dict[str, Any]) -> Totals:
    statuses, answers = counters.get("cert_statuses", {}), counters.get("answers", {})
    hits, misses = counters.get("cache_hits", 0), counters.get("cache_misses", 0)
    signed = list(counters.get("signature_counts", ()))
    errors = sum(count for status, count in answers.items() if status != "successful")
    return Totals(
        requests=sum(answers.values()),
        good=statuses.get("good", 0),
        revoked=statuses.get("revoked", 0),
        unknown=statuses.get("unknown", 0),
        errors=errors,
        hits=hits,
        hit_share=hits / (hits + misses) if hits + misses else None,
        signatures=sum(signed),
        median=latency_text(quantile(signed, 0.5)),
        sent_bytes=counters.get("sent_bytes", 0),
    )


def _charts(intervals: Sequence[Interval]) -> tuple[Chart, ...]:
    shown = [None] * max(0, MAX_SAMPLES - 1 - len(intervals)) + list(intervals)
    seconds = (MAX_SAMPLES - 1) * INTERVAL_SECONDS
    marks = [f"{seconds // 60} min ago", f"{seconds * 2 // 180} min", f"{seconds // 180} min", "now"]

    def line(name: str, style: str, field: str) -> Line:
        return Line(name, style, tuple(None if one is None else getattr(one, field) for one in shown))

    answers = [line("good", "good", "good"), line("revoked", "bad", "revoked")]
    answers += [line("unknown", "warning", "unknown"), line("errors", "neutral", "errors")]
    latencies = [line("99th percentile", "warning", "slowest"), line("median", "accent", "median")]
    return (
        draw("Answers by status, per second", answers, rate_text, stacked=True, marks=marks),
        draw("Time to make and sign an answer", latencies, latency_text, marks=marks),
        draw("Cache hits, share of answers", [line("hits", "good", "hit_share")], share_text, marks=marks, top=1.0),
        draw("Signatures, per second", [line("signatures", "accent", "signatures")], rate_text, marks=marks),
    )


def share_text(share: float) -> str:
    """A share of 0 to 1 as `62 %`."""
    return f"{100 * share:.0f} %"


def rate_text(value: float) -> str:
    """A rate: `12 000`, `3.4`, `0.25`."""
    if value >= 100 or value == int(value):
        return number_text(round(value))
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def latency_text(seconds: float | None) -> str:
    """A latency: `250 µs`, `2.5 ms`."""
    if seconds is None:
        return NOTHING
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
