"""The status stores under contract, and facts to put in them."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest
from tests.ds389 import PASSWORD, ROOT_DN, Directory
from tests.memory_store import MemoryStore

from vouchd.core.facts import Authority, CRLRecord, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.core.ports import StatusStore
from vouchd.directory.schema import ensure_containers, ensure_schema
from vouchd.stores.ldap.store import DirectoryStore
from vouchd.stores.sqlite.store import SqliteStore

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
    folder.mkdir(exist_ok=True)
    return Backend(durable=True, make=lambda: SqliteStore(folder / "store.sqlite"))


def directory_server() -> Directory:
    """One directory server for all tests of the session; each test has a subtree of its own."""
    made = _directory_server()
    if isinstance(made, Exception):
        raise made
    return made


@cache
def _directory_server() -> Directory | Exception:
    """It, or why there is none: trying again in every test would start one more server each time."""
    directory = Directory(Path(tempfile.mkdtemp(prefix="vds")))
    atexit.register(shutil.rmtree, directory.folder, ignore_errors=True)
    atexit.register(directory.kill)
    try:
        directory.create()
        directory.start()
        admin = directory.admin()
        ensure_schema(admin)
        admin.add(directory.suffix, {"objectClass": ["top", "organization"], "o": ["ocsp.example"]})
    except Exception as error:  # noqa: BLE001  raised in every test that needs it
        directory.kill()
        return error
    return directory


def directory_backend(folder: Path) -> Backend:
    directory = directory_server()
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    base = replace(directory.server(), suffix=f"ou={name},{directory.suffix}")
    admin = directory.admin()
    admin.add(base.suffix, {"objectClass": ["top", "organizationalUnit"], "ou": [name]})
    ensure_containers(admin, base.suffix)
    admin.close()
    return Backend(durable=True, make=lambda: DirectoryStore(base, ROOT_DN, PASSWORD))


# Each backend's name, with what a test of it needs.
PARAMS = [pytest.param("directory", marks=pytest.mark.directory), "memory", "sqlite"]
BACKENDS: dict[str, Callable[[Path], Backend]] = {
    "memory": memory_backend,
    "sqlite": sqlite_backend,
    "directory": directory_backend,
}


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
