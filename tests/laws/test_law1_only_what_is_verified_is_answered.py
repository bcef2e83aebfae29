"""Law 1: only what this member has verified is answered, whoever brought it.

Every fact of an epoch with every carrier: the fact is made to say something else, or the CRL is another one, and it is put
where the member reads it, past everything that judges what comes in. What was served before goes on being served. What
says whose CRLs count and who may come in (keys of CAs, users, members) is tried in tests/cloning/test_seals.py.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.x509 import ReasonFlags
from tests.contract.backends import BACKENDS, Backend
from tests.faults.page import FaultTable
from tests.pki import CA, DAY, HOUR, NOW, serial_octets, shared_key
from tests.service.recording import AGENT, PUBLISHER, RecordingAudit
from tests.service.world import partition

from vouchd.core.acceptance import FUTURE_TOLERANCE_SECONDS
from vouchd.core.facts import CRLRecord, Epoch, Facts, StepBack
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import Store
from vouchd.core.status import decide
from vouchd.errors import SigningError, TryLater
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import load_manifest, read_served
from vouchd.index.vouchers import Vouchers
from vouchd.instance.selftests import shares
from vouchd.instance.selftests.shares import Outcome, Share
from vouchd.pkix.crl import read_header
from vouchd.processes.publication import ManifestPublication
from vouchd.processes.store_watch import Published
from vouchd.service import crl_proof
from vouchd.service.admitting import Admitting
from vouchd.service.authorities import Authorities
from vouchd.service.crl_proof import Outcomes
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.stores.sqlite.store import SqliteStore

REVOKED, OTHER = 0x1001, 0x1002
Planted = tuple[Epoch, Mapping[str, bytes]]


class Now:
    """A clock that stands unless a test says otherwise."""

    at = NOW

    def now(self) -> int:
        return self.at


class Member:
    """A member of a set that has served a CRL with REVOKED in it, over a store that others write to."""

    outcomes: Outcomes | None = None  # of the processes that begin

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder / "index", store
        self.folder.mkdir(exist_ok=True)
        self.ca, self.foreign = CA.create("Lab CA"), CA.create("Lab CA", key=shared_key(number=1))
        self.audit, self.clock = RecordingAudit(), Now()
        self.begin()
        self.authority = Authorities(store, Permission(self.audit), self.audit).add(self.ca.der, AGENT).subject
        self.accept(4, (), NOW - 3 * HOUR)
        self.older = store.epochs()[0], store.document(store.epochs()[0].base.sha256)
        self.accept(5, (REVOKED,), NOW - 2 * HOUR)

    def begin(self) -> None:
        """What a new manager process begins with."""
        admitting = Admitting(lambda: read_served(self.folder), self.clock, vouchers=Vouchers(self.folder))
        admitting.audit, admitting.outcomes = self.audit, self.outcomes
        self.indexing = Indexing(self.store, IndexFolder(self.folder), admitting)
        self.publication = ManifestPublication(self.store, self.indexing, self.folder, lambda: nullcontext(True))
        self.publication.current()
        self.ingesting = Ingesting(self.store, self.indexing, Permission(self.audit), self.audit)

    def accept(self, number: int, serials: tuple[int, ...], at: int) -> None:
        crl = self.ca.crl(dict.fromkeys(serials), number=number, this_update=at, next_update=NOW + DAY)
        self.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)
        self.publication.publish()

    def publish(self) -> Published:
        return self.publication.publish()

    def answer(self, serial: int) -> str:
        """What a worker that loads the manifest now says."""
        (serving,) = load_manifest(self.folder).authorities
        try:
            return decide(serving, serial_octets(serial), ResponsePolicy(), NOW).status.value
        except TryLater:
            return "tryLater"

    def epoch(self, crl: bytes, *, delta: bytes | None = None, **facts: object) -> Planted:
        """An epoch that follows the present one, as a commit makes it, with other `facts`, and its documents."""
        (current,) = self.store.epochs()
        documents = {hashlib.sha256(one).hexdigest(): one for one in (crl, delta) if one is not None}
        header = read_header(crl)
        epoch = Epoch(
            replace(current.issuing_point, scope_id=header.scope.scope_id),
            current.sequence + 1,
            record(crl),
            NOW,
            record(delta) if delta is not None else None,
            header.scope.idp_der,
            "planted",
        )
        base = {name: value for name, value in facts.items() if name in CRLRecord.__dataclass_fields__}
        rest = {name: value for name, value in facts.items() if name not in base}
        return replace(epoch, base=replace(epoch.base, **base), **rest), documents

    def crl(self, number: int = 6, *, ca: CA | None = None, revoked=(OTHER,), at: int = NOW - HOUR, **more) -> bytes:
        return (ca or self.ca).crl(dict.fromkeys(revoked), number=number, this_update=at, next_update=NOW + DAY, **more)


def record(crl: bytes) -> CRLRecord:
    header = read_header(crl)
    return CRLRecord(
        hashlib.sha256(crl).hexdigest(),
        len(crl),
        header.this_update,
        header.next_update,
        header.crl_number,
        header.base_crl_number,
        crl.count(b"\x02\x02\x10"),
    )


# Facts: each makes an epoch that must not be served, of which all else is in order.


def foreign_key(member: Member) -> Planted:
    """Another CA of the same name has signed the CRL, with a far higher number and ten years to live."""
    header = {"this_update": NOW - HOUR, "next_update": NOW + 3650 * DAY}
    return member.epoch(member.foreign.crl({}, number=1005, **header), entry_count=0)


def broken_signature(member: Member) -> Planted:
    """The last octet of the signature is another one."""
    crl = bytearray(member.crl())
    crl[-1] ^= 1
    return member.epoch(bytes(crl))


def longer_life(member: Member) -> Planted:
    """The CRL that is served, with a later nextUpdate in the facts."""
    (current,) = member.store.epochs()
    later = replace(current.base, next_update=NOW + 3650 * DAY)
    return replace(current, sequence=current.sequence + 1, base=later), {}


def no_end(member: Member) -> Planted:
    """A CRL that never runs out, in the facts alone."""
    return member.epoch(member.crl(revoked=()), next_update=None, entry_count=0)


def later_this_update(member: Member) -> Planted:
    """An older CRL that the facts make a newer one."""
    crl = member.crl(3, revoked=(), at=NOW - 4 * HOUR)
    return member.epoch(crl, this_update=NOW - HOUR, entry_count=0)


def other_number(member: Member) -> Planted:
    """A number that the CRL does not have."""
    return member.epoch(member.crl(), crl_number=77)


def other_size(member: Member) -> Planted:
    """A size that the CRL does not have."""
    return member.epoch(member.crl(), size_bytes=1)


def other_count(member: Member) -> Planted:
    """Entries that the CRL does not have."""
    return member.epoch(member.crl(), entry_count=12)


def base_for_delta(member: Member) -> Planted:
    """A delta CRL as if it were a complete one: all that it does not repeat would be good."""
    return member.epoch(member.crl(base=5), base_crl_number=None)


def other_scope(member: Member) -> Planted:
    """A CRL of user certificates as if it spoke for all."""
    crl = member.crl(idp=partition(only_user=True), revoked=())
    point = member.store.epochs()[0].issuing_point
    return member.epoch(crl, issuing_point=point, idp_der=b"", entry_count=0)


def older_genuine(member: Member) -> Planted:
    """The CRL before the one that is served, whole and genuine."""
    crl = member.crl(4, revoked=(), at=NOW - 3 * HOUR)
    return member.epoch(crl, entry_count=0)


def future(member: Member) -> Planted:
    """A CRL of tomorrow."""
    return member.epoch(member.crl(at=NOW + HOUR, revoked=()), entry_count=0)


def accepted_in_the_future(member: Member) -> Planted:
    """An acceptance that would put a time ahead of the clock into every answer."""
    return member.epoch(member.crl(), accepted_at=NOW + DAY)


def foreign_delta(member: Member) -> Planted:
    """A delta by a foreign key that takes the revocation back, over a genuine base."""
    base = member.crl(6, revoked=(REVOKED,))
    taken_back = {REVOKED: ReasonFlags.remove_from_crl}
    delta = member.foreign.crl(taken_back, number=7, base=6, this_update=NOW - 60, next_update=NOW + DAY)
    return member.epoch(base, delta=delta)


def delta_of_another_base(member: Member) -> Planted:
    """A genuine delta that belongs to a later base."""
    base = member.crl(6, revoked=(REVOKED,))
    delta = member.ca.crl({}, number=9, base=8, this_update=NOW - 60, next_update=NOW + DAY)
    return member.epoch(base, delta=delta)


FACTS = (
    foreign_key,
    broken_signature,
    longer_life,
    no_end,
    later_this_update,
    other_number,
    other_size,
    other_count,
    base_for_delta,
    other_scope,
    older_genuine,
    future,
    accepted_in_the_future,
    foreign_delta,
    delta_of_another_base,
)


# Carriers: what brings an epoch to the member, past what judges arrivals.


@dataclass(frozen=True)
class Carrier:
    """`backend` keeps the facts of the member; `plant` writes into them."""

    backend: Callable[[Path], Backend]
    plant: Callable[[Member, Planted], None]


def commit(member: Member, planted: Planted) -> None:
    """Whoever has the password of the store commits as a member does."""
    member.store.commit_epoch(*planted)


def adopt(member: Member, planted: Planted) -> None:
    """A master that lies, or has been lied to, tells its facts."""
    epoch, documents = planted
    facts: Facts = member.store.facts()
    member.store.adopt(replace(facts, epochs=(epoch,)), documents)


def restart_and_commit(member: Member, planted: Planted) -> None:
    """It happens while the member does not run."""
    commit(member, planted)
    member.begin()


def restart_with_many(member: Member, planted: Planted) -> None:
    """Likewise, and so many are new that another process judges them."""
    member.outcomes = by_another_process
    restart_and_commit(member, planted)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    """So many as a test plants."""
    monkeypatch.setattr(crl_proof, "LEAST", 1)


def by_another_process(checks: Mapping[str, Callable[[], str]]) -> dict[str, Outcome]:
    """What a process says that makes all checks."""
    share = Share(lambda: ((name, *shares.record(shares.outcome(check))) for name, check in checks.items()))
    try:
        assert share.wait(time.monotonic() + 60)
        return dict.fromkeys(checks, UNTOLD) | {name: shares.outcome_of(words) for name, *words in share.news()}
    finally:
        share.end()


UNTOLD = SigningError("a process has not told of it")

CARRIERS = {
    "memory": Carrier(BACKENDS["memory"], commit),
    "sqlite": Carrier(BACKENDS["sqlite"], commit),
    "sqlite, not running": Carrier(BACKENDS["sqlite"], restart_and_commit),
    "sqlite, with many": Carrier(BACKENDS["sqlite"], restart_with_many),
    "followed": Carrier(BACKENDS["sqlite"], adopt),
    "directory": Carrier(BACKENDS["directory"], commit),
    "directory, not running": Carrier(BACKENDS["directory"], restart_and_commit),
}


def carried() -> list[object]:
    return [pytest.param(carrier, id=name) for name, carrier in CARRIERS.items()]


@pytest.fixture
def member(request, tmp_path) -> Iterator[Member]:
    """A member over the carrier's store."""
    backend = request.getfixturevalue("carrier").backend(tmp_path / "store")
    yield Member(tmp_path, backend.open())
    backend.close()


