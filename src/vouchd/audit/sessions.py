"""The TLS sessions of the agent port in the audit log: the first of a kind at once, more of that kind as a number.

Members look at each other every few seconds, and whoever likes may knock at the port: what is recorded of them is
bounded by the kinds there are, not by how often they come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from vouchd.audit.chain import Entry
from vouchd.core.facts import Caller
from vouchd.core.ports import Clock

ESTABLISH = "ACCESS_SESSION_ESTABLISH"
TERMINATED = "ACCESS_SESSION_TERMINATED"
WINDOW_SECONDS = 60
MAX_KINDS = 500
_MAX_TEXT = 200
_OTHERS = "others"  # stands for the addresses and subjects of the kinds beyond the limit


@dataclass(frozen=True, slots=True)
class _Kind:
    established: bool
    address: str  # as it is recorded
    subject: str  # of the client certificate; `-`: it brought none
    why: str  # the session was not established; empty: it was


@dataclass(slots=True)
class _Window:
    since: int
    waiting: int = 1
    first: bool = True


class SessionRecords:
    """Takes sessions as they come, in any thread; `shown` makes of an address what is recorded."""

    def __init__(self, clock: Clock, shown: Callable[[str], str]) -> None:
        self._clock = clock
        self._shown = shown
        self._lock = threading.Lock()
        self._windows: dict[_Kind, _Window] = {}

    def established(self, address: str, subject: str) -> None:
        """A handshake was completed by a client with that certificate; empty: without one."""
        self._note(_Kind(established=True, address=self._shown(address), subject=_text(subject), why=""))

    def refused(self, address: str, why: str) -> None:
        """A handshake came to nothing."""
        self._note(_Kind(established=True, address=self._shown(address), subject="-", why=_text(why)))

    def terminated(self, address: str, subject: str) -> None:
        """A session that was established is over."""
        self._note(_Kind(established=False, address=self._shown(address), subject=_text(subject), why=""))

    def due(self, *, final: bool = False) -> list[Entry]:
        """What is to be recorded now: new kinds, and those whose window is over; `final`: all that was not told."""
        at, entries = self._clock.now(), []
        with self._lock:
            for kind, window in list(self._windows.items()):
                over = at - window.since >= WINDOW_SECONDS
                if window.waiting and (window.first or over or final):
                    entries.append(_entry(kind, window.waiting, at))
                    self._windows[kind] = _Window(at if over else window.since, waiting=0, first=False)
                elif over:
                    del self._windows[kind]
        return entries

    def _note(self, kind: _Kind) -> None:
        with self._lock:
            window = self._windows.get(kind)
            if window is None and len(self._windows) >= MAX_KINDS:
                kind = _Kind(kind.established, _OTHERS, _OTHERS, kind.why and _OTHERS)
                window = self._windows.get(kind)
            if window is None:
                self._windows[kind] = _Window(self._clock.now())
            else:
                window.waiting += 1


def _text(text: str) -> str:
    return text[:_MAX_TEXT] or "-"


def _entry(kind: _Kind, count: int, at: int) -> Entry:
    detail: dict[str, str | int] = {"subject": kind.subject, "count": count}
    if kind.why:
        detail["why"] = kind.why
    event = ESTABLISH if kind.established else TERMINATED
    return Entry(at, event, "failure" if kind.why else "success", Caller("TLS client", origin=kind.address), detail)
