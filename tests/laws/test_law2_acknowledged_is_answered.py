"""Law 2: what was acknowledged is answered, or the CA is not answered for, whatever the reason.

Every cause by which a CRL can get stuck between its acceptance and the workers, and every way in which this member can
know of it: what is answered is right or, when the bound has passed, tryLater; and it ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.faults.page import FaultTable
from tests.pki import CA, DAY, HOUR, NOW, serial_octets, shared_key
from tests.service.recording import AGENT, PUBLISHER, RecordingAudit

from vouchd.cloning.watermark import ACCEPTED, STORE, Watermark, of_authorities
from vouchd.core.facts import Epoch
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingState, decide
from vouchd.errors import IndexFileError, StoreUnavailable, TryLater, VouchdError
from vouchd.index import journal, sections
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import Manifest, read_served
from vouchd.index.octets import AnsweringOctets
from vouchd.index.serving import OpenIndexes
from vouchd.processes.halting import Withholding
from vouchd.processes.publication import ManifestPublication
from vouchd.service.admitting import Admitting
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.stores.sqlite.store import SqliteStore

BOUND = 10
OLD, NEW = 0x1001, 0x1002


class Worker:
    """A worker: it loads the manifest, keeps what it has when it cannot, and is silent for the CAs that it is told of."""

    def __init__(self, folder: Path) -> None:
        self.manifest = Manifest(folder, OpenIndexes(folder, AnsweringOctets()))
        self.state = ServingState(0, ())
        self.withheld: frozenset[str] = frozenset()
        self.can_load = True

    def load(self) -> None:
        if self.can_load:
            self.state = self.manifest.load()

    @property
    def epochs(self) -> set[Epoch]:
        return {point.epoch for serving in self.state.authorities for point in serving.points}

    def answer(self, authority_id: str, serial: int) -> str:
        serving = next(one for one in self.state.authorities if one.authority.id == authority_id)
        try:
            decision = decide(serving, serial_octets(serial), ResponsePolicy(), NOW)
        except TryLater:
            return "tryLater"
        return "tryLater" if authority_id in self.withheld else decision.status.value


class Pool:
    """Two workers, as the manager sees them."""

    def __init__(self, folder: Path) -> None:
        self.workers = [Worker(folder), Worker(folder)]

    @property
    def oldest(self) -> int:
        return min(worker.state.version for worker in self.workers)

    def load(self) -> None:
        for worker in self.workers:
            worker.load()

    def withhold(self, ids: frozenset[str]) -> None:
        for worker in self.workers:
            worker.withheld = ids


class Member:
    """A member with two CAs, whose clock goes when a test says so; `turn` is what its manager does all the time."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.monkeypatch = monkeypatch
        self.seconds = 0.0
        self.folder = folder
        self.store = SqliteStore(folder / "facts.sqlite")
        self.audit = RecordingAudit()
        permission = Permission(self.audit)
        admitting = Admitting(lambda: read_served(folder), self)
        self.indexing = Indexing(self.store, IndexFolder(folder), admitting)
        self.ingesting = Ingesting(self.store, self.indexing, permission, self.audit)
        self.watermark = Watermark(BOUND, lambda: self.seconds)
        self.indexing.known = partial(self.watermark.know_of, STORE)
        self.indexing.accepted = lambda epochs: self.watermark.learn(ACCEPTED, epochs)
        self.publication = ManifestPublication(
            self.store, self.indexing, folder, lambda: nullcontext(True), self.watermark.late
        )
        self.pool = Pool(folder)
        self.own: list[frozenset[str]] = []
        self.withholding = Withholding(self.watermark, self.pool, lambda ids, _: self.own.append(ids), lambda: None)
        self.cas = [CA.create("First CA"), CA.create("Second CA", key=shared_key(number=2))]
        authorities = Authorities(self.store, permission, self.audit)
        self.ids = [authorities.add(ca.der, AGENT).subject.id for ca in self.cas]
        for ca in self.cas:
            self.push(ca, 1, (OLD,))
        self.turn()

    def now(self) -> int:
        return NOW

    def push(self, ca: CA, number: int, serials: tuple[int, ...]) -> tuple[Epoch, ...]:
        crl = ca.crl(dict.fromkeys(serials), number=number, this_update=NOW - HOUR + number, next_update=NOW + DAY)
        return self.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)

    def turn(self, seconds: float = 0.0) -> None:
        """Time passes, then the manager looks once: store, manifest, workers, watermark."""
        self.seconds += seconds
        for work in (self.publication.publish, self.publication.retell):
            try:
                published = work()
            except VouchdError:
                continue
            self.withholding.published(published)
            break
        self.pool.load()
        self.withholding.look()

    def answers_from(self, epochs: tuple[Epoch, ...]) -> bool:
        """Whether every worker has all of these."""
        return all(worker.epochs.issuperset(epochs) for worker in self.pool.workers)

    def says(self, ca: int, serial: int) -> set[str]:
        return {worker.answer(self.ids[ca], serial) for worker in self.pool.workers}


