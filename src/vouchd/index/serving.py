"""The index files that answers are made from, open: each once, and not again while a new state names the same file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from vouchd.core import issued
from vouchd.core.facts import AuthorityFacts, Epoch
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.errors import IndexFileError
from vouchd.index.format import KeyedFile, SerialSetFile
from vouchd.index.layers import LayeredIndex, open_index
from vouchd.index.octets import HINT, FileIdentity, Octets, PositionedOctets
from vouchd.index.partitions import MergedPoints
from vouchd.pkix.scope import Scope
from vouchd.service.indexing import ServingFacts

File = TypeVar("File", bound=KeyedFile)


class OpenIndexes:
    """The files of `folder`, opened with `octets`, behind the state that was made last; `merged`: look-ups are many.

    `damaged` are the names of files whose octets were not those that were written, until they are opened anew.
    """

    def __init__(
        self, folder: Path, octets: Callable[[Path], Octets] = PositionedOctets, *, merged: bool = False
    ) -> None:
        self.folder = folder
        self._merged = merged
        self.damaged: set[str] = set()
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
        state = ServingState(version, tuple([serving[each] for each in order]), self._version, frozenset(changed))
        self._version, self._serving, self._order = version, serving, order
        return state

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
        path = self.folder / name
        file = files.get(name)
        if type(file) is not kind or name in self.damaged or file.identity != _identity(path):
            file = kind(path, octets=self._octets, damaged=self.damaged.add)
            self.damaged.discard(name)
        return file


def open_state(facts: ServingFacts, folder: Path) -> ServingState:
    """What the workers answer from once they have loaded `facts`; its version is the store's revision.

    Raises: IndexFileError.
    """
    return OpenIndexes(folder).state(facts.revision, facts.served)


def _files(serving: ServingAuthority | None) -> dict[str, KeyedFile]:
    """The open files of a CA by their names."""
    if serving is None:
        return {}
    files: list[object] = [serving.issued]
    for point in serving.points:
        index = point.index
        files += (index.base, index.changes) if isinstance(index, LayeredIndex) else (index,)
    return {file.name: file for file in files if isinstance(file, KeyedFile)}


def _identity(path: Path) -> FileIdentity:
    try:
        return FileIdentity.of(path.stat())
    except OSError as error:
        raise IndexFileError(f"{path}: {error.strerror}", hint=HINT) from error
