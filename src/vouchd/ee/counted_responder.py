"""What a port counts beside the process's own counters, and the responder whose answers are counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from vouchd.core.facts import CertStatus
from vouchd.ee.counters import Snapshot, Summing, WorkerCounters, whole
from vouchd.ee.replies import Frame, Tally
from vouchd.errors import OCSPResponseStatus, SigningError
from vouchd.service.assembling import Draft, signatures, signed_together
from vouchd.service.terms import Answer, Terms, unsigned_answer

_log = logging.getLogger(__name__)

# Groups of clients that are told apart where turns are lost: a metric has few labels, however many strangers there are.
MAX_LOSERS = 32
OTHERS = "others"

# How many tallies are summed up in one step.
_STEP = 512

_SUCCESSFUL = OCSPResponseStatus.SUCCESSFUL
_STATUS_NAMES = {status: status.name.lower() for status in OCSPResponseStatus}


class Responding(Protocol):
    """What a port needs of the responder."""

    def draft(self, request_der: bytes, at: int) -> Draft | Answer:
        """The answer to `request_der` at POSIX second `at`, but for its signature; an error is an answer too."""


class CountedResponder:
    """Has a responder answer, whatever happens, and counts the answers."""

    def __init__(self, responder: Responding, counters: EECounters, port: str) -> None:
        self._responder = responder
        self._counters = counters
        self._port = port

    def count(self, answer: Answer, seconds: float = 0.0) -> None:
        """Count an answer that is given; a signature that took so long, unless it is 0, is counted with it."""
        terms = answer.terms
        if terms.status is _SUCCESSFUL:
            frame = terms.frame or self._counters.frame(terms)
            frame.tally.made += 1
            if seconds:
                self._counters.worker.observe_signatures(seconds)
        else:
            self._counters.worker.cache_misses += 1
            self.count_error(answer)

    def draft(self, request_der: bytes, at: int) -> Draft | Answer:
        """The answer but for its signature."""
        try:
            return self._responder.draft(request_der, at)
        except Exception:  # noqa: BLE001  the outermost handler: a bug must not take the connection with it
            _log.exception("%s: the responder failed", self._port)
            return _internal_error("internal")

    def signed(self, draft: Draft) -> Answer:
        """The answer; may be called in another thread."""
        try:
            return draft.signed()
        except Exception as error:  # noqa: BLE001  as above
            return self._failed(error)

    def signatures(self, drafts: Iterable[Draft]) -> list[bytes] | None:
        """Signatures for drafts of quick signers; None where one could not be made, so that each is tried by itself."""
        try:
            return signatures(drafts)
        except Exception:  # noqa: BLE001  said of the one that it is
            return None

    def signed_together(self, drafts: Sequence[Draft]) -> list[Answer]:
        """The answers to drafts of one signer and algorithm; may be called in another thread."""
        try:
            return signed_together(drafts)
        except Exception as error:  # noqa: BLE001  as above
            return [self._failed(error)] * len(drafts)

    def _failed(self, error: Exception) -> Answer:
        """The answer where the key could not sign, or there is a bug."""
        if isinstance(error, SigningError):
            _log.error("%s: %s", self._port, error)
            return _internal_error("signing")
        _log.error("%s: the responder failed", self._port, exc_info=error)
        return _internal_error("internal")

    def count_error(self, answer: Answer) -> None:
        """Count an error by status and cause."""
        counters = self._counters.worker
        counters.answers[_STATUS_NAMES[answer.status]] += 1
        counters.errors[answer.cause] += 1


def _internal_error(cause: str) -> Answer:
    return unsigned_answer(OCSPResponseStatus.INTERNAL_ERROR, cause)


class EECounters:
    """Counts of one port that answers OCSP; `worker` is shared with the rest of the process."""

    def __init__(self, worker: WorkerCounters) -> None:
        self.worker = worker
        self.requests: Counter[str] = Counter()  # by method, without the cache hits of the tallies
        self.sent_bytes = 0
        self.connections = 0  # accepted since start
        self.lost_turns: Counter[str] = Counter()  # by hash of the group of clients
        self._tallies: dict[tuple[CertStatus, ...], dict[str, Tally]] = {}  # then by the CA's id

    def frame(self, terms: Terms) -> Frame:
        """What goes around successful answers on these terms, and counts them."""
        frame: Frame | None = terms.frame
        if frame is None:
            of_statuses = self._tallies.setdefault(tuple(sorted(terms.cert_statuses)), {})
            tally = of_statuses.setdefault(terms.authority_id, Tally())
            frame = terms.frame = Frame(terms, tally)
        return frame

    def refused(self, cause: str) -> None:
        """Count an error that the port itself answered."""
        self.worker.errors[cause] += 1

    def lost_turn(self, hashed: str) -> None:
        """Count a request that was told to try later because others had fewer waiting."""
        known = len(self.lost_turns) < MAX_LOSERS or hashed in self.lost_turns
        self.lost_turns[hashed if known else OTHERS] += 1

    def snapshot(self, gauges: Mapping[str, int]) -> Snapshot:
        """All counters of the worker, in the shape of `ee.counters`."""
        return whole(self.summing(gauges))

    def summing(self, gauges: Mapping[str, int]) -> Summing:
        """The steps of `snapshot`, between which the loop may answer: there may be tallies of ten thousand CAs."""
        snapshot = self.worker.snapshot(gauges)
        counters = snapshot["counters"]
        answers, cert_statuses = Counter(counters["answers"]), Counter(counters["cert_statuses"])
        by_authority: dict[str, int] = counters["by_authority"]
        gets = posts = parsed = made = 0
        sent_bytes = self.sent_bytes
        for statuses, tallies in tuple(self._tallies.items()):
            before = gets + posts + parsed + made
            for number, (authority_id, tally) in enumerate(tuple(tallies.items()), 1):
                total = tally.gets + tally.posts + tally.parsed + tally.made
                gets += tally.gets
                posts += tally.posts
                parsed += tally.parsed
                made += tally.made
                sent_bytes += tally.sent_bytes
                by_authority[authority_id] = by_authority.get(authority_id, 0) + total
                if number % _STEP == 0:
                    yield
            successes = gets + posts + parsed + made - before
            answers["successful"] += successes
            cert_statuses.update({str(status): count * successes for status, count in Counter(statuses).items()})
        by_authority.pop("", None)
        counters["cache_hits"] += gets + posts + parsed
        counters["cache_misses"] += made
        requests = self.requests + Counter({"GET": gets, "POST": posts})
        counters.update(
            by_authority={each: count for each, count in by_authority.items() if count},
            requests=dict(requests),
            sent_bytes=sent_bytes,
            connections=self.connections,
            lost_turns=dict(self.lost_turns),
            answers=dict(+answers),  # the plus drops zeros
            cert_statuses=dict(+cert_statuses),
        )
        return snapshot
