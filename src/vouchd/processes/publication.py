"""From the store's facts to the files that the workers load: index files, then the manifest that names them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from vouchd.core.facts import AuthorityFacts, Epoch, by_authority
from vouchd.core.ports import Clock, StatusStore
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import IndexFileError, StoreError
from vouchd.index.layers import LayeredIndex
from vouchd.index.manifest import Difference, Manifest, ManifestWriter
from vouchd.index.serving import OpenIndexes
from vouchd.instance.report import HeldCRL, ServedPoint, UncoveredCA
from vouchd.processes.store_watch import Published
from vouchd.service.cover import cover_notice
from vouchd.service.indexing import Indexing, ServingFacts
from vouchd.service.tracing import NO_TRACING, Tracing, WorkersTrace

_log = logging.getLogger(__name__)

# A delta that has stood for a second for so many entries, and for the least, is folded into its base.
FOLDED_A_SECOND = 10_000
LEAST_SECONDS = 10
_SWEPT_AT_ONCE = 100
_NANOSECONDS = 10**9


class ManifestPublication:
    """Keeps the index folder in step with the store; implements `processes.store_watch.Publication`.

    The version counts on from the manifest on disk, also over restarts. `quiet` is entered to remove files: it gives
    True while nobody accepts a CRL and keeps it so until it is left. `behind` tells the ids of the CAs of which another
    member of the set has a newer CRL: they are not answered for.

    What is published costs what changed: facts, states, files and what is shown are kept by CA.
    """

    def __init__(
        self,
        store: StatusStore,
        indexing: Indexing,
        directory: Path,
        quiet: Callable[[], AbstractContextManager[bool]],
        behind: Callable[[], frozenset[str]] = frozenset,
        clock: Clock | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        """Without a `clock` no delta is folded."""
        self._store = store
        self._indexing = indexing
        self._quiet = quiet
        self._behind = behind
        self._clock = clock
        self._tracing = tracing
        self.workers_trace = WorkersTrace(tracing)
        self._prepared: ServingFacts | None = None
        self._facts: Mapping[str, AuthorityFacts] = {}  # as published
        self._marked: frozenset[str] = frozenset()  # as behind
        self._files = OpenIndexes(directory)
        self._manifest = Manifest(directory, self._files)
        self._writer = ManifestWriter(directory)
        self._tried = 0  # the highest version that was written, or was to be
        self._published = Published(0)
        self._read = False  # whether what an earlier process published has been
        self._shown: dict[str, _Shown] = {}
        self._foldable: dict[str, tuple[Epoch, ...]] = {}
        self._fold_at = math.inf
        self._reopened: set[str] = set()  # CAs of which files are to be opened anew
        self._suspects: set[str] = set()
        self._suspect_all = False
        self._renewed = False  # the manifest is to be written anew
        self._repairs = 0
        self._replaced: dict[str, set[str]] = {}  # files that nothing may name any more, by the id of their CA
        self._unswept = math.inf  # publications since all files were looked at
        self.state = ServingState(0, ())  # what was published last, as the workers load it

    @property
    def epochs(self) -> Mapping[str, tuple[Epoch, ...]]:
        """What was published last, by the CA's id; of a CA of which nothing changed it is the same object."""
        return self._published.epochs

    def revision(self) -> int:
        """See Publication."""
        return self._store.revision()

    def current(self) -> Published:
        """See Publication; a damaged manifest or index counts as none, `publish` makes it anew."""
        if self._read or self._published.version:  # nobody else writes it
            return self._published
        self._read = True
        try:
            state = self._manifest.load(self._stored())
            shown = _shown(self._files.serving, self._manifest.facts.keys())
        except IndexFileError as error:
            _log.info("nothing to serve yet: %s", error)
        else:
            self._tried = state.version
            self._remember(state, self._manifest.facts, shown)
            if self._indexing.admitting is not None and not self._manifest.is_former:
                self._indexing.admitting.resume(self._manifest.facts)
        return self._published

    def _stored(self) -> Mapping[str, AuthorityFacts]:
        """The facts of the store, while it can be reached: they need not be there twice until all is published."""
        try:
            return by_authority(self._store.authorities(), self._store.epochs())
        except StoreError:
            return {}

    def suspect(self, names: Iterable[str]) -> None:
        """See Publication."""
        self._suspects.update(names)

    def suspect_all(self, *, manifest: bool = False) -> None:
        """See Publication."""
        self._suspect_all = True
        self._renewed = self._renewed or manifest

    @property
    def doubtful(self) -> bool:
        """See Publication."""
        if self._suspects or self._suspect_all or self._files.damaged or self._reopened:
            return True
        admitting = self._indexing.admitting
        return admitting is not None and admitting.is_due(self._published.refusals)

    def publish(self) -> Published:
        """See Publication; a file of which octets were wrong is made again, and everybody opens it anew."""
        self._suspects |= self._files.damaged
        suspects, everything = frozenset(self._suspects), self._suspect_all
        self._indexing.doubt(suspects)
        owners = self._owners(suspects)
        prepared = self._indexing.prepare(None if everything else self._prepared, owners)
        if suspects:
            self._repairs += len(suspects)
            self._reopened |= owners
            _log.error("damaged index files, made again from the store: %s", ", ".join(sorted(suspects)))
        self._reopened |= prepared.rebuilt
        self._publish(prepared.served, prepared.concerned, prepared.lost)
        self._prepared = prepared
        crls = sorted(prepared.quarantined.values(), key=lambda crl: (crl.received_at, crl.issuing_point))
        labels = dict(self._published.labels) if crls else {}
        quarantined = tuple(HeldCRL.of(crl, labels.get(crl.issuing_point.authority_id, "")) for crl in crls)
        self._published = replace(self._published, quarantined=quarantined, refusals=prepared.refusals)
        self._suspects -= suspects
        self._suspect_all = self._suspect_all and not everything
        return self._published

    def retell(self) -> Published:
        """See Publication."""
        if self._prepared is not None:
            self._publish(self._facts, (), self._prepared.lost)
        elif self._published.version:
            self._publish(self._facts, (), frozenset())
        return self._published

    def _publish(self, served: Mapping[str, AuthorityFacts], concerned: Collection[str], lost: Collection[str]) -> None:
        """Have these facts served, of which those of other CAs than `concerned` are as published."""
        marked = (self._behind() | frozenset(lost)) & served.keys()
        ids = {*concerned, *(marked ^ self._marked)}
        before, after = self._facts, dict(self._facts)
        for each in ids:
            if each in served:
                facts, behind = served[each], each in marked
                after[each] = facts if facts.behind is behind else facts._replace(behind=behind)
            else:
                after.pop(each, None)
        reopened = frozenset(self._reopened) & after.keys()
        changed = {each for each in ids if before.get(each) != after.get(each)}
        if changed or reopened or self._renewed or not self._published.version:
            self._write(before, after, changed, reopened)
        if before and len(concerned) == len(after):  # everything was read anew
            self._adopt(after)
        if self._indexing.admitting is not None:
            self._indexing.admitting.serve(after, changed)
        self._reopened -= reopened
        self._renewed = False

    def _adopt(self, facts: Mapping[str, AuthorityFacts]) -> None:
        """Hold the store's facts alone, and not beside them the equal ones that the manifest had at the start."""
        self._facts, self.state = facts, self._files.adopt(self.state, facts)
        self._manifest = Manifest(self._files.folder, self._files)
        self._published = replace(self._published, epochs={each: one.epochs for each, one in facts.items()})

    def _write(
        self,
        before: Mapping[str, AuthorityFacts],
        after: Mapping[str, AuthorityFacts],
        changed: Collection[str],
        reopened: Collection[str],
    ) -> None:
        begin = self._tracing.now_ns()
        self._tried = version = max(self._tried, self._published.version) + 1
        first = not self._published.version
        state = self._files.state(version, after, None if first else {*changed, *reopened}, reopened)
        shown = _shown(self._files.serving, {*changed, *reopened})
        difference = Difference.between(version, before, after, reopened, changed)
        self._writer.write((self._published.version, before), after, difference, anew=self._renewed)
        self._remember(state, after, shown)
        if not first:
            self._tell(version, begin, before, after, changed)
        _log.info("serving manifest %d: %d CAs, %d of them changed", version, len(after), len(changed))

    def _tell(
        self,
        version: int,
        begin_ns: int,
        before: Mapping[str, AuthorityFacts],
        after: Mapping[str, AuthorityFacts],
        changed: Collection[str],
    ) -> None:
        """Say that CRLs were published, and since when those were known that another process or member took in."""
        new = {crl: epoch for each in changed if each in after for crl, epoch in _newest(after[each]).items()}
        old = {crl for each in changed if each in before for crl in _newest(before[each])}
        for crl in new.keys() - old:
            seconds = max(0, begin_ns // _NANOSECONDS - new[crl].accepted_at)
            self._tracing.past(crl, "published", begin_ns, manifest=version, seconds_since_acceptance=seconds)
        self.workers_trace.publish(version, new.keys() - old)

    @property
    def has_folds(self) -> bool:
        """See Publication."""
        return self._clock is not None and self._fold_at <= self._clock.now()

    def fold(self) -> bool:
        """See Publication."""
        if self._clock is None or not self.has_folds:
            return False
        now = self._clock.now()
        foldable = list(self._foldable.items())  # of which there may be others while this goes on
        due = [(each, epoch) for each, epochs in foldable for epoch in epochs if folds_at(epoch) <= now]
        for each, epoch in due:
            try:
                self._indexing.fold(epoch)
            except StoreError as error:  # it is answered from as it is
                _log.warning("a delta CRL cannot be folded into its base now: %s", error)
            else:
                self._reopened.add(each)
            self._foldable[each] = tuple(one for one in self._foldable.get(each, ()) if one != epoch)
        self._expect_folds()
        return bool(due)

    def tidy(self) -> bool:
        """See Publication; all files are looked at once for so many publications as there are hundreds of CAs."""
        with self._quiet() as quiet:
            if not quiet:
                return False
            if self._unswept * _SWEPT_AT_ONCE >= len(self._facts):
                removed = self._indexing.collect_garbage()
                self._unswept = 0
            else:
                removed = self._indexing.collect_replaced(self._replaced)
            self._replaced = {}
            if self._indexing.admitting is not None:
                self._indexing.admitting.settle()
        if removed:
            _log.info("removed %d index files that nothing names any more", len(removed))
        return True

    def _owners(self, names: Collection[str]) -> frozenset[str]:
        """The ids of the CAs whose index files these are."""
        if not names:
            return frozenset()
        return frozenset(
            each
            for each, facts in self._facts.items()
            if any(not set(epoch.index_names).isdisjoint(names) for epoch in facts.epochs)
            or (facts.authority.policy.issued_serials or "-") + ".ser" in names
        )

    def _remember(
        self,
        state: ServingState,
        facts: Mapping[str, AuthorityFacts],
        changed: Mapping[str, _Shown],
    ) -> None:
        """What is published; of other CAs than `changed`, with what is shown of them, all is as it was."""
        for each in changed:
            before = _names(self._facts.get(each))
            if before and (replaced := before - _names(facts.get(each))):
                self._replaced.setdefault(each, set()).update(replaced)
        self._unswept += 1
        relabelled = any(_label(self._facts, each) != _label(facts, each) for each in changed)
        self.state, self._facts = state, facts
        gone = {each for each in changed if each not in facts}
        marked = {each for each in changed if each in facts and facts[each].behind}
        self._marked = (self._marked - changed.keys()) | marked
        epochs = dict(self._published.epochs)
        for each, shown in changed.items():
            if each in gone:
                for known in (self._shown, epochs):
                    known.pop(each, None)
            else:
                self._shown[each] = shown
                epochs[each] = facts[each].epochs
            self._foldable.pop(each, None)
            if shown.layered:
                self._foldable[each] = shown.layered
        if relabelled:
            by_id = sorted((each, one.authority.label) for each, one in facts.items())
            self._published = replace(self._published, labels=tuple(by_id))
        self._expect_folds()
        in_order = [self._shown[one.authority.id] for one in state.authorities]
        self._published = replace(
            self._published,
            version=state.version,
            points=tuple(chain.from_iterable([one.points for one in in_order])),
            uncovered=tuple([one.uncovered for one in in_order if one.uncovered is not None]),
            behind=self._marked,
            repairs=self._repairs,
            epochs=epochs,
            former=self._published.version,
            changed=frozenset(changed),
        )

    def _expect_folds(self) -> None:
        due = (folds_at(epoch) for epochs in list(self._foldable.values()) for epoch in epochs)
        self._fold_at = min(due, default=math.inf)


def folds_at(epoch: Epoch) -> int:
    """When a delta that stays is folded into its base, POSIX seconds: so late that it takes a small fixed share."""
    return epoch.accepted_at + max(LEAST_SECONDS, epoch.entry_count // FOLDED_A_SECOND)


def _label(facts: Mapping[str, AuthorityFacts], authority_id: str) -> str | None:
    known = facts.get(authority_id)
    return known.authority.label if known is not None else None


def _names(facts: AuthorityFacts | None) -> set[str]:
    """Of the index files of a CA."""
    return {name for epoch in facts.epochs for name in epoch.index_names if name} if facts else set()


class _Shown(NamedTuple):
    """What is shown of one CA; `layered` are its epochs that are answered from two files."""

    points: tuple[ServedPoint, ...] = ()
    uncovered: UncoveredCA | None = None
    layered: tuple[Epoch, ...] = ()


def _shown(serving: Mapping[str, ServingAuthority], ids: Collection[str]) -> dict[str, _Shown]:
    """What is shown of these CAs. Raises: IndexFileError."""
    shown = dict.fromkeys(ids, _Shown())
    for each in ids:
        served = serving.get(each)
        if served is not None:
            shown[each] = _Shown(
                tuple(
                    ServedPoint.of(point.epoch, served.authority.label, len(point.index), point.index.size_bytes)
                    for point in served.points
                ),
                _uncovered(served),
                tuple(point.epoch for point in served.points if isinstance(point.index, LayeredIndex)),
            )
    return shown


def _uncovered(served: ServingAuthority) -> UncoveredCA | None:
    epochs = [point.epoch for point in served.points]
    if not any(epoch.idp_der for epoch in epochs):  # a CRL without it speaks for all
        return None
    notice, mend = cover_notice(served.authority, epochs)
    return UncoveredCA(served.authority.label, notice, mend) if notice else None


def _newest(facts: AuthorityFacts) -> dict[str, Epoch]:
    """The newest CRL of each of its issuing points, by its SHA-256."""
    return {epoch.newest.sha256: epoch for epoch in facts.epochs}
