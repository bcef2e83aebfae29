"""What one other member answers from, as it tells by and by, held against what this one answers from.

A set may serve ten thousand issuing points, and each member looks at each other one every few seconds. So a member
tells whoever has asked before only what changed since, and here only that is compared, and what changed here. Those
points are kept in which both are apart, which are few or none; a look costs what changed, and a comparison of ten
thousand references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from vouchd.cloning.client import PeerEpochs
from vouchd.cloning.watermark import Epochs, differing, is_newer, of_authorities
from vouchd.core.facts import Epoch, IssuingPointId, order


class Lag(NamedTuple):
    """For how long another member has had an older CRL than this one, or a newer one (negative), and which."""

    point: IssuingPointId
    seconds: int
    theirs: Epoch | None  # None: it answers from none


class Apart(NamedTuple):
    """An issuing point of which both answer from other CRLs: what each has, None: it has none, since when (seconds)."""

    theirs: Epoch | None
    ours: Epoch | None
    since: float

    @property
    def ahead(self) -> bool:
        """Whether the other one has a newer CRL."""
        return self.theirs is not None and is_newer(self.theirs, self.ours)

    @property
    def lacking(self) -> bool:
        """Whether the other one has an older CRL, or none."""
        return self.ours is not None and is_newer(self.ours, self.theirs)


class PeerView:
    """Of one other member; one thread at a time but for `elsewhere`."""

    def __init__(self) -> None:
        self.version = ""  # of what it told last; empty: it has told nothing
        self.apart: Mapping[IssuingPointId, Apart] = {}
        self._theirs: dict[str, tuple[Epoch, ...]] = {}
        self._ours: Epochs = {}

    def take(self, answer: PeerEpochs, ours: Epochs, now: float) -> None:
        """Take in what it tells at `now` (seconds that only go on), while this member answers from `ours`."""
        present = of_authorities(answer.epochs)
        if answer.concerned is None:
            ids = self._theirs.keys() | present.keys()
            changed = {each for each in ids if self._theirs.get(each) != present.get(each)}
            self._theirs = present
        else:
            changed = set(answer.concerned)
            self._theirs |= present
            for each in changed - present.keys():
                self._theirs.pop(each, None)
        self._compare(changed, ours, now)
        self.version = answer.version

    def make_up(self, ours: Epochs) -> None:
        """It cannot be asked now. What it said last still counts, but where this member has come as far since."""
        self.apart = {point: one for point, one in self.apart.items() if not _is_made_up(one, ours)}

    def elsewhere(self, ours: Epochs) -> dict[IssuingPointId, Epoch | None]:
        """What it answers from, as it told last, where that is not what this member has now; None: it has none.

        Any thread may ask.
        """
        since = differing(self._ours, ours)  # first: what is compared meanwhile is in both
        different: dict[IssuingPointId, Epoch | None] = {point: one.theirs for point, one in self.apart.items()}
        for each in since:
            theirs, own = (_by_point(epochs.get(each, ())) for epochs in (self._theirs, ours))
            points = theirs.keys() | own.keys()
            different |= {point: theirs.get(point) for point in points if theirs.get(point) != own.get(point)}
        return different

    def lags(self, now: float) -> tuple[Lag, ...]:
        """Of the issuing points in which both are apart, in their order."""
        return tuple(sorted(self._lags(now), key=lambda lag: lag.point))

    def lacking(self) -> list[Epoch]:
        """What this member answers from and the other one does not yet."""
        return [one.ours for one in self.apart.values() if one.ours is not None and one.lacking]

    def _lags(self, now: float) -> Iterator[Lag]:
        for point, one in self.apart.items():
            seconds = max(1, int(now - one.since))
            yield Lag(point, -seconds if one.ahead else seconds, one.theirs)

    def _compare(self, changed: Iterable[str], ours: Epochs, now: float) -> None:
        """Go through the CAs of which something changed on either side."""
        ids = {*changed, *differing(self._ours, ours)}
        if not ids:
            self._ours = ours
            return
        apart = {point: one for point, one in self.apart.items() if point.authority_id not in ids}
        for each in ids:
            theirs, own = (_by_point(epochs.get(each, ())) for epochs in (self._theirs, ours))
            for point in theirs.keys() | own.keys():
                one = Apart(theirs.get(point), own.get(point), now)
                if _alike(one):
                    continue
                former = self.apart.get(point)
                same = former is not None and former.ahead is one.ahead
                apart[point] = one._replace(since=former.since) if former is not None and same else one
        self.apart, self._ours = apart, ours


def _is_made_up(one: Apart, ours: Epochs) -> bool:
    """Whether the other one was ahead there, and is no more of what is here now."""
    if one.theirs is None or not one.ahead:
        return False
    point = one.theirs.issuing_point
    now = next((epoch for epoch in ours.get(point.authority_id, ()) if epoch.issuing_point == point), None)
    return now is not None and order(now) >= order(one.theirs)


def _alike(one: Apart) -> bool:
    return one.theirs is not None and one.ours is not None and one.theirs.essence == one.ours.essence


def _by_point(epochs: Iterable[Epoch]) -> dict[IssuingPointId, Epoch]:
    return {epoch.issuing_point: epoch for epoch in epochs}