@pytest.fixture
def member(tmp_path, monkeypatch):
    member = Member(tmp_path, monkeypatch)
    yield member
    member.store.close()


# Causes: each stops what was accepted on its way to the workers, and returns what takes it away again.


def no_space(*_: object, **__: object) -> None:
    raise StoreUnavailable("no space left on device")


def disk_full_for_the_manifest(member: Member) -> Callable[[], None]:
    """The disk fills between commit and manifest."""
    for name in ("replacing", "extend_file"):
        member.monkeypatch.setattr(journal, name, no_space)
    return member.monkeypatch.undo


def disk_full_for_index_files(member: Member) -> Callable[[], None]:
    """The index of a CRL that another process, or a directory, brought cannot be written here."""
    for path in member.folder.glob("*.idx"):
        if path.name not in served(member):
            path.unlink()
    member.monkeypatch.setattr(sections, "replacing", no_space)
    return member.monkeypatch.undo


def store_away(member: Member) -> Callable[[], None]:
    """The store cannot be read any more once it has said that it took the CRL."""
    for name in ("revision", "changes"):
        member.monkeypatch.setattr(member.store, name, no_space)
    return member.monkeypatch.undo


def store_that_fails_at_documents(member: Member) -> Callable[[], None]:
    """The facts can be read and the CRLs cannot."""
    for path in member.folder.glob("*.idx"):
        if path.name not in served(member):
            path.unlink()
    member.indexing.admitting._proofs.clear()
    member.monkeypatch.setattr(member.store, "document_chunks", no_space)
    return member.monkeypatch.undo


def one_worker_without_descriptors(member: Member) -> Callable[[], None]:
    """One of two workers cannot load the manifest."""
    member.pool.workers[1].can_load = False
    return lambda: setattr(member.pool.workers[1], "can_load", True)


def all_workers_without_descriptors(member: Member) -> Callable[[], None]:
    """No worker can load the manifest."""
    undo = [one_worker_without_descriptors(member)]
    member.pool.workers[0].can_load = False
    undo.append(lambda: setattr(member.pool.workers[0], "can_load", True))
    return lambda: [one() for one in undo] and None


def indexes_that_cannot_be_opened(member: Member) -> Callable[[], None]:
    """What was written cannot be read again by the manager itself."""

    def damaged(*_: object) -> ServingState:
        raise IndexFileError("damaged")

    member.monkeypatch.setattr(OpenIndexes, "state", damaged)
    member.pool.workers[0].can_load = member.pool.workers[1].can_load = False

    def undo() -> None:
        member.monkeypatch.undo()
        member.pool.workers[0].can_load = member.pool.workers[1].can_load = True

    return undo


def served(member: Member) -> set[str]:
    return {epoch.index_name for epoch in read_served(member.folder).epochs}


TABLE = FaultTable.of("a member")
ANSWERS = (
    "the CRL before, until `vouchd.clone.staleInSec` have passed; then tryLater for that CA; all others are answered"
)
SAID = "`/readyz`: `behind` fails (503 when it is every CA); `vouchd_behind` 1"


def cause(value: Callable[[Member], Callable[[], None]], what: str, mends: str) -> object:
    return TABLE.case(value, f"a CRL was accepted, and {what}", ANSWERS, SAID, mends)


CAUSES = (
    cause(disk_full_for_the_manifest, "the disk fills before the workers are told", "by itself when there is room"),
    cause(disk_full_for_index_files, "its index file cannot be written", "by itself when there is room"),
    cause(store_away, "the store cannot be read any more", "by itself when the store is back"),
    cause(store_that_fails_at_documents, "the store gives its facts and not the CRL", "by itself when it gives it"),
    cause(one_worker_without_descriptors, "one worker of several cannot load it", "by itself when it can"),
    cause(all_workers_without_descriptors, "no worker can load it", "by itself when one can"),
    cause(indexes_that_cannot_be_opened, "what was written for the workers cannot be read", "by itself when it can"),
)


