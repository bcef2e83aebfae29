"""Index files in memory, for tests of the services: the contract of IndexWriter without a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vouchd.core.facts import IndexNames
from vouchd.errors import IndexFileError
from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.der import Buffer
from vouchd.pkix.reasons import Reason, RevocationEntry


class MemoryIndexes:
    """Name to serial to entry; `built` counts how often something was really written."""

    def __init__(self) -> None:
        self.files: dict[str, dict[bytes, RevocationEntry | None]] = {}
        self.built = 0

    def write(self, name: str, crl: Callable[[], Buffer], certificate_issuer: bytes) -> int:
        if name not in self.files:
            der = crl()
            self.files[name] = {entry.serial: entry for entry in entries(der, read_header(der), certificate_issuer)}
            self.built += 1
        return len(self.files[name])

    def together(self, index: IndexNames) -> dict[bytes, RevocationEntry | None]:
        """The entries of base and changes."""
        if index.whole in self.files:
            return self.files[index.whole]
        try:
            changed = self.files[index.base] | self.files[index.changes]
        except KeyError as error:
            raise IndexFileError(f"{error} is not there") from error
        return {serial: entry for serial, entry in changed.items() if entry.reason is not Reason.REMOVE_FROM_CRL}

    def count(self, index: IndexNames) -> int:
        return len(self.together(index))

    def fold(self, index: IndexNames) -> None:
        self.files[index.whole] = self.together(index)

    def write_serials(self, name: str, serials: Iterable[bytes]) -> None:
        self.files.setdefault(name, dict.fromkeys(serials))
        self.built += 1

    def is_present(self, name: str) -> bool:
        return name in self.files

    def is_intact(self, name: str) -> bool:
        return name in self.files

    def doubt(self, name: str) -> None:
        """Memory is not doubted."""

    def difference(self, old: IndexNames, new: IndexNames) -> tuple[int, int, int]:
        before, after = set(self.together(old)), set(self.together(new))
        return len(before - after), len(after - before), len(before)

    def missing(self, old: IndexNames, new: IndexNames, limit: int) -> tuple[bytes, ...]:
        lacking = set(self.together(old)) - set(self.together(new))
        return tuple(sorted(lacking, key=lambda serial: int.from_bytes(serial, "big"))[:limit])

    def names(self) -> frozenset[str]:
        return frozenset(self.files)

    def remove(self, name: str) -> None:
        self.files.pop(name, None)
