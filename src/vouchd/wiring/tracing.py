"""Tracing by OpenTelemetry, sent by OTLP over HTTP; an extra, loaded only where `vouchd.tracing.endpoint` is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from vouchd import __version__
from vouchd.alerts.notice import instance_name
from vouchd.errors import ConfigError
from vouchd.service.tracing import NO_TRACING, Detail, TraceId, Tracing
from vouchd.settings.declared import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor

_SENDING_SECONDS = 10


class OpenTelemetryTracing:
    """Spans that a processor takes, named by the member that they are of."""

    def __init__(self, member: str, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        about = {"service.name": "vouchd", "service.version": __version__, "service.instance.id": member}
        self._member = member
        self._provider = TracerProvider(resource=Resource.create(about))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("vouchd", __version__)

    @contextmanager
    def span(self, sha256: str, name: str, **detail: Detail) -> Iterator[object]:
        """See Tracing."""
        with self._tracer.start_as_current_span(name, _below(sha256), attributes=self._about(sha256, detail)) as span:
            yield span

    def past(self, sha256: str, name: str, begin_ns: int, **detail: Detail) -> None:
        """See Tracing."""
        self._tracer.start_span(name, _below(sha256), attributes=self._about(sha256, detail), start_time=begin_ns).end()

    def now_ns(self) -> int:
        """See Tracing."""
        from time import time_ns  # noqa: PLC0415

        return time_ns()

    def _about(self, sha256: str, detail: dict[str, Detail]) -> dict[str, Any]:
        return {"crl.member": self._member, "crl.sha256": sha256} | {
            f"crl.{key}": value for key, value in detail.items()
        }


def _below(sha256: str) -> Context:
    """The context that the spans of a CRL are in, wherever they are made."""
    from opentelemetry.trace import (  # noqa: PLC0415  an extra
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    trace, parent = TraceId.of(sha256)
    context = SpanContext(trace, parent, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(context))


def open_tracing(settings: Settings) -> Tracing:
    """What the settings want: spans sent to their endpoint, or nothing. Raises: ConfigError without the library."""
    endpoint = settings.tracing.endpoint
    return _sending(endpoint, instance_name(settings), os.getpid()) if endpoint else NO_TRACING


@cache
def _sending(endpoint: str, member: str, process: int) -> Tracing:  # noqa: ARG001  a forked process has no threads
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "vouchd.tracing.endpoint: the library of OpenTelemetry is not installed",
            hint="pip install 'vouchd[tracing]'",
        ) from error
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_SENDING_SECONDS)
    return OpenTelemetryTracing(member, BatchSpanProcessor(exporter, schedule_delay_millis=1000))