@pytest.mark.parametrize("cause", CAUSES)
def test_accepted_crl_that_does_not_arrive_is_try_later_after_the_bound(member, cause):
    """A revocation that was acknowledged is not denied for longer than the bound, and the other CA is answered on."""
    accepted = member.push(member.cas[0], 2, (OLD, NEW))
    mend = cause(member)
    member.turn()
    assert not member.answers_from(accepted)
    member.turn(BOUND - 1)
    assert member.says(0, NEW) <= {"good", "revoked"}
    member.turn(1)
    assert "good" not in member.says(0, NEW)
    assert member.own[-1] == {member.ids[0]}
    assert member.says(1, OLD) == {"revoked"}
    assert member.says(1, NEW) == {"good"}
    mend()
    member.turn()
    member.turn()
    assert member.says(0, NEW) == {"revoked"}
    assert member.answers_from(accepted)
    assert member.own[-1] == frozenset()


@pytest.mark.parametrize("cause", CAUSES)
def test_cause_without_anything_newer_silences_nobody(member, cause):
    """That something is broken is no reason not to answer what is still the newest word."""
    cause(member)
    member.turn(10 * BOUND)
    member.turn()
    assert [member.says(ca, OLD) for ca in (0, 1)] == [{"revoked"}] * 2


# Sources: each is a way to know of something newer than what is served.


def newer(member: Member) -> Epoch:
    """An epoch that only others have."""
    crl = member.cas[0].crl({NEW: None}, number=5, this_update=NOW - 60, next_update=NOW + DAY)
    (present,) = (one for one in member.store.epochs() if one.issuing_point.authority_id == member.ids[0])
    return replace(
        present, base=replace(present.base, sha256="ab" * 32, crl_number=5, this_update=NOW - 60, size_bytes=len(crl))
    )


SOURCES = {
    "another member answers from it": lambda watermark, epoch: watermark.know("o2:8443", [epoch]),
    "another member says so unasked": lambda watermark, epoch: watermark.learn("o2:8443 unasked", [epoch]),
    "the store has it": lambda watermark, epoch: watermark.know(STORE, [epoch]),
    "it was accepted here": lambda watermark, epoch: watermark.learn(ACCEPTED, [epoch]),
}


@TABLE.fault(
    "a newer CRL is known, from another member, its store, or its own acceptance, and is not answered from",
    ANSWERS,
    SAID,
    "by itself when the CRL is answered from",
)
@pytest.mark.parametrize("source", SOURCES)
def test_whoever_knows_of_it_the_bound_runs(member, source):
    """It does not matter how something newer became known."""
    SOURCES[source](member.watermark, newer(member))
    member.withholding.look()
    member.seconds += BOUND - 1
    member.withholding.look()
    assert member.says(0, OLD) == {"revoked"}
    member.seconds += 1
    member.withholding.look()
    assert member.says(0, OLD) == {"tryLater"}
    assert member.says(1, OLD) == {"revoked"}


def test_start_longer_than_the_bound_silences_nobody(member):
    """What a start published and its self tests looked at for long is answered from as soon as answering begins."""
    member.watermark.know("o2:8443", [newer(member)])
    member.seconds += 10 * BOUND
    member.watermark.begin()
    member.withholding.look()
    assert member.says(0, OLD) == {"revoked"}
    member.seconds += BOUND
    member.withholding.look()
    assert member.says(0, OLD) == {"tryLater"}


def test_bound_of_zero_is_off(tmp_path, monkeypatch):
    """staleInSec 0: nothing is withheld."""
    watermark = Watermark(0)
    member = Member(tmp_path, monkeypatch)
    watermark.know("o2:8443", [newer(member)])
    assert not watermark.late()
    member.store.close()


@pytest.mark.parametrize("is_told", [True, False], ids=["as a start tells", "unknown"])
def test_late_ca_stays_silent_over_a_restart_that_publishes_before_workers_load(member, is_told):
    """What the workers of before answer from is no progress, also where the new process has published since."""
    before = member.publication.publish()
    served = of_authorities(before.epochs[member.ids[0]] + before.epochs[member.ids[1]])
    after = Watermark(BOUND, lambda: member.seconds)
    after.resume([member.ids[0]], served)
    withholding = Withholding(after, member.pool, lambda ids, _: member.own.append(ids), lambda: None)
    if is_told:
        withholding.published(before)
    member.push(member.cas[1], 2, (OLD, NEW))
    published = member.publication.publish()
    withholding.published(published)
    assert member.pool.oldest == before.version
    withholding.look()
    assert member.ids[0] in after.late()
    assert member.says(0, OLD) == {"tryLater"}
