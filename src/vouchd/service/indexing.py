"""The index files that the store's facts call for: built before an epoch is committed, rebuilt when they are missing.

Index files are derived: whatever happens to them they come back from the documents in the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vouchd.core import issued
from vouchd.core.changes import NEVER, Changes
from vouchd.core.facts import (
    Authority,
    AuthorityFacts,
    CRLRecord,
    Epoch,
    IssuingPointId,
    QuarantinedCRL,
    by_authority,
    in_order,
)
from vouchd.core.key_history import name_of
from vouchd.core.ports import IndexWriter, StatusStore
from vouchd.errors import CRLError, CRLRejected, IndexFileError, NotFound, StoreConflict
from vouchd.pkix.der import Buffer
from vouchd.service.admitting import Admitted, Admitting, Refusal

_ATTEMPTS = 5


def _overlook(epochs: Iterable[Epoch]) -> None:
    """Nobody in this process serves."""


class EntryCounts(NamedTuple):
    """How many serials base and delta of an epoch list, and how many entries there are; None: there is no delta."""

    base: int
    delta: int | None
    together: int


@dataclass(frozen=True, slots=True)
class ServingFacts:
    """What the store said at one `revision`, as far as it was admitted, with every index file it calls for in place.

    `stored` is as the store has it, `served` as it may be answered from, both by the CA's id; of other CAs than
    `concerned` nothing changed since the facts before. `refusals` are of the epochs that were not admitted, or whose
    index cannot be made any more. `lost` are the ids of CAs of which an epoch should be served whose index can neither
    be read nor made again: they cannot be answered for. `rebuilt` are those of which a file was made again.
    `quarantined` are the CRLs held back.
    """

    revision: int
    stored: Mapping[str, AuthorityFacts]
    served: Mapping[str, AuthorityFacts]
    concerned: frozenset[str]
    refusals: tuple[Refusal, ...] = ()
    lost: frozenset[str] = frozenset()
    rebuilt: frozenset[str] = frozenset()
    quarantined: Mapping[IssuingPointId, QuarantinedCRL] = field(default_factory=dict)

    @property
    def authorities(self) -> tuple[Authority, ...]:
        """All CAs."""
        return tuple(facts.authority for facts in self.served.values())

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """All that are served."""
        return tuple(epoch for facts in self.served.values() for epoch in facts.epochs)


class Indexing:
    """Keeps the folder behind `writer` in step with `store`."""

    def __init__(self, store: StatusStore, writer: IndexWriter, admitting: Admitting | None = None) -> None:
        """Without `admitting` whatever is in the store is taken for verified.

        `known` is called with ids of CAs and all of their epochs in the store that have to be served, as soon as they
        are read; `accepted` with those that were taken in here. The process that serves sets them.
        """
        self._store = store
        self._writer = writer
        self.admitting = admitting
        self.known: Callable[[Collection[str], Iterable[Epoch]], None] = lambda *_: None
        self.accepted: Callable[[Iterable[Epoch]], None] = _overlook

    def build(self, authority: Authority, epoch: Epoch, document: Callable[[CRLRecord], Buffer]) -> EntryCounts:
        """Write the index files of `epoch` that are not there; `document` gives DER of its CRLs where it is wanted.

        A base that is there stays as it is under a new delta. Raises: CRLRejected, StoreUnavailable; what `document`
        raises.
        """
        try:
            return self._built(authority, epoch, document)
        except IndexFileError:  # what was there is damaged
            for name in epoch.index_names:
                self._discard_damaged(name)
            return self._built(authority, epoch, document)

    def _built(self, authority: Authority, epoch: Epoch, document: Callable[[CRLRecord], Buffer]) -> EntryCounts:
        base, *changes = [self.build_of(authority, epoch, record, document) for record in epoch.records]
        if not changes:
            return EntryCounts(base, None, base)
        return EntryCounts(base, changes[0], self._writer.count(epoch.index_names))

    def build_of(
        self, authority: Authority, epoch: Epoch, record: CRLRecord, document: Callable[[CRLRecord], Buffer]
    ) -> int:
        """The same for one of its CRLs; returns how many serials that lists."""
        names = epoch.index_names
        name = names.changes if record is epoch.delta else names.base
        return self._writer.write(name, lambda: document(record), name_of(authority))

    def difference(self, old: Epoch, new: Epoch) -> tuple[int, int, int]:
        """How many serials the new epoch lost, how many it gained, and how many the old one has."""
        return self._writer.difference(old.index_names, new.index_names)

    def missing(self, old: Epoch, new: Epoch, limit: int) -> tuple[bytes, ...]:
        """At most `limit` serials (DER INTEGER content octets) that the old epoch has and the new one lacks."""
        return self._writer.missing(old.index_names, new.index_names, limit)

    def document(self, record: CRLRecord) -> Buffer:
        """The bytes of a stored CRL, put together without holding them twice.

        Raises: NotFound; CRLRejected when the store has other bytes under its name.
        """
        document = bytearray()
        for chunk in self._store.document_chunks(record.sha256):
            document += chunk
        if hashlib.sha256(document).hexdigest() != record.sha256:
            raise CRLRejected("the CRL in the store is not the one that its facts name")
        return document

    def doubt(self, names: Iterable[str]) -> None:
        """Read these index files through when they are wanted next: what was read of them was wrong."""
        for name in names:
            self._writer.doubt(name)

    def is_indexed(self, epoch: Epoch) -> bool:
        """Whether the index files of the epoch are there and whole, so that none of its CRLs is wanted for them."""
        return self._writer.is_intact(epoch.index_names.whole) or all(map(self._writer.is_intact, _parts(epoch)))

    def ensure_index(self, authority: Authority, epoch: Epoch) -> bool:
        """Rebuild the index of `epoch` from the store's documents where it is missing or damaged; whether it was.

        Raises: NotFound when the epoch is no longer current and its documents are gone; CRLRejected when they are
        others.
        """
        names = epoch.index_names
        if self._writer.is_intact(names.whole):
            return False
        self._writer.remove(names.whole)
        missing = [name for name in _parts(epoch) if not self._writer.is_intact(name)]
        for name in missing:
            self._writer.remove(name)
        if missing:
            self.build(authority, epoch, self.document)
        return bool(missing)

    def _discard_damaged(self, name: str) -> None:
        self._writer.doubt(name)
        if name and not self._writer.is_intact(name):
            self._writer.remove(name)

    def ensure_serials(self, authority: Authority) -> bool:
        """The same for the issued serials of a CA that keeps such a list."""
        sha256 = authority.policy.issued_serials
        if sha256 is None or self._writer.is_intact(issued.index_name(sha256)):
            return False
        self._writer.remove(issued.index_name(sha256))
        serials = issued.document_serials(self._store.document_chunks(sha256))
        self._writer.write_serials(issued.index_name(sha256), serials)
        return True

    def prepare(self, former: ServingFacts | None = None, suspects: Collection[str] = ()) -> ServingFacts:
        """The facts to serve, all of one revision, with every index file in place.

        With the `former` ones it costs what changed: CAs of which the store has nothing else are as they were, but for
        those of the ids `suspects`, whose files are looked at again. Without them everything is looked at.

        Raises: StoreConflict when the store changes faster than it can be read; StoreUnavailable.
        """
        for _ in range(_ATTEMPTS):
            changes = self._store.changes(former.revision if former else NEVER)
            stored, changed = revised(former.stored if former else {}, changes)
            if former is not None:
                changed |= {*suspects, *former.lost, *(refusal.point.authority_id for refusal in former.refusals)}
            try:
                facts = self._admitted(changes.revision, stored, changed, former)
            except NotFound:
                continue  # an epoch was replaced meanwhile and took its documents with it
            return replace(facts, quarantined=_held_back(former.quarantined if former else {}, changes))
        raise StoreConflict("the store keeps changing", hint="this passes when CRLs come in more slowly")

    def collect_garbage(self) -> frozenset[str]:
        """Remove the index files that nothing served and no current epoch or policy names; returns their names.

        To be called when no worker is about to load an older manifest and nobody is accepting a CRL.
        """
        served = self.admitting.served.epochs if self.admitting else ()
        present = self._writer.names()
        named = _named((*self._store.epochs(), *served), present)
        policies = [authority.policy for authority in self._store.authorities()]
        named |= {issued.index_name(policy.issued_serials) for policy in policies if policy.issued_serials}
        return self._remove(present - named)

    def collect_replaced(self, replaced: Mapping[str, Collection[str]]) -> frozenset[str]:
        """The same of these files alone, by the id of their CA: it costs as much as there are."""
        garbage: set[str] = set()
        for each, names in replaced.items():
            facts = self.admitting.served.facts.get(each) if self.admitting else None
            present = {name for name in names if self._writer.is_present(name)}
            epochs = (*self._store.epochs_of(each), *(facts.epochs if facts else ()))
            garbage |= present - _named(epochs, present)
        return self._remove(garbage)

    def _remove(self, names: Iterable[str]) -> frozenset[str]:
        for name in (garbage := frozenset(names)):
            self._writer.remove(name)
        return garbage

    def fold(self, epoch: Epoch) -> None:
        """Put the delta of a served epoch into its base, as one file. Raises: IndexFileError, StoreUnavailable."""
        self._writer.fold(epoch.index_names)

    def standing(self, authority: Authority, current: Epoch | None) -> Epoch | None:
        """What a new CRL has to follow: the store's current epoch, or where that is not admitted the served one."""
        if current is None or self.admitting is None:
            return current
        return self.admitting.standing(authority, current, self)

    def high_water(self, point: IssuingPointId, standing: Epoch | None) -> tuple[int | None, int]:
        """The highest CRL number and thisUpdate that were in use; a mark of what is not admitted decides nothing."""
        return self._store.high_water(point) if standing is None else standing.high_water

    def vouch(self, authority: Authority, epoch: Epoch) -> None:
        """The epoch was judged by the caller, who takes it in once this returns."""
        if self.admitting is not None:
            self.admitting.vouch(authority, epoch)

    def _admitted(
        self, revision: int, stored: Mapping[str, AuthorityFacts], concerned: set[str], former: ServingFacts | None
    ) -> ServingFacts:
        present = {each: facts for each in concerned if (facts := stored.get(each)) is not None}
        rebuilt = {each for each, facts in present.items() if self.ensure_serials(facts.authority)}
        if self.admitting is None:
            admitted = Admitted(tuple(epoch for facts in present.values() for epoch in facts.epochs))
        else:
            admitted = self.admitting.admit(present, self, removed=concerned - present.keys())
        self.known(concerned, admitted.known)
        lost, unreadable = set[Epoch](), list[Refusal]()
        for epoch in admitted.epochs:
            each = epoch.issuing_point.authority_id
            try:
                if self.ensure_index(present[each].authority, epoch):
                    rebuilt.add(each)
            except CRLError as error:  # it was admitted, but what it has to be made of anew is not it any more
                why = f"its index is lost, and cannot be made again: {error}; have the CA publish a new one"
                unreadable.append(Refusal(epoch.issuing_point, present[each].authority.label, epoch, why))
                lost.add(epoch)
            except NotFound:
                if epoch.issuing_point not in admitted.kept:
                    raise
                lost.add(epoch)
        epochs = [epoch for epoch in admitted.epochs if epoch not in lost]
        served = dict(former.served) if former else {}
        for each in concerned - present.keys():
            served.pop(each, None)
        admissible = by_authority((facts.authority for facts in present.values()), epochs)
        served |= {each: present[each] if facts == present[each] else facts for each, facts in admissible.items()}
        return ServingFacts(
            revision,
            stored,
            served,
            frozenset(concerned),
            (*admitted.refusals, *unreadable),
            frozenset(epoch.issuing_point.authority_id for epoch in lost),
            frozenset(rebuilt),
        )


