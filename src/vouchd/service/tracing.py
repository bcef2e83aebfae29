"""The way of a CRL, told as spans: received, judged, indexed, stored, followed, published, answered by each worker.

How the spans of one CRL come together. Nothing is handed on from process to process or from member to member: a store,
a directory server and a worker have no place for a trace context, and a CRL may arrive twice. Instead the trace is
named by the CRL itself: its id is the first half of the CRL's SHA-256, and the next eight octets are the id of the span
that all others are below. So whoever has the CRL, at any member, at any time, says his part of the same trace.

This file does not know OpenTelemetry; `wiring/tracing.py` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

Detail = str | int


class TraceId(NamedTuple):
    """What the spans of a CRL have in common."""

    trace: int
    parent: int

    @classmethod
    def of(cls, sha256: str) -> TraceId:
        """That of the CRL with this SHA-256 in hexadecimal."""
        return cls(int(sha256[:32], 16), int(sha256[32:48], 16))


class Tracing(Protocol):
    """Where spans go."""

    def span(self, sha256: str, name: str, **detail: Detail) -> AbstractContextManager[object]:
        """A step that lasts as long as this is entered; an error that leaves it is the step's."""

    def past(self, sha256: str, name: str, begin_ns: int, **detail: Detail) -> None:
        """A step that began then and is over now."""

    def now_ns(self) -> int:
        """The moment, for `past`."""


class NoTracing:
    """Tracing that is off."""

    def span(self, sha256: str, name: str, **detail: Detail) -> AbstractContextManager[object]:  # noqa: ARG002
        """See Tracing."""
        return nullcontext()

    def past(self, sha256: str, name: str, begin_ns: int, **detail: Detail) -> None:
        """See Tracing."""

    def now_ns(self) -> int:
        """See Tracing."""
        return 0


NO_TRACING = NoTracing()


class WorkersTrace:
    """When each worker answers from what was published: spans from the publication to the worker's word.

    `publish` is called by the thread that publishes, before the workers are told; `look` by the manager's loop.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._waiting: Mapping[int, _Wait] = {}  # by version; replaced, never changed

    def publish(self, version: int, crls: Iterable[str]) -> None:
        """Manifest `version` is on disk, which has these CRLs, by SHA-256, that the one before had not."""
        new = frozenset(crls)
        if new and self._tracing is not NO_TRACING:
            self._waiting = {**self._waiting, version: _Wait(new, self._tracing.now_ns(), frozenset())}

    def look(self, loaded: Iterable[tuple[int, int]]) -> None:
        """The workers, by slot, answer from these versions now."""
        if not self._waiting:
            return
        workers: dict[int, int] = {}
        for slot, reached in loaded:  # two of a slot while one takes the other's place: the older counts
            workers[slot] = min(reached, workers.get(slot, reached))
        for version, wait in list(self._waiting.items()):
            news = {slot for slot, reached in workers.items() if reached >= version} - wait.slots
            for slot in sorted(news):
                for sha256 in sorted(wait.crls):
                    self._tracing.past(sha256, "answered", wait.begin_ns, worker=slot, manifest=version)
            rest = dict(self._waiting)
            if wait.slots | news >= workers.keys() and workers:
                rest.pop(version, None)
            elif news:
                rest[version] = wait._replace(slots=wait.slots | news)
            self._waiting = rest


class _Wait(NamedTuple):
    crls: frozenset[str]
    begin_ns: int
    slots: frozenset[int]