TABLE = FaultTable.of("a member")
SAID = "`/readyz`: `verified` fails (503); `vouchd_unverified` 1; audit log: `CRL_VALIDATION`, failure"


@TABLE.fault(
    "its store (database, directory, master, backup) has a CRL that is not genuine, is older, or of which the facts say what it does not",
    "the CRL before stays",
    SAID,
    "by itself with the next genuine CRL",
)
@pytest.mark.parametrize("carrier", carried())
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_fact_that_is_not_so_is_not_answered(member, carrier, fact):
    """Whatever an epoch in the store says that is not so, what was served before is served, and it is said."""
    before = (member.answer(REVOKED), member.answer(OTHER))
    carrier.plant(member, fact(member))
    published = member.publish()
    assert (member.answer(REVOKED), member.answer(OTHER)) == before == ("revoked", "good")
    assert [refusal.label for refusal in published.refusals] == [member.authority.label]
    assert all(point.next_update == NOW + DAY for point in published.points)
    refused = [detail for event, _, outcome, detail in member.audit.records if (event, outcome) == REFUSED]
    assert [detail["origin"] for detail in refused] == [published.refusals[0].epoch.origin]
    member.publish()
    member.begin()
    assert member.publish().refusals
    assert member.answer(REVOKED) == "revoked"


