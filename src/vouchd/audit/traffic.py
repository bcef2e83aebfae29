"""What comes by itself, as against what somebody does: recorded once a minute and kind, with how often it came.

Members look at each other every few seconds, and whoever likes may knock at the port, with or without a certificate.
What is recorded of them is bounded by the kinds there are, not by how often they come: the first of a kind has a record
of its own at once, those that follow within a minute are one more, with their `count`, when the minute is over.

Two families are counted so, each with a bound of its own: the TLS sessions of the agent port, which no act waits for
(`SessionRecords`), and who was identified, or refused, over them (`Traffic`, the sink of those who record that).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vouchd.audit.chain import Entry
from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink, Clock

ESTABLISH = "ACCESS_SESSION_ESTABLISH"
TERMINATED = "ACCESS_SESSION_TERMINATED"
IDENTIFIED = frozenset({"AUTH", "ROLE_ASSUME"})
REFUSED = ("AUTHZ", "failure")
WINDOW_SECONDS = 60
MAX_KINDS = 500
_MAX_TEXT = 200
_OTHERS = "others"  # stands for the addresses, callers and subjects of the kinds beyond the limit


@dataclass(frozen=True, slots=True)
class Kind:
    """What records have in common that are counted together; `detail` are its pairs."""

    event: str
    outcome: str
    caller: Caller
    detail: tuple[tuple[str, str | int], ...] = ()

    def among_others(self) -> Kind:
        """The kind that stands for all such when there are too many: who it was is left out."""
        known = frozenset({"action", "certificate_status"})
        detail = tuple((name, value if name in known else _OTHERS) for name, value in self.detail)
        return replace(self, caller=Caller(_OTHERS, origin=_OTHERS), detail=detail)

    def entry(self, at: int, count: int) -> Entry:
        """The record that stands for `count` of them."""
        return Entry(at, self.event, self.outcome, self.caller, {**dict(self.detail), "count": count})


@dataclass(slots=True)
class _Window:
    since: int
    waiting: int
    first: bool


class Counted:
    """Counts kinds, in any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[Kind, _Window] = {}

    def note(self, kind: Kind, *, recorded: bool = False) -> bool:
        """One more of a kind; whether it is the first of its window, which the caller records if `recorded`."""
        with self._lock:
            kind = self._counted_as(kind)
            window = self._windows.get(kind)
            if window is None:
                waiting = 0 if recorded else 1
                self._windows[kind] = _Window(self._clock.now(), waiting, first=not recorded)
            else:
                window.waiting += 1
            return window is None

    def forget(self, kind: Kind) -> None:
        """The first of the window could not be recorded: the next one is the first."""
        with self._lock:
            self._windows.pop(self._counted_as(kind), None)

    def due(self, *, final: bool = False) -> list[Entry]:
        """What is to be recorded now: new kinds, and those whose window is over; `final`: all that was not told."""
        at, entries = self._clock.now(), []
        with self._lock:
            for kind, window in list(self._windows.items()):
                over = at - window.since >= WINDOW_SECONDS
                if window.waiting and (window.first or over or final):
                    entries.append(kind.entry(at, window.waiting))
                    self._windows[kind] = _Window(at if over else window.since, waiting=0, first=False)
                elif over:
                    del self._windows[kind]
        return entries

    def _counted_as(self, kind: Kind) -> Kind:
        return kind if kind in self._windows or len(self._windows) < MAX_KINDS else kind.among_others()


class SessionRecords(Counted):
    """Takes sessions as they come; `shown` makes of an address what is recorded."""

    def __init__(self, clock: Clock, shown: Callable[[str], str]) -> None:
        super().__init__(clock)
        self._shown = shown

    def established(self, address: str, subject: str) -> None:
        """A handshake was completed by a client with that certificate; empty: without one."""
        self._note(ESTABLISH, address, subject)

    def refused(self, address: str, why: str) -> None:
        """A handshake came to nothing."""
        self._note(ESTABLISH, address, "", why)

    def terminated(self, address: str, subject: str) -> None:
        """A session that was established is over."""
        self._note(TERMINATED, address, subject)

    def _note(self, event: str, address: str, subject: str, why: str = "") -> None:
        detail: Mapping[str, str | int] = {"subject": _text(subject), **({"why": _text(why)} if why else {})}
        caller = Caller("TLS client", origin=self._shown(address))
        self.note(Kind(event, "failure" if why else "success", caller, tuple(detail.items())))


class Traffic(Counted):
    """An audit sink that counts who was identified and who was refused, and hands on all that is done.

    The first of a kind is on disk before the call returns, as an act is; one that cannot be recorded is refused.
    """

    def __init__(self, sink: AuditSink, clock: Clock) -> None:
        super().__init__(clock)
        self._sink = sink

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        """See AuditSink. Raises: StoreUnavailable when the record is not on disk."""
        if event not in IDENTIFIED and (event, outcome) != REFUSED:
            self._sink.record(event, caller, outcome, **detail)
            return
        # What a refused act was for is in the first record; those that follow are one kind, whatever they were for.
        kind = Kind(event, outcome, caller, tuple(pair for pair in detail.items() if pair[0] != "target"))
        if not self.note(kind, recorded=True):
            return
        try:
            self._sink.record(event, caller, outcome, **detail)
        except BaseException:
            self.forget(kind)
            raise


def _text(text: str) -> str:
    return text[:_MAX_TEXT] or "-"
