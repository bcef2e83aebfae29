"""When a CRL is fetched, and what is known of each source: pure logic, driven with a time and a fetch port.

A source is asked once per interval, and before the CRL it delivered passes its nextUpdate, whichever is sooner. After
a failure the delay doubles from `retry_seconds` up to a cap. Every delay is shortened by up to a tenth, by a hash of
name and attempt: many sources do not fire together, and the same history always gives the same schedule.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from vouchd.errors import CRLQuarantined, CRLRejected, CRLStale, SourceError, VouchdError
from vouchd.pkix import pem
from vouchd.pkix.crl import read_header


@dataclass(frozen=True, slots=True)
class Validator:
    """What a source needs to see that nothing changed: ETag and Last-Modified, or a fingerprint in `etag`."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source delivered: DER (or PEM) of one or more CRLs, and what to compare with the next time.

    `certificates` are the CAs that lie beside them, DER; `problem` says what was there and could not be delivered.
    """

    documents: tuple[bytes, ...]
    validator: Validator
    certificates: tuple[bytes, ...] = ()
    problem: str = ""


class CRLSource(Protocol):
    """A place where CRLs are fetched from; called in a thread, blocks no longer than its time limit.

    Where asking costs nothing `poll_seconds` says how often to ask, whatever the schedule; else it is None.
    `host` is the one that is asked, empty for none.
    """

    poll_seconds: int | None
    host: str

    def fetch(self, previous: Validator) -> Fetched | None:
        """The present CRLs, None when they are those of `previous`. Raises: SourceError."""


# Has a CA (DER) answered for, where it is not yet; raises VouchdError when it cannot be.
Admit = Callable[[bytes], None]


# Takes one CRL in and returns its nextUpdate; raises CRLError or StoreError as `ingesting` does.
Accept = Callable[[bytes], int | None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often one source is asked; all in seconds."""

    interval_seconds: int = 3600
    lead_seconds: int = 300  # how long before nextUpdate the source is asked again, at most half the time left
    retry_seconds: int = 5  # first delay after a failure
    retry_cap_seconds: int = 900  # longest delay after failures, never above the interval

    def after_success(self, name: str, attempt: int, now: int, next_update: int | None) -> int:
        """The time of the next attempt when the CRL now held is good until `next_update` (None: it does not say)."""
        delay = self.interval_seconds
        if next_update is not None:
            left = next_update - now
            before = left - min(self.lead_seconds, left // 2)
            # An overdue CRL is asked for often, but not in a loop: its CA may be down for a day.
            delay = min(delay, max(before, min(self.interval_seconds, 60)))
        return now + self._jittered(delay, name, attempt)

    def after_failure(self, name: str, attempt: int, now: int, failures: int) -> int:
        """The time of the next attempt after `failures` (at least 1) failures in a row."""
        cap = max(1, min(self.retry_cap_seconds, max(self.interval_seconds, self.retry_seconds)))
        delay = min(cap, self.retry_seconds * 2 ** min(failures - 1, 20))
        return now + self._jittered(delay, name, attempt)

    @staticmethod
    def _jittered(delay: int, name: str, attempt: int) -> int:
        """`delay` less up to a tenth of it, at least one second."""
        share = int.from_bytes(hashlib.sha256(f"{name} {attempt}".encode()).digest()[:4], "big") / 2**32
        return max(1, delay - int(delay * share / 10))


@dataclass(frozen=True, slots=True)
class SourceState:
    """What is shown of one source; times are POSIX seconds, 0 where there was none."""

    name: str
    url: str = ""
    attempts: int = 0
    failures: int = 0  # in a row
    accepted: int = 0  # CRLs taken in
    not_modified: int = 0  # attempts that found nothing new
    last_attempt: int = 0
    last_success: int = 0
    last_error: str = ""  # empty when the last attempt succeeded
    next_attempt: int = 0
    next_update: int | None = None
    paused: bool = False  # asked only when somebody says so
    validator: Validator = Validator()

    def shown(self) -> dict[str, Any]:
        """The state as JSON-ready values, without the validator, which is nobody's business."""
        state = asdict(self)
        del state["validator"]
        return state


def _next_update(document: bytes) -> int | None:
    """nextUpdate of a CRL that was judged already."""
    try:
        return read_header(pem.single(document, pem.CRL_LABELS)).next_update
    except (CRLRejected, ValueError):
        return None


def without_password(url: str) -> str:
    """`url` without what stands between its host and `//`: a report is no place for a password."""
    return re.sub(r"//[^/@]*@", "//", url)


class Pulling:
    """One source and its schedule: `attempt` fetches and takes in what is new, and never raises a VouchdError."""

    def __init__(
        self,
        name: str,
        url: str,
        source: CRLSource,
        schedule: Schedule,
        accept: Accept,
        *,
        admit: Admit = lambda _: None,
        paused: bool = False,
    ) -> None:
        self._source = source
        self.host = source.host
        interval = min(schedule.interval_seconds, source.poll_seconds or schedule.interval_seconds)
        self._schedule = replace(schedule, interval_seconds=interval)
        self._accept = accept
        self._admit = admit
        self.state = SourceState(name, without_password(url), paused=paused)

    def attempt(self, now: int) -> SourceState:
        """Ask the source at `now`; returns the new state, which says when to ask again."""
        self._note(last_attempt=now)
        name, attempt = self.state.name, self.state.attempts + 1  # counted when it has ended
        try:
            self._ask()
        except VouchdError as error:
            failures = self.state.failures + 1
            due = self._schedule.after_failure(name, attempt, now, failures)
            self._note(
                attempts=attempt, failures=failures, last_error=f"{type(error).__name__}: {error}", next_attempt=due
            )
        else:
            due = self._schedule.after_success(name, attempt, now, self.state.next_update)
            self._note(attempts=attempt, failures=0, last_error="", last_success=now, next_attempt=due)
        return self.state

    def _note(self, **changes: Any) -> None:
        # Replaced, never changed in place: the manager's other threads read it at any time.
        self.state = replace(self.state, **changes)

    def _ask(self) -> None:
        fetched = self._source.fetch(self.state.validator)
        accepted, quarantined, next_updates = self._take(fetched) if fetched is not None else (0, 0, [])
        if fetched is not None:  # only now: what failed above is fetched again
            self._note(validator=fetched.validator)
        if accepted == quarantined == 0:
            self._note(not_modified=self.state.not_modified + 1)
        if next_updates:
            known = [time for time in next_updates if time is not None]
            self._note(next_update=min(known, default=None))

    def _take(self, fetched: Fetched) -> tuple[int, int, list[int | None]]:
        """Take everything in: how many CRLs were new, how many were held back, the nextUpdate of each one in use.

        What cannot be taken in stops nothing that stands beside it, and is raised when all is done.
        """
        next_updates: list[int | None] = []
        accepted, quarantined = 0, 0
        problem: VouchdError | None = SourceError(fetched.problem) if fetched.problem else None
        for certificate in fetched.certificates:
            try:
                self._admit(certificate)
            except VouchdError as error:
                problem = error
        for document in fetched.documents:
            try:
                next_updates.append(self._accept(document))
            except CRLStale:  # held already, as after a restart, or older: the source will have a newer one by then
                next_updates.append(_next_update(document))
            except CRLQuarantined:  # held back, which an operator sees and decides
                quarantined += 1
            except VouchdError as error:
                problem = error  # the others are taken in all the same
            else:
                accepted += 1
        self._note(accepted=self.state.accepted + accepted)
        if problem is not None:
            raise problem
        return accepted, quarantined, next_updates
