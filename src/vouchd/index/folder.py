"""The folder of index files: written once under a name derived from what they hold, read by others, swept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from vouchd.core.facts import IndexNames
from vouchd.errors import IndexFileError, StoreUnavailable
from vouchd.files import LEFTOVER_SUFFIX
from vouchd.index.format import ChangesFile, RevocationIndexFile, intact
from vouchd.index.layers import Index, LayeredIndex, difference, fold, missing, open_index, open_layers
from vouchd.index.octets import FileIdentity, identity_of
from vouchd.index.writing import write_crl_index, write_serials
from vouchd.pkix.crl import read_header
from vouchd.pkix.der import Buffer

CHANGES_SUFFIX = ".delta"
_OPENED = 8  # files that are kept open: those of a few issuing points that have deltas
_SUFFIXES = frozenset({".idx", CHANGES_SUFFIX, ".ser", LEFTOVER_SUFFIX})


class IndexFolder:
    """Keeps the contract of core.ports.IndexWriter in `directory`, which is there.

    A file is read through once and then taken as whole until somebody doubts it, or its identity is another.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._whole: dict[str, FileIdentity] = {}
        self._opened: dict[str, RevocationIndexFile] = {}  # the last few: of a large one the fences are many

    def write(self, name: str, crl: Callable[[], Buffer], certificate_issuer: bytes) -> int:
        """See IndexWriter; of a file that is there its records are believed when they are read."""
        path = self._directory / name
        try:
            return len(self._open(ChangesFile if path.suffix == CHANGES_SUFFIX else RevocationIndexFile, name))
        except IndexFileError:
            der = crl()
            return write_crl_index(path, der, read_header(der), certificate_issuer)

    def count(self, index: IndexNames) -> int:
        """See IndexWriter."""
        return len(self._layers(index))

    def fold(self, index: IndexNames) -> None:
        """See IndexWriter."""
        layers = self._layers(index)
        if isinstance(layers, LayeredIndex) and not self.is_intact(index.whole):
            fold(self._directory / index.whole, layers)

    def write_serials(self, name: str, serials: Iterable[bytes]) -> None:
        """See IndexWriter."""
        if not self.is_intact(name):
            write_serials(self._directory / name, serials)

    def is_present(self, name: str) -> bool:
        """See IndexWriter."""
        return (self._directory / name).exists()

    def is_intact(self, name: str) -> bool:
        """See IndexWriter."""
        path, known = f"{self._directory}/{name}", self._whole.get(name)
        with suppress(IndexFileError):
            if known is not None and known == identity_of(path):
                return True
        seen = intact(path)
        if seen is not None:
            self._whole[sys.intern(name)] = seen  # as the open files have it
        return seen is not None

    def doubt(self, name: str) -> None:
        """See IndexWriter."""
        self._whole.pop(name, None)
        self._opened.pop(name, None)

    def difference(self, old: IndexNames, new: IndexNames) -> tuple[int, int, int]:
        """See IndexWriter."""
        return difference(self._readable(old), self._readable(new))

    def missing(self, old: IndexNames, new: IndexNames, limit: int) -> tuple[bytes, ...]:
        """See IndexWriter."""
        return missing(self._readable(old), self._readable(new), limit)

    def names(self) -> frozenset[str]:
        """See IndexWriter."""
        try:
            return frozenset(path.name for path in self._directory.iterdir() if path.suffix in _SUFFIXES)
        except OSError as error:
            raise self._unavailable(error) from error

    def remove(self, name: str) -> None:
        """See IndexWriter."""
        self.doubt(name)
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(error) from error

    def _readable(self, index: IndexNames) -> Index:
        """The layers, which may share their base with those that they are compared with; else what there is."""
        try:
            return self._layers(index)
        except IndexFileError:
            return open_index(self._directory, index, self._open)

    def _layers(self, index: IndexNames) -> Index:
        return open_layers(index, self._open)

    def _open(self, kind: type[RevocationIndexFile], name: str) -> RevocationIndexFile:
        path, known = f"{self._directory}/{name}", self._opened.get(name)
        with suppress(IndexFileError):
            if type(known) is kind and known.identity == identity_of(path):
                return known
        opened = kind(path)
        for oldest in list(self._opened)[: len(self._opened) - _OPENED + 1]:
            self._opened.pop(oldest, None)
        self._opened[name] = opened
        return opened

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"{self._directory}: {error.strerror or error}", hint="mend its permissions")
