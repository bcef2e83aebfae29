"""The rhythm of a CA: when its CRLs came and by which steps their numbers went up, and what is out of it.

A CA that publishes every hour CRLs that are good for a day is late after two hours, not after a day; one that numbers
its delta CRLs along goes up by more than one each time. Both are learned from the CRLs that were taken, and nothing is
said before enough have come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vouchd.instance.report import ServedPoint

_KEPT = 9  # CRLs that are remembered
_ENOUGH = 4  # of them, before anything is said of the rhythm


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Of one issuing point: `updates` are the thisUpdate of its last CRLs, `steps` those of the numbers between them.

    `sequence` and `number` are of the newest.
    """

    sequence: int
    number: int | None
    updates: tuple[int, ...]
    steps: tuple[int, ...] = ()

    def after(self, point: ServedPoint) -> Rhythm:
        """With the CRL that is served now; the same where there is no other."""
        ahead = point.sequence - self.sequence
        if ahead == 0:
            return self
        if ahead < 0:  # the point was taken away and came again
            return begun(point)
        updates = (*self.updates, point.this_update)[-_KEPT:]
        if point.crl_number is None or self.number is None:
            return Rhythm(point.sequence, point.crl_number, updates)
        rise = point.crl_number - self.number
        # Some that came in between were not seen one by one: each has taken its part.
        step = -(-rise // ahead) if rise > 0 else rise
        return Rhythm(point.sequence, point.crl_number, updates, (*self.steps, step)[-_KEPT:])

    def due(self, next_update: int | None) -> int | None:
        """When the next CRL is overdue, POSIX seconds; None while the rhythm is not known.

        That is half a period after it is due, or half of what is then left until nextUpdate.
        """
        if len(self.updates) < _ENOUGH:
            return None
        period = max(later - earlier for earlier, later in zip(self.updates, self.updates[1:], strict=False))
        expected = self.updates[-1] + period
        if period <= 0 or (next_update is not None and next_update <= expected):
            return None
        left = period if next_update is None else min(period, next_update - expected)
        return expected + left // 2

    @property
    def gap(self) -> int:
        """How many numbers more than usual the newest CRL has left out; 0: none, or nothing is usual yet."""
        *before, last = self.steps or (0,)
        return max(0, last - max(before)) if len(before) >= _ENOUGH - 1 and last > 0 else 0

    @property
    def fell(self) -> bool:
        """Whether the newest CRL has a lower number than the one before."""
        return bool(self.steps) and self.steps[-1] < 0


def begun(point: ServedPoint) -> Rhythm:
    """The rhythm of a point that was not seen before."""
    return Rhythm(point.sequence, point.crl_number, (point.this_update,))


Key = tuple[str, str]  # ids of authority and scope


def _key(point: ServedPoint) -> Key:
    return point.authority_id, point.scope_id


@dataclass(frozen=True, slots=True)
class Rhythms:
    """Those of all issuing points, and when workers were seen to be started again: (POSIX seconds, how often).

    `served` are the points that they were last held against, as they are served. `dues` tells when the next CRL of
    each is overdue, where that is known, and `odd` are those of which the numbers are out of the rhythm.
    """

    points: Mapping[Key, Rhythm] = field(default_factory=dict)
    restarts: tuple[tuple[int, int], ...] = ()
    served: tuple[ServedPoint, ...] = field(default=(), compare=False)
    dues: Mapping[Key, int] = field(default_factory=dict, compare=False)
    odd: frozenset[Key] = field(default=frozenset(), compare=False)

    def after(self, points: Iterable[ServedPoint]) -> Rhythms:
        """With what is served now; points that are not served any more are forgotten.

        Where the points are the same ones, and in the same order, it costs what changed of them.
        """
        served = tuple(points)
        if served and served == self.served:
            return self
        if len(served) == len(self.served):
            changed = [(old, new) for old, new in zip(self.served, served, strict=True) if old is not new]
            if all(_key(old) == _key(new) for old, new in changed):
                return self._stepped([new for _, new in changed], served)
        present = {_key(point): point for point in served}
        known = self.points
        kept = known.keys() == present.keys() and all(
            known[key].sequence == one.sequence for key, one in present.items()
        )
        if not kept:
            known = {key: known[key].after(one) if key in known else begun(one) for key, one in present.items()}
        return replace(self, points=known).against(served)

    def against(self, served: tuple[ServedPoint, ...]) -> Rhythms:
        """The same, held against these points."""
        if served == self.served:
            return self
        dues, odd = _looked_at(self.points, {}, (), served)
        return replace(self, served=served, dues=dues, odd=odd)

    def _stepped(self, changed: Sequence[ServedPoint], served: tuple[ServedPoint, ...]) -> Rhythms:
        """With other states of some points, where all points are known."""
        known = self.points
        after = {_key(point): known[_key(point)].after(point) for point in changed}
        if any(rhythm is not known[key] for key, rhythm in after.items()):
            known = {**known, **after}
        dues, odd = _looked_at(known, self.dues, self.odd, changed)
        return replace(self, points=known, served=served, dues=dues, odd=odd)

    def with_restarts(self, now: int, count: int, window_seconds: int) -> Rhythms:
        """With the number of restarts of workers at `now`; older ones than the window are left out, but the last."""
        former = self.restarts
        if former and former[-1][1] == count:
            return self
        recent = tuple(one for one in former[:-1] if one[0] > now - window_seconds)
        return replace(self, restarts=(*recent, *former[-1:], (now, count)))

    def restarted(self, now: int, window_seconds: int) -> int:
        """How many workers were started again within the window."""
        if not self.restarts:
            return 0
        newest, before = self.restarts[-1], 0
        for at, count in self.restarts:
            if at <= now - window_seconds:
                before = count
        first = self.restarts[0][1] if self.restarts[0][0] > now - window_seconds else before
        return max(0, newest[1] - first)


def _looked_at(
    rhythms: Mapping[Key, Rhythm], dues: Mapping[Key, int], odd: Iterable[Key], points: Iterable[ServedPoint]
) -> tuple[dict[Key, int], frozenset[Key]]:
    """`dues` and `odd` (see Rhythms) once these points were looked at."""
    due_at, out = dict(dues), set(odd)
    for point in points:
        key = _key(point)
        rhythm = rhythms.get(key)
        due = rhythm.due(point.next_update) if rhythm is not None else None
        due_at.pop(key, None)
        out.discard(key)
        if due is not None:
            due_at[key] = due
        if rhythm is not None and (rhythm.gap or rhythm.fell):
            out.add(key)
    return due_at, frozenset(out)
