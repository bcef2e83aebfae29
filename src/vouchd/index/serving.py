"""The index files that answers are made from, open: each once, and not again while a new state names the same file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

from vouchd.core import issued
from vouchd.core.facts import Authority, Epoch
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.errors import IndexFileError
from vouchd.index.format import KeyedFile, RevocationIndexFile, SerialSetFile
from vouchd.index.layers import open_index
from vouchd.index.octets import HINT, FileIdentity, Octets, PositionedOctets
from vouchd.pkix.scope import Scope
from vouchd.service.indexing import ServingFacts

File = TypeVar("File", bound=KeyedFile)


class OpenIndexes:
    """The files of `folder`, opened with `octets`.

    `damaged` are the names of files whose octets were not those that were written, until they are opened anew.
    """

    def __init__(self, folder: Path, octets: Callable[[Path], Octets] = PositionedOctets) -> None:
        self.folder = folder
        self.damaged: set[str] = set()
        self._octets = octets
        self._files: dict[str, KeyedFile] = {}
        self._state = ServingState(0, ())

    def state(
        self, version: int, authorities: Iterable[Authority], epochs: Iterable[Epoch], behind: Collection[str] = ()
    ) -> ServingState:
        """What is answered from these facts; files that they do not name are let go.

        Raises: IndexFileError; what was open before stays so.
        """
        points: dict[str, list[Epoch]] = {}
        for epoch in epochs:
            points.setdefault(epoch.issuing_point.authority_id, []).append(epoch)
        named: dict[str, KeyedFile] = {}
        serving = tuple(
            ServingAuthority(
                authority,
                tuple(self._point(epoch, named) for epoch in points.get(authority.id, ())),
                self._serials(authority, named),
                behind=authority.id in behind,
            )
            for authority in authorities
        )
        before = {one.authority.id: one for one in self._state.authorities}
        after = {one.authority.id: one for one in serving}
        changed = frozenset(each for each in before.keys() | after.keys() if before.get(each) != after.get(each))
        self._files = named
        self._state = ServingState(version, serving, self._state.version, changed)
        return self._state

    def _point(self, epoch: Epoch, named: dict[str, KeyedFile]) -> ServingPoint:
        def open_file(kind: type[RevocationIndexFile], name: str) -> RevocationIndexFile:
            return self._open(kind, name, named)

        index = open_index(self.folder, epoch.index_names, open_file)
        return ServingPoint(epoch, index, Scope.from_idp(epoch.idp_der))

    def _serials(self, authority: Authority, named: dict[str, KeyedFile]) -> SerialSetFile | None:
        sha256 = authority.policy.issued_serials
        return self._open(SerialSetFile, issued.index_name(sha256), named) if sha256 else None

    def _open(self, kind: type[File], name: str, named: dict[str, KeyedFile]) -> File:
        path = self.folder / name
        file = self._files.get(name)
        if type(file) is not kind or name in self.damaged or file.identity != _identity(path):
            file = kind(path, octets=self._octets, damaged=self.damaged.add)
            self.damaged.discard(name)
        named[name] = file
        return file


def open_state(facts: ServingFacts, folder: Path) -> ServingState:
    """What the workers answer from once they have loaded `facts`; its version is the store's revision.

    Raises: IndexFileError.
    """
    return OpenIndexes(folder).state(facts.revision, facts.authorities, facts.epochs)


def _identity(path: Path) -> FileIdentity:
    try:
        return FileIdentity.of(path.stat())
    except OSError as error:
        raise IndexFileError(f"{path}: {error.strerror}", hint=HINT) from error