REFUSED = ("CRL_VALIDATION", "failure")


@pytest.mark.parametrize("carrier", carried())
def test_epoch_that_is_as_it_says_is_answered(member, carrier):
    """What is genuine, newer and told as it is passes, by whatever carrier: the law costs nobody a revocation."""
    carrier.plant(member, member.epoch(member.crl(revoked=(REVOKED, OTHER))))
    assert not member.publish().refusals
    assert [member.answer(serial) for serial in (REVOKED, OTHER)] == ["revoked", "revoked"]


@pytest.mark.parametrize("carrier", carried())
def test_next_crl_of_the_ca_ends_the_refusal(member, carrier):
    """A forged epoch, and the high mark that it leaves, keep no genuine CRL out."""
    carrier.plant(member, foreign_key(member))
    assert member.publish().refusals
    for number, revoked in ((6, (REVOKED, OTHER)), (7, (REVOKED,))):
        member.accept(number, revoked, NOW - HOUR + number)
        assert not member.publish().refusals
    assert [member.answer(serial) for serial in (REVOKED, OTHER)] == ["revoked", "good"]


@TABLE.fault(
    "its clock is more than five minutes behind that of the member that took in a CRL",
    "the CRL before stays; with `staleInSec` tryLater when another member answers from the new one",
    SAID,
    "by itself when its clock has come as far",
)
@pytest.mark.parametrize("ahead", [{"accepted_at": NOW + HOUR}, {}], ids=["acceptance", "thisUpdate"])
@pytest.mark.parametrize("carrier", carried())
def test_epoch_of_a_time_to_come_is_answered_when_that_time_has_come(member, carrier, ahead):
    """A clock that is set right, or that time passes, is no CRL and yet ends the refusal: the watch is due for it."""
    crl = member.crl(revoked=(REVOKED, OTHER), at=NOW - HOUR if ahead else NOW + HOUR)
    carrier.plant(member, member.epoch(crl, **ahead))
    assert member.publish().refusals
    assert not member.publication.doubtful, "nothing to be looked at before"
    member.clock.at = NOW + HOUR - FUTURE_TOLERANCE_SECONDS
    assert member.publication.doubtful
    assert not member.publish().refusals
    assert [member.answer(serial) for serial in (REVOKED, OTHER)] == ["revoked", "revoked"]
    assert not member.publication.doubtful


