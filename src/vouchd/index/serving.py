"""The index files that answers are made from, open: each once, and not again while a new state names the same file.

Of a CA that has many issuing points one look-up says which of them may list a serial (`MergedPoints`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vouchd.core import issued
from vouchd.core.facts import AuthorityFacts, Epoch
from vouchd.core.ports import RevocationIndex
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.errors import IndexFileError
from vouchd.index.format import KeyedFile, RevocationIndexFile, SerialSetFile
from vouchd.index.layers import LayeredIndex, open_index
from vouchd.index.octets import Octets, PositionedOctets, identity_of
from vouchd.pkix.scope import Scope
from vouchd.service.indexing import ServingFacts

MANY_POINTS = 16
SMALL_ENTRIES = 4096
_FEW_FORMER = 10_000


class MergedPoints:
    """Which of a CA's many issuing points list a serial (port Partitions): one look-up in place of one in each.

    A CA that partitions its CRLs may have ten thousand points, of which hardly one lists a serial. Here the serials of
    all that are small stand in one dictionary with the scopes that list them; large ones are still asked one by one,
    since their entries would take too much memory, and they are few.

    What a look-up gives is a candidate alone: what counts is what the point's own index says. So it does no harm that
    entries of a former epoch stay while others are added, as happens while an old state is still answered from: it only
    ever grows. When most are of former epochs all is made anew, as another object.
    """

    def __init__(self) -> None:
        self._scopes: dict[int, tuple[str, ...]] = {}
        self._files: dict[int, RevocationIndexFile] = {}  # by identity, which they keep as long as they are here
        self.count = 0

    @classmethod
    def of(cls, points: tuple[ServingPoint, ...], former: MergedPoints | None) -> MergedPoints | None:
        """The look-up for these points, made from the one for those before; None where they are few."""
        if len(points) < MANY_POINTS:
            return None
        small = [(point.epoch.issuing_point.scope_id, point.index) for point in points]
        files = [(scope_id, index) for scope_id, index in small if type(index) is RevocationIndexFile]
        files = [(scope_id, index) for scope_id, index in files if len(index) <= SMALL_ENTRIES]
        entries = sum(len(index) for _, index in files)
        merged = cls() if former is None or former.count > 2 * entries + _FEW_FORMER else former
        merged.add(files)
        return merged

    def add(self, files: Iterable[tuple[str, RevocationIndexFile]]) -> None:
        """Take in the entries of files, each with its scope id."""
        for scope_id, file in files:
            if id(file) in self._files:
                continue
            try:
                keys = file.keys(0, len(file), file.key_width)
            except IndexFileError:  # the point is asked by itself, and says so
                continue
            own = (scope_id,)
            for key in keys:
                serial = int.from_bytes(key, "big", signed=True)
                others = self._scopes.get(serial)
                if others is None:
                    self._scopes[serial] = own
                elif scope_id not in others:
                    self._scopes[serial] = others + own
            self.count += len(keys)
            self._files[id(file)] = file  # last: only now it is complete

    def holds(self, index: RevocationIndex) -> bool:
        """See Partitions."""
        return id(index) in self._files

    def scopes(self, serial: bytes) -> tuple[str, ...]:
        """See Partitions."""
        return self._scopes.get(int.from_bytes(serial, "big", signed=True), ())


File = TypeVar("File", bound=KeyedFile)


class OpenIndexes:
    """The files of `folder`, opened with `octets`, behind the state that was made last; `merged`: look-ups are many.

    `damaged` are the names of files whose octets were not those that were written, until they are opened anew.
    """

    def __init__(
        self, folder: Path, octets: Callable[[str], Octets] = PositionedOctets, *, merged: bool = False
    ) -> None:
        self.folder = folder
        self._merged = merged
        self.damaged: set[str] = set()
        self._report_damage = self.damaged.add  # one for all files
        self._octets = octets
        self._version = 0
        self._serving: dict[str, ServingAuthority] = {}
        self._order: list[str] = []  # ids by label and id

    @property
    def serving(self) -> Mapping[str, ServingAuthority]:
        """The CAs of the state that was made last, by id."""
        return self._serving

    def state(
        self,
        version: int,
        facts: Mapping[str, AuthorityFacts],
        concerned: Collection[str] | None = None,
        reopened: Collection[str] = (),
    ) -> ServingState:
        """What is answered from these facts, of which those of other CAs than `concerned` are as they were (None: any).

        Of `reopened` CAs, and of all where any may be other, files are opened anew that are not the same any more.
        Raises: IndexFileError; what was open before stays so.
        """
        ids = self._serving.keys() | facts.keys() if concerned is None else concerned
        serving, changed, labels = dict(self._serving), set[str](), False
        for each in ids:
            former, one = serving.get(each), facts.get(each)
            if one is None:
                serving.pop(each, None)
                labels = labels or former is not None
            else:
                serving[each] = self._served(one, former, anew=concerned is None or each in reopened)
                labels = labels or former is None or former.authority.label != one.authority.label
            if serving.get(each) != former:
                changed.add(each)
        order = self._order
        if labels:
            order = sorted(serving, key=lambda each: (serving[each].authority.label, each))
        authorities = tuple([serving[each] for each in order])
        state = ServingState(version, authorities, self._version, frozenset(changed), serving)
        self._version, self._serving, self._order = version, serving, order
        return state

    def adopt(self, state: ServingState, facts: Mapping[str, AuthorityFacts]) -> ServingState:
        """The state that was made last of these facts, which are equal to its own: they need not be there twice."""
        self._serving = {each: _with(serving, facts[each]) for each, serving in self._serving.items()}
        authorities = tuple([self._serving[each] for each in self._order])
        return replace(state, authorities=authorities, by_id=self._serving)

    def _served(self, facts: AuthorityFacts, former: ServingAuthority | None, *, anew: bool) -> ServingAuthority:
        files = _files(former)
        points = {point.epoch.issuing_point: point for point in former.points} if former else {}

        def served(epoch: Epoch) -> ServingPoint:
            point = points.get(epoch.issuing_point)
            same = point is not None and point.epoch == epoch
            if point is not None and same and not anew:
                return point
            index = open_index(self.folder, epoch.index_names, lambda kind, name: self._open(kind, name, files))
            return ServingPoint(epoch, index, Scope.from_idp(epoch.idp_der))

        sha256 = facts.authority.policy.issued_serials
        serials = self._open(SerialSetFile, issued.index_name(sha256), files) if sha256 else None
        opened = tuple([served(epoch) for epoch in facts.epochs])
        before = former.partitions if former is not None and isinstance(former.partitions, MergedPoints) else None
        partitions = MergedPoints.of(opened, before) if self._merged else None
        return ServingAuthority(facts.authority, opened, serials, behind=facts.behind, partitions=partitions)

    def _open(self, kind: type[File], name: str, files: Mapping[str, KeyedFile]) -> File:
        path = f"{self.folder}/{name}"
        file = files.get(name)
        if type(file) is not kind or name in self.damaged or file.identity != identity_of(path):
            file = kind(path, octets=self._octets, damaged=self._report_damage)
            self.damaged.discard(name)
        return file


def open_state(facts: ServingFacts, folder: Path) -> ServingState:
    """What the workers answer from once they have loaded `facts`; its version is the store's revision.

    Raises: IndexFileError.
    """
    return OpenIndexes(folder).state(facts.revision, facts.served)


def _with(serving: ServingAuthority, facts: AuthorityFacts) -> ServingAuthority:
    """The same CA, of facts that are equal to its own."""
    points = [replace(point, epoch=epoch) for point, epoch in zip(serving.points, facts.epochs, strict=True)]
    return replace(serving, authority=facts.authority, points=tuple(points))


def _files(serving: ServingAuthority | None) -> dict[str, KeyedFile]:
    """The open files of a CA by their names."""
    if serving is None:
        return {}
    files: list[object] = [serving.issued]
    for point in serving.points:
        index = point.index
        files += (index.base, index.changes) if isinstance(index, LayeredIndex) else (index,)
    return {file.name: file for file in files if isinstance(file, KeyedFile)}
