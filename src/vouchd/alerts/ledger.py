"""The ledger of alerts: what stands, since when, and what is still to be carried; kept on disk.

How it works. Each look gives the troubles that are present. One that is new is noted with the moment it was first
seen; when it has lasted for its condition's patience it is *raised*, once. One that is raised and has been gone for as
long is *resolved*, once. Both are put into the queue of every carrier that wants them, and queue and alerts are written
in one file before anything is sent: a process that is killed and started again goes on with the same file, raises
nothing again and loses nothing. What is sent and not yet crossed out when the process is killed is sent again, with the
same identifier, by which a receiver knows it.

A queue is bounded: beyond `_MOST_WAITING` the oldest is given up and counted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from vouchd.alerts.conditions import CONDITIONS, Condition, Situation, Trouble
from vouchd.alerts.notice import Event, Notice, plain
from vouchd.alerts.rhythm import Rhythm, Rhythms
from vouchd.errors import StoreUnavailable
from vouchd.files import PRIVATE, read_file, replace_file
from vouchd.pkix.memo import shared
from vouchd.settings.carriers import Severity

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_MAX_BYTES = 64 << 20
_MOST_WAITING = 500
_MOST_RESOLVED = 100
_ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1}
_BY_NAME = {condition.name: condition for condition in CONDITIONS}


class Standing(msgspec.Struct, frozen=True):
    """An alert; `raised` is None while it has not lasted long enough, `gone` since when it is not seen any more."""

    condition: str
    subject: str
    words: str
    since: int
    raised: int | None = None
    gone: int | None = None

    @property
    def severity(self) -> Severity:
        """That of its condition."""
        return _BY_NAME[self.condition].severity


class Resolved(msgspec.Struct, frozen=True):
    """An alert that is over, since `resolved`."""

    condition: str
    subject: str
    words: str
    since: int
    resolved: int


class Outcome(msgspec.Struct, frozen=True):
    """How a carrier did last: delivered at that time, or failing since then and why."""

    at: int
    error: str = ""


class _Record(msgspec.Struct, frozen=True):
    begun: int = 0
    standing: tuple[Standing, ...] = ()
    waiting: dict[str, tuple[Notice, ...]] = {}
    lost: dict[str, int] = {}
    resolved: tuple[Resolved, ...] = ()  # the newest last
    outcomes: dict[str, Outcome] = {}


@dataclass(frozen=True, slots=True)
class Wanting:
    """A carrier as the ledger knows it."""

    name: str
    severity: Severity

    def wants(self, notice: Notice) -> bool:
        """Whether it is grave enough."""
        return _ORDER[notice.severity] <= _ORDER[self.severity]


class Ledger:
    """The alerts of the instance called `instance`, in the file at `path`; any thread may call it."""

    def __init__(self, path: Path, instance: str, carriers: Iterable[Wanting]) -> None:
        self._path = path
        self._instance = instance
        self._carriers = tuple(carriers)
        self._lock = threading.Lock()
        record = read_ledger(path)
        names = {one.name for one in self._carriers}
        self._record = msgspec.structs.replace(
            record,
            standing=tuple(one for one in record.standing if one.condition in _BY_NAME),
            waiting={name: some for name, some in record.waiting.items() if name in names},
            outcomes={name: one for name, one in record.outcomes.items() if name in names},
        )

    @property
    def begun(self) -> int:
        """When the instance was first looked at."""
        return self._record.begun

    @property
    def standing(self) -> tuple[Standing, ...]:
        """The alerts that are raised, the gravest and oldest first."""
        return raised(self._record.standing)

    def next_of(self, carrier: str) -> Notice | None:
        """What that carrier has to carry next."""
        return next(iter(self._record.waiting.get(carrier, ())), None)

    def waiting(self, carrier: str) -> int:
        """How many notices wait for that carrier."""
        return len(self._record.waiting.get(carrier, ()))

    def lost(self, carrier: str) -> int:
        """How many were given up."""
        return self._record.lost.get(carrier, 0)

    def look(self, situation: Situation, conditions: Sequence[Condition] = CONDITIONS) -> tuple[Notice, ...]:
        """Go by what is present now; what is said for it, which is written when this returns. Raises: StoreError."""
        with self._lock:
            before = self._record
            standing, notices = _judged(before.standing, situation, conditions, self._instance)
            over = (*before.resolved, *(_over(one) for one in notices if one.event is Event.RESOLVED))
            after = msgspec.structs.replace(
                before, standing=standing, begun=before.begun or situation.now, resolved=over[-_MOST_RESOLVED:]
            )
            for notice in notices:
                after = self._queued(after, notice)
            if after != before:
                self._write(after)
            return notices

    def carried(self, carrier: str, notice: Notice, at: int) -> None:
        """Cross out what has arrived at that time. Raises: StoreError."""
        with self._lock:
            waiting = self._record.waiting
            left = tuple(one for one in waiting.get(carrier, ()) if one.id != notice.id)
            outcomes = {**self._record.outcomes, carrier: Outcome(at)}
            self._write(msgspec.structs.replace(self._record, waiting={**waiting, carrier: left}, outcomes=outcomes))

    def failed(self, carrier: str, error: str, at: int) -> None:
        """Note why that carrier fails, and since when it does for that. Raises: StoreError."""
        with self._lock:
            former = self._record.outcomes.get(carrier)
            if former is None or former.error != error:
                outcomes = {**self._record.outcomes, carrier: Outcome(at, error)}
                self._write(msgspec.structs.replace(self._record, outcomes=outcomes))

    def _queued(self, record: _Record, notice: Notice) -> _Record:
        waiting, lost = dict(record.waiting), dict(record.lost)
        for one in self._carriers:
            if one.wants(notice):
                queue = (*waiting.get(one.name, ()), notice)
                given_up = max(0, len(queue) - _MOST_WAITING)
                waiting[one.name] = queue[given_up:]
                if given_up:
                    lost[one.name] = lost.get(one.name, 0) + given_up
        return msgspec.structs.replace(record, waiting=waiting, lost=lost)

    def _write(self, record: _Record) -> None:
        replace_file(self._path, msgspec.json.encode(record), PRIVATE)
        self._record = record


def _judged(
    standing: Sequence[Standing], situation: Situation, conditions: Sequence[Condition], instance: str
) -> tuple[tuple[Standing, ...], tuple[Notice, ...]]:
    """What stands now, and what there is to say."""
    known = {(one.condition, one.subject): one for one in standing}
    present = {
        (condition.name, plain(trouble.subject)): (condition, trouble)
        for condition in conditions
        for trouble in condition.present(situation)
    }
    kept, notices = [], []
    for key, (condition, trouble) in present.items():
        one, notice = _seen(known.get(key), condition, trouble, situation.now, instance)
        kept.append(one)
        notices += notice
    for key in known.keys() - present.keys():
        left, notice = _missed(known[key], situation.now, instance)
        kept += left
        notices += notice
    kept.sort(key=lambda one: (one.since, one.condition, one.subject))
    return tuple(kept), tuple(notices)


def _seen(
    former: Standing | None, condition: Condition, trouble: Trouble, now: int, instance: str
) -> tuple[Standing, list[Notice]]:
    subject, words = plain(trouble.subject), plain(trouble.words)
    one = former or Standing(condition.name, subject, words, now)
    if one.gone is not None:
        one = msgspec.structs.replace(one, gone=None)
    if one.raised is not None:
        return one, []
    if now - one.since < condition.patience_seconds:
        return one, []
    one = msgspec.structs.replace(one, raised=now, words=words)
    return one, [_notice(Event.RAISED, one, now, instance)]


def _missed(former: Standing, now: int, instance: str) -> tuple[list[Standing], list[Notice]]:
    if former.raised is None:
        return [], []
    gone = now if former.gone is None else former.gone
    if now - gone < _BY_NAME[former.condition].patience_seconds:
        return [msgspec.structs.replace(former, gone=gone)], []
    return [], [_notice(Event.RESOLVED, former, now, instance)]


def _notice(event: Event, one: Standing, at: int, instance: str) -> Notice:
    condition = _BY_NAME[one.condition]
    return Notice.of(
        event,
        instance,
        one.condition,
        one.subject,
        condition.severity,
        one.since,
        at,
        one.words,
        condition.remedy,
        condition.page,
    )


def _over(notice: Notice) -> Resolved:
    return Resolved(notice.condition, notice.subject, notice.words, notice.since, notice.at)


def raised(standing: Iterable[Standing]) -> tuple[Standing, ...]:
    """Those that were told of, the gravest and oldest first."""
    return tuple(sorted((one for one in standing if one.raised is not None), key=_gravity))


def _gravity(one: Standing) -> tuple[int, int, str, str]:
    return _ORDER[one.severity], one.since, one.condition, one.subject


def read_ledger(path: Path) -> _Record:
    """What is kept there; empty where there is nothing that can be read, which keeps no instance from starting."""
    return _read(path, _Record) or _Record()


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(read_file(path, _MAX_BYTES), type=kind)
    except FileNotFoundError:
        return None
    except (StoreUnavailable, msgspec.MsgspecError) as error:
        _log.error("%s is begun anew: %s", path, error)
        return None


class _Points(msgspec.Struct, frozen=True):
    points: tuple[tuple[str, str, Rhythm], ...] = ()


def read_rhythms(path: Path) -> Rhythms:
    """The rhythms as they were kept; none where there is nothing that can be read."""
    kept = _read(path, _Points) or _Points()
    # The ids are those of the facts, of ten thousand CAs as well, and not texts of their own.
    return Rhythms({(shared(authority), shared(scope)): rhythm for authority, scope, rhythm in kept.points})


def write_rhythms(path: Path, rhythms: Rhythms) -> None:
    """Keep those of the issuing points; restarts are counted from each start of the process. Raises: StoreError."""
    points = tuple((authority, scope, rhythm) for (authority, scope), rhythm in rhythms.points.items())
    replace_file(path, msgspec.json.encode(_Points(points)), PRIVATE, durable=False)