@pytest.fixture
def carrier() -> Carrier:
    """The embedded store, where a test is of one carrier."""
    return CARRIERS["sqlite"]


@TABLE.fault(
    "its store has lost the CRL that is served", "that CRL is served on", SAID, "give the CRL, or a newer one, again"
)
def test_epoch_that_vanishes_stays_served(member):
    """A store that has lost an epoch takes no revocation away."""
    facts = member.store.facts()
    member.store.adopt(replace(facts, epochs=()), {})
    assert [refusal.why for refusal in member.publish().refusals] == ["the store has lost the CRL that is served"]
    assert member.answer(REVOKED) == "revoked"


@TABLE.fault(
    "the database of an old backup is put back, or a snapshot rolled back",
    "the CRL before stays: nothing goes back behind what was served",
    SAID,
    "by a newer CRL; or an Administrator's word for this one step, good for all members: `vouchd crl step-back`",
)
def test_database_of_a_backup_is_not_served_without_an_operators_word(tmp_path):
    """A database that is put back goes back to no older CRL, until an operator says so for this very step."""
    place = tmp_path / "facts.sqlite"
    member = Member(tmp_path, SqliteStore(place))
    served, (older, crl) = member.store.epochs()[0], member.older
    member.store.adopt(replace(member.store.facts(), epochs=(older,)), {older.base.sha256: crl})
    member.begin()
    (refusal,) = member.publish().refusals
    assert "CRL 4 is older than CRL 5" in refusal.why
    assert member.answer(REVOKED) == "revoked"
    (authority,) = member.store.authorities()
    member.store.put_authority(replace(authority, steps_back=(StepBack(older.index_name, served.index_name),)))
    assert member.publish().refusals
    member.store.put_authority(replace(authority, steps_back=(StepBack(served.index_name, older.index_name),)))
    assert not member.publish().refusals
    assert member.answer(REVOKED) == "good"
    member.store.close()


@TABLE.fault(
    "an index file is damaged, and the store cannot give its CRL again",
    "tryLater for that CA; all others are answered",
    SAID,
    "give the CRL, or a newer one, again",
)
def test_served_index_of_an_epoch_that_the_store_lost_and_the_disk_damaged_is_try_later(member):
    """What can neither be read nor made again is not answered for, and other CAs are."""
    (epoch,) = member.store.epochs()
    member.store.adopt(replace(member.store.facts(), epochs=()), {})
    os.truncate(member.folder / epoch.index_name, 100)
    member.publish()
    assert member.answer(REVOKED) == "tryLater"


@TABLE.fault(
    "the index file of another CRL is put in the place of the one that is served",
    "from the right CRL: the index is made again from the store",
    "the log: `damaged index files, made again from the store`",
    "by itself",
)
def test_index_file_of_another_crl_in_its_place_is_not_read(member):
    """An index file is a carrier, too: one that was copied over the right one is made again from the store."""
    (epoch,) = member.store.epochs()
    (other, documents) = member.epoch(member.crl(revoked=()), entry_count=0)
    member.indexing.build(member.authority, other, lambda _: next(iter(documents.values())))
    (member.folder / epoch.index_name).write_bytes((member.folder / other.index_name).read_bytes())
    member.begin()
    member.publish()
    assert member.answer(REVOKED) == "revoked"


def test_new_key_of_a_ca_is_recorded_on_every_member_that_sees_it(member):
    """Keys come with the facts of the set and are believed; who did not give the word finds it in the audit log."""
    policy = replace(member.authority.policy, crl_issuers=(member.foreign.der,))
    member.store.put_authority(replace(member.authority, policy=policy))
    member.publish()
    member.publish()
    seen = [detail for event, _, _, detail in member.audit.records if event == "CA_KEYS_SEEN"]
    assert [detail["certificates"] for detail in seen] == [hashlib.sha256(member.foreign.der).hexdigest()]
