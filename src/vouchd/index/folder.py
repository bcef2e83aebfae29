"""The folder of index files: written once under a name derived from what they hold, mapped by readers, swept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vouchd.errors import StoreUnavailable
from vouchd.files import LEFTOVER_SUFFIX
from vouchd.index.format import (
    RevocationIndexFile,
    difference,
    is_intact,
    missing,
    write_crl_index,
    write_serials,
)
from vouchd.index.octets import FileIdentity
from vouchd.pkix.crl import read_header
from vouchd.pkix.der import Buffer

_SUFFIXES = frozenset({".idx", ".ser", LEFTOVER_SUFFIX})


class IndexFolder:
    """Keeps the contract of core.ports.IndexWriter in `directory`, which is there.

    A file is read through once and then taken as whole until somebody doubts it, or its identity is another.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._whole: dict[str, FileIdentity] = {}

    def write(self, name: str, base: Buffer, delta: Buffer | None, certificate_issuer: bytes) -> int:
        """See IndexWriter."""
        path = self._directory / name
        if self.is_intact(name):
            return len(RevocationIndexFile(path))
        changes = None if delta is None else (delta, read_header(delta))
        return write_crl_index(path, base, read_header(base), changes, certificate_issuer)

    def write_serials(self, name: str, serials: Iterable[bytes]) -> None:
        """See IndexWriter."""
        if not self.is_intact(name):
            write_serials(self._directory / name, serials)

    def is_intact(self, name: str) -> bool:
        """See IndexWriter."""
        path = self._directory / name
        try:
            seen = FileIdentity.of(path.stat())
        except OSError:
            return False
        if self._whole.get(name) != seen:
            if not is_intact(path):
                return False
            self._whole[name] = seen
        return True

    def doubt(self, name: str) -> None:
        """See IndexWriter."""
        self._whole.pop(name, None)

    def difference(self, old: str, new: str) -> tuple[int, int, int]:
        """See IndexWriter."""
        return difference(RevocationIndexFile(self._directory / old), RevocationIndexFile(self._directory / new))

    def missing(self, old: str, new: str, limit: int) -> tuple[bytes, ...]:
        """See IndexWriter."""
        return missing(RevocationIndexFile(self._directory / old), RevocationIndexFile(self._directory / new), limit)

    def names(self) -> frozenset[str]:
        """See IndexWriter."""
        try:
            return frozenset(path.name for path in self._directory.iterdir() if path.suffix in _SUFFIXES)
        except OSError as error:
            raise self._unavailable(error) from error

    def remove(self, name: str) -> None:
        """See IndexWriter."""
        self._whole.pop(name, None)
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"{self._directory}: {error.strerror or error}", hint="mend its permissions")
