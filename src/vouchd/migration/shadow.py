"""The same questions to two responders, for a while and never too fast, and what their answers came to.

A responder that runs in the shadow of another one takes its place when nothing is left unexplained. Where the two
answer from different CRLs for a moment, as while one is published, the question is asked again until they agree or a
bound passes: what then still differs counts.

The report of it is signed with the key of the audit log, so that it can be shown to somebody later.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from vouchd.client.inquiry import Question, question_from_request
from vouchd.client.response_facts import CertID
from vouchd.client.transport import Connection
from vouchd.cloning.comparison import Probe
from vouchd.cloning.expectations import WORDS, Judged, Likeness, inquire, judge
from vouchd.cloning.probing import probes
from vouchd.core.ports import Clock, Signer
from vouchd.core.records import rfc3339
from vouchd.core.status import ServingState
from vouchd.errors import ClientError, VerificationError
from vouchd.migration.captures import RecordedRequest
from vouchd.pkix import certs
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS, verify

EXAMPLES = 100  # of differences that nothing explains, one of each kind
_WORDS_OF = frozenset({"outcome", "responseStatus", "certStatus", "HTTP status", "contentType", "client"})
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
    count: int = 1  # of those that differ in the same way

    @property
    def way_of_differing(self) -> tuple[str, ...]:
        """What it has in common with others: the CA, and the fields that nothing explains, with few values as such."""
        fields = ((one[0].partition(" ")[0], one[1:3]) for one in self.differences if not one[3])
        return (self.authority, *(f"{name} {values if name in _WORDS_OF else ''}" for name, values in fields))


@dataclass(slots=True)
class Tally:
    """What came of the questions so far.

    Differences that nothing explains are kept by the way in which they differ, an example of each with their number:
    one that comes a thousand times must not hide another that comes once.
    """

    began_at: int = 0
    questions: int = 0
    likeness: Counter[Likeness] = field(default_factory=Counter)
    expectations: Counter[str] = field(default_factory=Counter)
    settled: int = 0  # were alike when they were asked again
    unanswered: Counter[str] = field(default_factory=Counter)  # by side: ours, theirs
    examples: dict[tuple[str, ...], Example] = field(default_factory=dict)
    explained: dict[str, Example] = field(default_factory=dict)  # the first of each expectation
    authorities: dict[str, Counter[str]] = field(default_factory=dict)  # how often an expectation came, by CA

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
            self.authorities.setdefault(name, Counter())[example.authority] += 1
            self.explained.setdefault(name, example)
        if likeness is Likeness.UNEXPLAINED:
            self._keep(example)

    def _keep(self, example: Example) -> None:
        way = example.way_of_differing
        if way in self.examples:
            self.examples[way] = replace(self.examples[way], count=self.examples[way].count + 1)
        elif len(self.examples) < EXAMPLES:
            self.examples[way] = example

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
                {
                    "name": name,
                    "about": WORDS[name],
                    "count": count,
                    "authorities": dict(sorted(self.authorities[name].items())),
                    "example": _plain(self.explained[name]),
                }
                for name, count in sorted(self.expectations.items())
            ],
            "examples": [{"count": one.count, **_plain(one)} for one in self.examples.values()],
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
    issuers = _issuers(state)
    for one in requests:
        question, label = _question(one.request_der, issuers)
        yield Probe("recorded", question, one.method, label)


_Issuers = Mapping[bytes, tuple[x509.Certificate, str]]


def _issuers(state: ServingState) -> _Issuers:
    """The CAs' certificates and labels by what a CertID may name them by: both hashes, or that of the key alone."""
    issuers: dict[bytes, tuple[x509.Certificate, str]] = {}
    for served in state.authorities:
        for certificate in map(certs.load_certificate, served.authority.certificates):
            for digest in DIGESTS:
                pair = certs.issuer_hashes(certificate, digest)
                for key in (b"".join(pair), pair[1]):
                    issuers.setdefault(key, (certificate, served.authority.label))
    return issuers


def _question(request_der: bytes, issuers: _Issuers) -> tuple[Question, str]:
    """The question in a request, and the label of its CA; what is no request for us may be one for the other."""
    try:
        question = question_from_request(request_der, None)
    except ClientError:
        return Question(None, (), None, request_der), ""
    named = {_named(one, issuers) for one in question.cert_ids}
    issuer, label = named.pop() if len(named) == 1 else (None, "")
    return replace(question, issuer=issuer), label


def _named(cert_id: CertID, issuers: _Issuers) -> tuple[x509.Certificate | None, str]:
    pair = cert_id.issuer_name_hash + cert_id.issuer_key_hash
    return issuers.get(pair) or issuers.get(cert_id.issuer_key_hash) or (None, "")


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


_TITLE = b"vouchd comparison\n"


def signed(report: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """The report with a signature over its canonical JSON. Raises: SigningError."""
    algorithm = signer.algorithms[0]
    return {
        "report": dict(report),
        "signature": {
            "algorithm": algorithm,
            "certificate": base64.b64encode(signer.certificate_der).decode(),
            "value": base64.b64encode(signer.sign(_octets(report), algorithm)).decode(),
        },
    }


def verified(text: bytes) -> tuple[Mapping[str, Any], x509.Certificate]:
    """The report in a file and the certificate of who signed it. Raises: VerificationError."""
    try:
        document = json.loads(text)
        report, signature = document["report"], document["signature"]
        certificate = x509.load_der_x509_certificate(base64.b64decode(signature["certificate"], validate=True))
        identifier = ALGORITHMS[signature["algorithm"]].identifier_der
        value = base64.b64decode(signature["value"], validate=True)
        verify(certificate.public_key(), identifier, value, _octets(report))
    except InvalidSignature as error:
        raise VerificationError("the signature of the report is not over what it says") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError("this is no signed report of a comparison", hint="vouchd compare --report") from error
    return report, certificate


def _octets(report: Mapping[str, Any]) -> bytes:
    return _TITLE + json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
