"""The same questions to two responders, for a while and never too fast, and what their answers came to.

A responder that runs in the shadow of another one takes its place when nothing is left unexplained. Where the two
answer from different CRLs for a moment, as while one is published, the question is asked again until they agree or a
bound passes: what then still differs counts.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from vouchd.client.inquiry import question_from_request
from vouchd.client.transport import Connection
from vouchd.cloning.comparison import Probe
from vouchd.cloning.expectations import WORDS, Judged, Likeness, inquire, judge
from vouchd.cloning.probing import probes
from vouchd.core.ports import Clock
from vouchd.core.records import rfc3339
from vouchd.core.status import ServingState
from vouchd.errors import ClientError, MalformedRequest
from vouchd.migration.captures import RecordedRequest
from vouchd.pkix import certs
from vouchd.pkix.ocsp import parse_request

EXAMPLES = 100  # of differences that nothing explains
_TOLD_EVERY_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Example:
    """A difference as it is reported."""

    kind: str
    authority: str
    way: str
    request: str  # DER, base16
    differences: tuple[tuple[str, str, str, str], ...]  # field, ours, theirs, expectation


@dataclass(slots=True)
class Tally:
    """What came of the questions so far."""

    began_at: int = 0
    questions: int = 0
    likeness: Counter[Likeness] = field(default_factory=Counter)
    expectations: Counter[str] = field(default_factory=Counter)
    settled: int = 0  # were alike when they were asked again
    unanswered: Counter[str] = field(default_factory=Counter)  # by side: ours, theirs
    examples: list[Example] = field(default_factory=list)
    explained: dict[str, Example] = field(default_factory=dict)  # the first of each expectation

    @property
    def unexplained(self) -> int:
        """How many differed in something that nothing explains."""
        return self.likeness[Likeness.UNEXPLAINED]

    def take(self, judged: Judged) -> None:
        """Count one."""
        self.questions += 1
        likeness = judged.likeness
        self.likeness[likeness] += 1
        if likeness is Likeness.EQUAL:
            return
        example = _example(judged)
        for name in {one.expectation for one in judged.differences if one.expectation}:
            self.expectations[name] += 1
            self.explained.setdefault(name, example)
        if likeness is Likeness.UNEXPLAINED and len(self.examples) < EXAMPLES:
            self.examples.append(example)

    def record(self, at: int) -> dict[str, Any]:
        """As a report has it."""
        return {
            "began_at": rfc3339(self.began_at),
            "at": rfc3339(at),
            "questions": self.questions,
            "equal": self.likeness[Likeness.EQUAL],
            "expected": self.likeness[Likeness.EXPECTED],
            "unexplained": self.unexplained,
            "settled": self.settled,
            "unanswered": {side: self.unanswered[side] for side in ("ours", "theirs")},
            "expectations": [
                {"name": name, "about": WORDS[name], "count": count, "example": _plain(self.explained[name])}
                for name, count in sorted(self.expectations.items())
            ],
            "examples": [_plain(one) for one in self.examples],
        }

    def metrics(self) -> str:
        """For the text file collector of a Prometheus node exporter."""
        lines = [
            "# HELP vouchd_compare_questions Questions that two responders were asked",
            "# TYPE vouchd_compare_questions counter",
        ]
        lines += [f'vouchd_compare_questions{{likeness="{one}"}} {self.likeness[one]}' for one in Likeness]
        lines += [
            "# HELP vouchd_compare_expected Answers that differed as expected",
            "# TYPE vouchd_compare_expected counter",
        ]
        lines += [
            f'vouchd_compare_expected{{expectation="{name}"}} {self.expectations[name]}' for name in sorted(WORDS)
        ]
        return "\n".join(lines) + "\n"


def _example(judged: Judged) -> Example:
    probe = judged.probe
    differences = tuple((one.field, one.ours, one.theirs, one.expectation) for one in judged.differences)
    return Example(probe.kind, probe.authority, probe.way, probe.question.request_der.hex(), differences)


def _plain(example: Example) -> dict[str, Any]:
    names = ("field", "ours", "theirs", "expectation")
    return {
        "kind": example.kind,
        "authority": example.authority,
        "way": example.way,
        "request": example.request,
        "differences": [dict(zip(names, one, strict=True)) for one in example.differences],
    }


def sampled(state: Callable[[], ServingState], sample: int) -> Iterator[Probe]:
    """Questions about what is served now, drawn anew each round, without end."""
    while True:
        yield from probes(state(), sample, ())


def listed(state: ServingState, serials: Iterable[bytes]) -> Iterator[Probe]:
    """Questions about these serials of every CA that is served."""
    yield from probes(state, 0, tuple(serials))


def replayed(state: ServingState, requests: Iterable[RecordedRequest]) -> Iterator[Probe]:
    """The questions of clients, each as it was asked, with the CA that it is about where it is one of ours."""
    issuers = {
        b"".join(certs.issuer_hashes(certs.load_certificate(der), digest)): (der, served.authority.label)
        for served in state.authorities
        for der in served.authority.certificates
        for digest in ("SHA-1", "SHA-256", "SHA-384", "SHA-512")
    }
    for one in requests:
        issuer, label = _issuer(one.request_der, issuers)
        try:
            question = question_from_request(one.request_der, issuer)
        except ClientError:
            try:
                question, label = question_from_request(one.request_der, None), ""
            except ClientError:  # what is no request for us may be one for the other
                continue
        yield Probe("recorded", question, one.method, label)


def _issuer(request_der: bytes, issuers: dict[bytes, tuple[bytes, str]]) -> tuple[bytes | None, str]:
    try:
        request = parse_request(request_der)
    except MalformedRequest:
        return None, ""
    return issuers.get(request.cert_ids[0].issuer, (None, "")) if request.cert_ids else (None, "")


class Shadowing:
    """Asks both; `state` is what is served here now, `rate` the questions a second at most."""

    def __init__(
        self,
        ours: Connection,
        theirs: Connection,
        clock: Clock,
        state: Callable[[], ServingState | None],
        *,
        rate: float,
        settle_seconds: float,
        unexpected: frozenset[str] = frozenset(),
        progress: Callable[[Tally], None] = lambda _: None,
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._clock = clock
        self._state = state
        self._pause = 1 / rate
        self._settle = settle_seconds
        self._unexpected = unexpected
        self._progress = progress
        self.stopped = threading.Event()
        self.tally = Tally(clock.now())

    def run(self, questions: Iterable[Probe], count: int | None, seconds: float | None = None) -> Tally:
        """Ask until there are no more questions, so many were asked, so long it took, or it is `stopped`."""
        end = None if seconds is None else time.monotonic() + seconds
        due = told_at = time.monotonic()
        for probe in islice(questions, count):
            self.stopped.wait(max(0.0, due - time.monotonic()))
            if self.stopped.is_set() or (end is not None and time.monotonic() >= end):
                break
            due = max(due + self._pause, time.monotonic() - 1)  # what was lost is made up for, but for a second at most
            self.tally.take(self._settled(probe))
            if time.monotonic() - told_at >= _TOLD_EVERY_SECONDS:
                told_at = time.monotonic()
                self._progress(self.tally)
        self._progress(self.tally)
        return self.tally

    def _settled(self, probe: Probe) -> Judged:
        """The comparison; where something is left unexplained, again for a while."""
        until = time.monotonic() + self._settle
        pause = _FIRST_PAUSE_SECONDS
        first = judged = self._judged(probe)
        while judged.likeness is Likeness.UNEXPLAINED and time.monotonic() < until:
            if self.stopped.wait(min(pause, max(0.0, until - time.monotonic()))):
                break
            pause *= 2
            judged = self._judged(probe)
        if first.likeness is Likeness.UNEXPLAINED and judged.likeness is not Likeness.UNEXPLAINED:
            self.tally.settled += 1
        return judged

    def _judged(self, probe: Probe) -> Judged:
        ours = inquire(self._ours, probe.question, probe.method)
        theirs = inquire(self._theirs, probe.question, probe.method)
        self.tally.unanswered["ours"] += ours.exchange is None
        self.tally.unanswered["theirs"] += theirs.exchange is None
        return judge(probe, ours, theirs, self._clock.now(), self._state(), self._unexpected)
