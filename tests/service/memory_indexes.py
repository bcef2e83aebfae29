"""Index files in memory, for tests of the services: the contract of IndexWriter without a folder."""

from __future__ import annotations

from collections.abc import Iterable

from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.der import Buffer
from vouchd.pkix.reasons import Reason, RevocationEntry


class MemoryIndexes:
    """Name to serial to entry; `built` counts how often something was really written."""

    def __init__(self) -> None:
        self.files: dict[str, dict[bytes, RevocationEntry | None]] = {}
        self.built = 0

    def write(self, name: str, base: Buffer, delta: Buffer | None, certificate_issuer: bytes) -> int:
        if name not in self.files:
            held = {entry.serial: entry for entry in entries(base, read_header(base), certificate_issuer)}
            for entry in entries(delta, read_header(delta), certificate_issuer) if delta else ():
                held[entry.serial] = entry
                if entry.reason is Reason.REMOVE_FROM_CRL:
                    del held[entry.serial]
            self.files[name] = held
            self.built += 1
        return len(self.files[name])

    def write_serials(self, name: str, serials: Iterable[bytes]) -> None:
        self.files.setdefault(name, dict.fromkeys(serials))
        self.built += 1

    def is_intact(self, name: str) -> bool:
        return name in self.files

    def doubt(self, name: str) -> None:
        """Memory is not doubted."""

    def difference(self, old: str, new: str) -> tuple[int, int, int]:
        before, after = set(self.files[old]), set(self.files[new])
        return len(before - after), len(after - before), len(before)

    def missing(self, old: str, new: str, limit: int) -> tuple[bytes, ...]:
        lacking = set(self.files[old]) - set(self.files[new])
        return tuple(sorted(lacking, key=lambda serial: int.from_bytes(serial, "big"))[:limit])

    def names(self) -> frozenset[str]:
        return frozenset(self.files)

    def remove(self, name: str) -> None:
        self.files.pop(name, None)
