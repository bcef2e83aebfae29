"""What a member pays for believing nothing that it has not verified: CRLs and facts in a store that others write to."""

from __future__ import annotations

import datetime as dt
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from bench.figures import Figure
from bench.make_crl import NOW, entries, make_ca, make_crl
from vouchd.clock import SystemClock
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.proof import MemberKey
from vouchd.cloning.seals import Record
from vouchd.core import records
from vouchd.core.facts import Authority, Caller, Group
from vouchd.core.ports import CA_KIND
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import read_served
from vouchd.pkix.certs import authority_id
from vouchd.processes.publication import ManifestPublication
from vouchd.service.admitting import Admitting
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.signing.software import SoftwareSigner
from vouchd.stores.beliefs import Believed
from vouchd.stores.sqlite.store import SqliteStore

ENTRIES = 10_000
EPOCHS = 15
CAS = 1_000
EPOCH_TIMES = 1.5  # what an epoch that is judged may cost, of one that is not
RECORD_MS = 1.0
UNCHANGED_MS = 100.0
_CALLER = Caller("bench", frozenset(Group), "bench")


class Silence:
    """An audit log of nothing."""

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        """Nothing is kept."""


def figures() -> list[Figure]:
    """All of them."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = make_ca()
        return [*_epochs(Path(folder), key, certificate), *_facts(Path(folder), key, certificate)]


def _epochs(folder: Path, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> list[Figure]:
    """A member takes CRLs in, and two others read them from its store: one that judges them, and one that does not."""
    store = SqliteStore(folder / "facts.sqlite")
    store.put_authority(_authority(certificate))
    (folder / "own").mkdir()
    permission = Permission(Silence())
    ingesting = Ingesting(store, Indexing(store, IndexFolder(folder / "own")), permission, Silence())
    judging, believing = folder / "judging", folder / "believing"
    admitting = Admitting(lambda: read_served(judging), SystemClock())
    readers = [_reader(store, judging, admitting), _reader(store, believing, None)]
    spent: list[list[float]] = [[], []]
    for number in range(1, EPOCHS + 1):
        body = b"".join(entries(ENTRIES, "random", number))
        crl = make_crl(key, certificate, body, number, NOW + dt.timedelta(seconds=number))
        ingesting.accept_crl(crl, "bench", _CALLER, int(time.time()))
        for reader, times in zip(readers, spent, strict=True):
            times.append(_cpu(reader.publish))
    store.close()
    judged, believed = (1000 * statistics.median(times) for times in spent)
    what = f"CRL of {ENTRIES:,} entries in a store, judged, beside believed"
    return [Figure(what, judged / believed, EPOCH_TIMES, "", f"CPU {judged:.1f} ms beside {believed:.1f}")]


def _reader(store: SqliteStore, folder: Path, admitting: Admitting | None) -> ManifestPublication:
    folder.mkdir()
    indexing = Indexing(store, IndexFolder(folder), admitting)
    publication = ManifestPublication(store, indexing, folder, lambda: nullcontext(enter_result=True))
    publication.current()
    return publication


def _facts(folder: Path, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> list[Figure]:
    """CAs in a directory, sealed by another member that has the key of this one."""
    own = MemberKey(SoftwareSigner("member", key, certificate.public_bytes(Encoding.DER)))
    writer, reader = (_seals(folder / f"{name}.sqlite", own) for name in ("writer", "reader"))
    authority = _authority(certificate)
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(CAS)]
    plain = {name: records.authority_record(authority) | {"id": name} for name in names}
    reader.believe(CA_KIND, {}, 0, lambda: None)
    sealed = {name: [writer.seal(CA_KIND, name, record)] for name, record in plain.items()}
    mark = reader.mark()
    new = _cpu(lambda: reader.believe(CA_KIND, sealed, mark, lambda: None))
    _require(reader, sealed)
    unchanged = _cpu(lambda: _require(reader, sealed))
    return [
        Figure(f"one sealed CA of {CAS:,} that is new, CPU", 1000 * new / CAS, RECORD_MS, "ms", "seal verified, kept"),
        Figure(f"{CAS:,} sealed CAs that did not change, CPU", 1000 * unchanged, UNCHANGED_MS, "ms", "read whole"),
    ]


def _require(reader: MemberSeals, sealed: Mapping[str, list[Record]]) -> None:
    """Raises: AssertionError unless all of it is believed."""
    if reader.believe(CA_KIND, sealed, reader.mark(), lambda: None) != sealed:
        raise AssertionError("not all is believed")


def _seals(path: Path, own: MemberKey) -> MemberSeals:
    seals = MemberSeals(Believed(path), lambda: {own.sha256: own}, SystemClock())
    seals.enforce()
    return seals


def _authority(certificate: x509.Certificate) -> Authority:
    return Authority(authority_id(certificate), certificate.public_bytes(Encoding.DER), "Bench CA")


def _cpu(act: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    begin = time.process_time()
    act()
    return time.process_time() - begin
