"""The status stores under contract, and facts to put in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vouchd.core.facts import Authority, CRLRecord, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.core.ports import StatusStore
from vouchd.stores.memory import MemoryStore
from vouchd.stores.sqlite import SqliteStore

FIRST = b"first CRL"
SECOND = b"second CRL"
DELTA = b"delta CRL"


@dataclass
class Backend:
    """One kind of store: `open()` gives another handle on the same facts, closed when the test ends."""

    durable: bool
    make: Callable[[], StatusStore]
    handles: list[StatusStore] = field(default_factory=list)

    def open(self) -> StatusStore:
        """Another handle on the same facts."""
        store = self.make()
        self.handles.append(store)
        return store

    def close(self) -> None:
        """Close every handle given out."""
        for handle in self.handles:
            handle.close()


def everything(store: StatusStore) -> tuple:
    """All facts that a refused change must leave alone."""
    return store.revision(), store.authorities(), store.epochs(), store.quarantined(), store.high_water(POINT)


def memory_backend(folder: Path) -> Backend:
    store = MemoryStore()
    return Backend(durable=False, make=lambda: store)


def sqlite_backend(folder: Path) -> Backend:
    return Backend(durable=True, make=lambda: SqliteStore(folder / "store.sqlite"))


BACKENDS: dict[str, Callable[[Path], Backend]] = {"memory": memory_backend, "sqlite": sqlite_backend}


def sha256(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()


def an_authority(name: str = "a", **changes: object) -> Authority:
    facts = {"id": sha256(name.encode()), "certificate_der": b"\x30" + name.encode(), "label": f"CA {name}"}
    return Authority(**(facts | changes))


def a_record(document: bytes, number: int | None = 1, this_update: int = 1000, base: int | None = None) -> CRLRecord:
    return CRLRecord(sha256(document), len(document), this_update, this_update + 600, number, base, 3)


def an_epoch(
    authority: Authority, sequence: int = 1, base: CRLRecord | None = None, scope_id: str = "complete", **facts: object
) -> Epoch:
    point = IssuingPointId(authority.id, scope_id)
    return Epoch(point, sequence, base or a_record(FIRST), accepted_at=1000 + sequence, **facts)


def a_quarantined(authority: Authority, document: bytes, received_at: int = 2000) -> QuarantinedCRL:
    point = IssuingPointId(authority.id)
    return QuarantinedCRL(point, a_record(document, 9, 1900), received_at, "push", "lost 90 % of its entries")


CA = an_authority("a")
POINT = IssuingPointId(CA.id)
MIB = 1 << 20
