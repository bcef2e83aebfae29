"""The facts of a store in memory, as new as the store at the time of each question.

`RevisionCache` asks the store what changed since before it answers: what another process or another member wrote is in
the answer, and what did not change is not read again. Where the store says that it cannot tell what changed (`whole`),
everything is read anew. It keeps facts and decides nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from vouchd.core.changes import NEVER, Changes, PointFacts
from vouchd.core.facts import Authority, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.stores.rules import quarantine_order

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KnownFacts:
    """The facts of one revision, in the orders of `StatusStore`."""

    revision: int = NEVER
    authorities: tuple[Authority, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    quarantined: tuple[QuarantinedCRL, ...] = ()


_Key = tuple[str, str]


class RevisionCache:
    """The facts of the store whose `changes` are asked for; may be used by several threads."""

    def __init__(self, changes: Callable[[int], Changes]) -> None:
        self._changes = changes
        self._lock = threading.Lock()
        self._known = KnownFacts()
        self._authorities: dict[_Key, Authority] = {}  # by label and id, which is their order
        self._labels: dict[str, str] = {}
        self._epochs: dict[_Key, Epoch] = {}
        self._quarantined: dict[_Key, QuarantinedCRL] = {}

    def current(self) -> KnownFacts:
        """The facts as they are in the store now. Raises: what `changes` raises."""
        with self._lock:
            return self._current()

    def _current(self) -> KnownFacts:
        changes = self._changes(self._known.revision)
        if changes.whole or changes.authorities or changes.points:
            self._take(changes)
        elif changes.revision != self._known.revision:
            self._known = replace(self._known, revision=changes.revision)
        return self._known

    def changes(self, since: int) -> Changes:
        """See StatusStore; all that there is was read once, however many parts of a start ask for it."""
        if since != NEVER:
            return self._changes(since)
        with self._lock:
            known = self._current()
            points = {IssuingPointId(*key): PointFacts(epoch) for key, epoch in self._epochs.items()}
            for key, crl in self._quarantined.items():
                point = IssuingPointId(*key)
                points[point] = PointFacts(points[point].epoch if point in points else None, crl)
            return Changes(known.revision, {one.id: one for one in known.authorities}, points, whole=True)

    def _take(self, changes: Changes) -> None:
        if changes.whole:
            for known in (self._authorities, self._labels, self._epochs, self._quarantined):
                known.clear()
        for authority_id, authority in changes.authorities.items():
            label = self._labels.pop(authority_id, None)
            if label is not None and (authority is None or authority.label != label):
                del self._authorities[label, authority_id]
            if authority is not None:
                self._labels[authority_id] = authority.label
                self._authorities[authority.label, authority_id] = authority
        for point, facts in changes.points.items():
            key = (point.authority_id, point.scope_id)
            _put(self._epochs, key, facts.epoch)
            _put(self._quarantined, key, facts.quarantined)
        before = self._known
        self._known = KnownFacts(
            changes.revision,
            _ordered(self._authorities) if changes.authorities or changes.whole else before.authorities,
            _ordered(self._epochs) if changes.points or changes.whole else before.epochs,
            tuple(sorted(self._quarantined.values(), key=quarantine_order))
            if changes.points or changes.whole
            else before.quarantined,
        )


def _put(facts: dict[_Key, T], key: _Key, fact: T | None) -> None:
    if fact is None:
        facts.pop(key, None)
    else:
        facts[key] = fact


def _ordered(facts: dict[_Key, T]) -> tuple[T, ...]:
    return tuple(facts[key] for key in sorted(facts))
