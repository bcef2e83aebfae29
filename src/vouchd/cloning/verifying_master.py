"""Comparing with the Certificate System's OCSP manager that this instance is a clone of: its list and its answers.

It is another program: answers that say the same are made anew each time, and some habits of its are known by name
(`cloning.expectations`). What one of these explains is told and counts as alike; what none explains is a difference.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from vouchd.client.transport import Connection
from vouchd.cloning.comparison import Probe
from vouchd.cloning.expectations import WORDS, Answer, Likeness, inquire, judge
from vouchd.cloning.verdicts import LIST, Difference, VerifiedMember
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import VouchdError

if TYPE_CHECKING:
    from vouchd.directory.foreign import ForeignPoint

STATUS = "status"
_EXAMPLES = 20
_SECONDS = 30.0  # it may sign ten answers a second
Points = Callable[[], Iterable["ForeignPoint"]]  # what its internal database lists now


class ComparedMaster:
    """The master at the OCSP URL `url`, whose issuing points are `points()`, while it is compared."""

    def __init__(self, url: str, points: Points, state: ServingState) -> None:
        self.connection = Connection(url, timeout_seconds=_SECONDS)
        self.answers = True
        self._url = url
        self._points = points
        self._state = state
        self._error = ""
        self._questions = 0
        self._alike = 0
        self._expected: Counter[str] = Counter()
        self._differences: list[Difference] = []
        self._count = 0

    def compare_lists(self) -> None:
        """Compare what both list: CAs, and the CRL of each."""
        try:
            for difference in list_differences(self._state, self._points()):
                self._tell(difference)
        except VouchdError as error:
            self._error = str(error)

    def compare_answers(self, probe: Probe, ours: Answer, at: int) -> None:
        """Ask it the same; where it does not answer at all, it is asked no more."""
        theirs = inquire(self.connection, probe.question, probe.method)
        if theirs.exchange is None:
            self.answers, self._error = False, self._error or theirs.problem
            return
        judged = judge(probe, ours, theirs, at, self._state)
        self._questions += 1
        self._alike += judged.likeness is not Likeness.UNEXPLAINED
        self._expected.update({one.expectation for one in judged.differences if one.expectation})
        serial = hex(int.from_bytes(probe.question.cert_ids[0].serial, "big", signed=True))
        what = f"{probe.kind} {serial} of {probe.authority}" if probe.authority else f"certificate {probe.kind}"
        unexplained = [one for one in judged.differences if not one.expectation]
        if unexplained:
            first = unexplained[0]
            self._tell(Difference(STATUS, what, probe.way, first.field, first.ours, first.theirs))

    def result(self) -> VerifiedMember:
        """What it came to."""
        expected = tuple(f"{name} ({count}): {WORDS[name]}" for name, count in sorted(self._expected.items()))
        return VerifiedMember(
            self._url,
            self._error,
            self._questions,
            self._alike,
            self._alike,
            differences=self._count,
            examples=tuple(self._differences),
            expected=expected,
        )

    def _tell(self, difference: Difference) -> None:
        self._count += 1
        if len(self._differences) < _EXAMPLES:
            self._differences.append(difference)


def list_differences(state: ServingState, points: Iterable[ForeignPoint]) -> Iterator[Difference]:
    """What is served here and not listed there, the other way round, and where the CRLs are others."""
    by_certificate = {der: served for served in state.authorities for der in served.authority.certificates}
    listed: set[str] = set()
    for point in points:
        served = next((by_certificate[der] for der in point.certificates if der in by_certificate), None)
        if served is None:
            yield Difference(LIST, point.dn, "", "listed", "no", "yes")
            continue
        listed.add(served.authority.id)
        yield from _crl_differences(served, point)
    for served in state.authorities:
        if served.authority.id not in listed:
            yield Difference(LIST, f"CA {served.authority.label}", "", "listed", "yes", "no")


def _crl_differences(served: ServingAuthority, point: ForeignPoint) -> Iterator[Difference]:
    hashes = {record.sha256 for one in served.points for record in one.epoch.records}
    for crl in point.crls:
        sha256 = hashlib.sha256(crl).hexdigest()
        if sha256 not in hashes:
            ours = ", ".join(sorted(one[:16] for one in hashes)) or "none"
            yield Difference(LIST, f"CRL of {served.authority.label}", "", "SHA-256", ours, sha256[:16])
