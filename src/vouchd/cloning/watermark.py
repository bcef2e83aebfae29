"""The watermark: what this member knows of, held against what it answers from.

Law 2 says that what was acknowledged is answered, or the CA is not answered for. There are many ways to fall behind: a
disk that is full between commit and manifest, a worker without descriptors that cannot load, a directory server that
hangs, a replication that is cut in one direction only. A rule for each would miss the next one. So nothing here asks
why; two things are compared by issuing point, and both are told, never guessed:

- known: the newest CRL that any source has told of. Sources are the store as it was read last, what was accepted by
  this process, what each other member says that it answers from, and what a member says on its own account because it
  sees that this one differs.
- served: what every worker answers from. It comes from the workers themselves (the manifest that each says it has
  loaded), not from what was written to disk for them.

From the moment when known is newer than served a bound runs, `vouchd.clone.staleInSec`; when it has passed the CA is
late, until served has caught up. Why this is right:

- No cause can be forgotten, as none is looked for. What stops a CRL on its way stops it before the workers have it.
- The bound begins with the first thing that is known and not served, and newer ones do not start it anew: who never
  catches up is late although the newest CRL is always young.
- What was told counts until it is served or taken back by who told it. That a source is silent takes nothing back.
- A restart knows nothing, so a CA that was late stays so until all other members were asked, or something newer came.
- What a backup brought back may be old, and nothing here knows: every CA counts as late, in the same way.
- The word to the workers (`withhold`) goes over the control channel: it needs no disk, no store and no descriptor,
  which is what is missing when it matters.

A source may lie: it can silence a CA, which is what failing closed means, and never make it say anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from vouchd.core.facts import Epoch, IssuingPointId, order

STORE = "store"
ACCEPTED = "accepted here"

Epochs = Mapping[str, Sequence[Epoch]]  # by the CA's id


class Watermark:
    """Known against served. `stale_seconds`: the bound, 0 for none. May be used by several threads."""

    def __init__(self, stale_seconds: int, now: Callable[[], float] = time.monotonic) -> None:
        self._stale_seconds = stale_seconds
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, tuple[Epoch, ...]]] = {}  # by source and the CA's id
        self._served: Epochs = {}
        self._since: dict[tuple[str, IssuingPointId], float] = {}
        self._unsure: dict[str, frozenset[tuple[str, str, str]]] = {}
        self._doubted: set[str] | None = None  # the CAs that have been served since all were doubted; None: none is
        self._sure: Callable[[], None] | None = None

    def resume(self, late: Iterable[str], served: Epochs) -> None:
        """Before a restart the CAs of these ids were late, and these epochs were served."""
        with self._lock:
            self._served = served
            self._unsure = {one: self._indexes(one) for one in late} if self._stale_seconds else {}

    def doubt(self, sure: Callable[[], None]) -> None:
        """All facts may be old, as those of a backup are; `sure` is called once all other members were asked."""
        with self._lock:
            self._doubted, self._sure = (set() if self._stale_seconds else None), sure

    def begin(self) -> None:
        """Answering begins: what was known before was answered wrongly by nobody, so its bound runs from now on."""
        with self._lock:
            self._since = dict.fromkeys(self._since, self._now())

    def know(self, source: str, epochs: Iterable[Epoch]) -> None:
        """`source` has exactly these now."""
        with self._lock:
            former, present = self._known.get(source, {}), of_authorities(epochs)
            self._known[source] = present
            self._compare(each for each in former.keys() | present.keys() if former.get(each) != present.get(each))

    def know_of(self, source: str, authority_ids: Collection[str], epochs: Iterable[Epoch]) -> None:
        """The same of these CAs alone."""
        with self._lock:
            known, present = self._known.setdefault(source, {}), of_authorities(epochs)
            for each in authority_ids:
                known[each] = present.get(each, ())
            self._compare(authority_ids)

    def learn(self, source: str, epochs: Iterable[Epoch]) -> None:
        """`source` tells of these; what it told of before stays, where it is newer."""
        with self._lock:
            known = self._known.setdefault(source, {})
            changed: dict[str, dict[IssuingPointId, Epoch]] = {}
            for epoch in epochs:
                each, point = epoch.issuing_point.authority_id, epoch.issuing_point
                if each not in changed:
                    changed[each] = {one.issuing_point: one for one in known.get(each, ())}
                if is_newer(epoch, changed[each].get(point)):
                    changed[each][point] = epoch
            known.update({each: tuple(points.values()) for each, points in changed.items()})
            self._compare(changed)

    def forget(self, sources: Collection[str]) -> None:
        """These are no sources any more."""
        with self._lock:
            for source in sources:
                self._known.pop(source, None)
            self._since = {key: since for key, since in self._since.items() if key[0] not in sources}

    def serve(self, epochs: Epochs, changed: Collection[str] | None = None) -> None:
        """Every worker answers from these, or from newer ones; of other CAs than `changed` they are as before."""
        with self._lock:
            if epochs is self._served:
                return
            former, self._served = self._served, epochs
            self._compare(differing(former, epochs) if changed is None else changed)
            if self._doubted is not None:
                new = epochs.keys() - self._doubted
                self._doubted |= new
                self._unsure |= {one: self._indexes(one) for one in new}
            self._unsure = {one: was for one, was in self._unsure.items() if self._indexes(one) == was}

    def all_asked(self) -> None:
        """Every other member has just been asked: who is not known to be behind is sure again."""
        with self._lock:
            self._unsure = {one: was for one, was in self._unsure.items() if one in self._behind(0)}
            self._doubted, sure, self._sure = None, self._sure, None
        if sure is not None:
            sure()

    def late(self) -> frozenset[str]:
        """The ids of the CAs that are not to be answered for now."""
        if not self._stale_seconds:
            return frozenset()
        with self._lock:
            return frozenset({*self._behind(self._stale_seconds), *self._unsure, *self._not_served_yet()})

    def sources(self) -> frozenset[str]:
        """Who has told of something newer than what is served."""
        with self._lock:
            return frozenset(source for source, _ in self._since)

    def _not_served_yet(self) -> set[str]:
        """The ids of the CAs that are doubted and have not been served."""
        if self._doubted is None:
            return set()
        return {one for known in self._known.values() for one in known if one not in self._doubted}

    def _compare(self, authority_ids: Iterable[str]) -> None:
        """Begin or end the bound of the issuing points of these CAs, and drop what is served."""
        now, behind, ids = self._now(), set(), set(authority_ids)
        for each in ids:
            served = {epoch.issuing_point: epoch for epoch in self._served.get(each, ())}
            for source, known in self._known.items():
                for epoch in known.get(each, ()):
                    point = epoch.issuing_point
                    if is_newer(epoch, served.get(point)):
                        behind.add((source, point))
                        self._since.setdefault((source, point), now)
        self._since = {
            key: since for key, since in self._since.items() if key in behind or key[1].authority_id not in ids
        }

    def _behind(self, seconds: int) -> set[str]:
        now = self._now()
        return {point.authority_id for (_, point), since in self._since.items() if now - since >= seconds}

    def _indexes(self, authority_id: str) -> frozenset[tuple[str, str, str]]:
        return frozenset(epoch.essence for epoch in self._served.get(authority_id, ()))


def is_newer(epoch: Epoch, other: Epoch | None) -> bool:
    """Whether it is of a newer CRL than the other; None: there is none."""
    return other is None or (epoch.essence != other.essence and order(epoch) > order(other))


def of_authorities(epochs: Iterable[Epoch]) -> dict[str, tuple[Epoch, ...]]:
    """The epochs by the CA's id."""
    return {each: tuple(points.values()) for each, points in _by_point(epochs).items()}


def _by_point(epochs: Iterable[Epoch]) -> dict[str, dict[IssuingPointId, Epoch]]:
    known: dict[str, dict[IssuingPointId, Epoch]] = {}
    for epoch in epochs:
        known.setdefault(epoch.issuing_point.authority_id, {})[epoch.issuing_point] = epoch
    return known


def differing(former: Epochs, present: Epochs) -> set[str]:
    """The ids of the CAs whose epochs are other ones."""
    return {each for each in former.keys() | present.keys() if former.get(each) is not present.get(each)}