def _held_back(
    known: Mapping[IssuingPointId, QuarantinedCRL], changes: Changes
) -> dict[IssuingPointId, QuarantinedCRL]:
    """The CRLs held back that were `known`, with what changed since."""
    now = {point: facts.quarantined for point, facts in changes.points.items()}
    every = now if changes.whole else {**known, **now}
    return {point: crl for point, crl in every.items() if crl is not None}


def revised(known: Mapping[str, AuthorityFacts], changes: Changes) -> tuple[dict[str, AuthorityFacts], set[str]]:
    """The facts that were `known`, with what changed since, and the ids of the CAs of which something did."""
    facts = {} if changes.whole else dict(known)
    points: dict[str, dict[IssuingPointId, Epoch | None]] = {each: {} for each in changes.authorities}
    for point, now in changes.points.items():
        points.setdefault(point.authority_id, {})[point] = now.epoch
    for each, changed in points.items():
        former = facts.get(each)
        authority = changes.authorities.get(each, former.authority if former else None)
        if authority is None:
            facts.pop(each, None)
            continue
        epochs: dict[IssuingPointId, Epoch | None] = {}
        if former is not None:
            epochs = {epoch.issuing_point: epoch for epoch in former.epochs}
        present = in_order(filter(None, (epochs | changed).values()))
        facts[each] = AuthorityFacts(authority, present)
    if changes.whole:
        return facts, {each for each in known.keys() | facts.keys() if known.get(each) != facts.get(each)}
    return facts, set(points)


def _parts(epoch: Epoch) -> tuple[str, ...]:
    names = epoch.index_names
    return (names.base, names.changes) if names.changes else (names.base,)


def _named(epochs: Iterable[Epoch], present: Collection[str]) -> set[str]:
    """The files that these epochs are, or may yet be, read from; `present` are those that are there."""
    named: set[str] = set()
    for epoch in epochs:
        names = epoch.index_names
        # Changes that were folded are not read any more; their base is for the next delta.
        named |= {names.whole, names.base} if names.whole in present else {names.base, names.changes}
    return named
