"""What a command has judged is not judged once more by the process that serves, unless anything of it is otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.laws.test_law1_only_what_is_verified_is_answered import OTHER, REVOKED, Member
from tests.pki import CA, HOUR, NOW, shared_key
from tests.service.recording import AGENT, PUBLISHER

from vouchd.core.acceptance import FUTURE_TOLERANCE_SECONDS
from vouchd.core.facts import Epoch
from vouchd.index import vouchers
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import read_served
from vouchd.index.vouchers import VOUCHERS, Vouchers
from vouchd.service import admitting as admitting_module
from vouchd.service.admitting import Admitting
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.stores.sqlite.store import SqliteStore


class Beside:
    """A member that has served CRL 5, and what a command does beside it; `judged` are the CRLs the member verified."""

    def __init__(self, member: Member) -> None:
        self.member, self.file = member, member.folder / VOUCHERS
        self.judged: list[int | None] = []

    def add(self, crl: bytes, *, at: int = NOW) -> Epoch:
        """`vouchd crl add`, in a process of its own."""
        store, folder, audit = self.member.store, self.member.folder, self.member.audit
        admitting = Admitting(lambda: read_served(folder), self.member.clock, vouchers=Vouchers(folder))
        ingesting = Ingesting(store, Indexing(store, IndexFolder(folder), admitting), Permission(audit), audit)
        (epoch,) = ingesting.accept_crl(crl, "command", PUBLISHER, at)
        return epoch

    def add_next(self) -> Epoch:
        return self.add(self.member.crl(revoked=(REVOKED, OTHER)))

    def answers(self) -> list[str]:
        return [self.member.answer(serial) for serial in (REVOKED, OTHER)]


@pytest.fixture
def beside(tmp_path, monkeypatch) -> Iterator[Beside]:
    """A member that notes what it verifies of CRLs in its store."""
    member = Member(tmp_path, SqliteStore(tmp_path / "facts.sqlite"))
    beside, proof_of = Beside(member), admitting_module.proof_of

    def noted(authority, epoch, record, *rest):
        beside.judged.append(record.crl_number)
        return proof_of(authority, epoch, record, *rest)

    monkeypatch.setattr(admitting_module, "proof_of", noted)
    yield beside
    member.store.close()


def test_crl_of_a_command_is_verified_once(beside):
    """Whether the member runs meanwhile or begins later; a delta goes with its base."""
    for number in (6, 7):
        beside.add(beside.member.crl(number, revoked=(REVOKED, OTHER)))
        assert not beside.member.publish().refusals
        beside.member.begin()
    beside.add(beside.member.crl(8, base=7, revoked=(0x1003,)))
    beside.member.begin()
    assert not beside.member.publish().refusals
    assert (beside.judged, beside.answers()) == ([], ["revoked", "revoked"])
    assert beside.member.answer(0x1003) == "revoked"


def other_fact(beside: Beside, epoch: Epoch) -> None:
    """Another member has written another acceptance of the same CRL."""
    later = replace(epoch, sequence=epoch.sequence + 1, accepted_at=NOW - 1)
    beside.member.store.commit_epoch(later, {})


def other_keys(beside: Beside, _: Epoch) -> None:
    """The CA has another key by now, and what it was judged by may be gone with the next change."""
    authorities = Authorities(beside.member.store, Permission(beside.member.audit), beside.member.audit)
    authorities.add(CA.create("Lab CA", key=shared_key("EC", 6)).der, AGENT)


def no_index(beside: Beside, epoch: Epoch) -> None:
    """The CRL has to be read again, and the store says what it is."""
    (beside.member.folder / epoch.index_names.whole).unlink()


def damaged_index(beside: Beside, epoch: Epoch) -> None:
    """Likewise."""
    path = beside.member.folder / epoch.index_names.whole
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)


def torn(beside: Beside, _: Epoch) -> None:
    """Power was lost while the line was written."""
    beside.file.write_bytes(beside.file.read_bytes()[:-2])


def damaged(beside: Beside, _: Epoch) -> None:
    """A digit is another one."""
    text = bytearray(beside.file.read_bytes())
    text[20] ^= 1
    beside.file.write_bytes(text)


def nothing_written(beside: Beside, _: Epoch) -> None:
    """Of what was written nothing came to the disk but its length."""
    beside.file.write_bytes(bytes(len(beside.file.read_bytes())))


def too_large(beside: Beside, _: Epoch) -> None:
    """Nobody of ours writes so much."""
    beside.file.write_bytes(beside.file.read_bytes() + b"\n" * vouchers.MAX_BYTES)


def no_file(beside: Beside, _: Epoch) -> None:
    """A folder has its name."""
    beside.file.unlink()
    beside.file.mkdir()


OTHERWISE = [other_fact, other_keys, no_index, damaged_index, torn, damaged, nothing_written, too_large, no_file]


@pytest.mark.parametrize("otherwise", OTHERWISE, ids=lambda one: one.__name__)
def test_what_no_voucher_is_of_is_judged(beside, otherwise: Callable[[Beside, Epoch], None]):
    """It costs a judgement, and nothing but that."""
    otherwise(beside, beside.add_next())
    beside.member.begin()
    assert not beside.member.publish().refusals
    assert (beside.judged, beside.answers()) == ([6], ["revoked", "revoked"])


def test_line_behind_a_torn_one_is_read(beside):
    """What comes next begins on a line of its own."""
    beside.add_next()
    torn(beside, beside.member.store.epochs()[0])
    beside.add(beside.member.crl(7, revoked=(REVOKED, OTHER)))
    beside.judged.clear()  # the command has verified what the new one follows
    beside.member.publish()
    assert beside.judged == []


def test_crl_of_which_the_store_has_other_octets_is_refused_where_its_index_is_gone(beside):
    """A voucher says what the CRL said that was judged; what the store has in its place is verified before it is read."""
    epoch, forged = beside.add_next(), beside.member.crl(6, ca=beside.member.foreign, revoked=())
    with beside.member.store._database.writing() as db:
        db.execute("UPDATE chunk SET bytes = ? WHERE sha256 = ?", (forged, epoch.base.sha256))
    no_index(beside, epoch)
    beside.member.begin()
    assert [refusal.epoch for refusal in beside.member.publish().refusals] == [epoch]
    assert beside.answers() == ["revoked", "good"]


def test_voucher_is_no_word_about_the_time(beside):
    """A command whose clock was ahead has taken a CRL of a time to come: it is answered when that has come."""
    ahead = NOW + FUTURE_TOLERANCE_SECONDS
    epoch = beside.add(beside.member.crl(revoked=(REVOKED, OTHER), at=ahead + HOUR), at=ahead + HOUR)
    beside.member.store.commit_epoch(replace(epoch, sequence=epoch.sequence + 1, accepted_at=NOW), {})
    vouched = beside.member.store.epochs()[0]
    Vouchers(beside.member.folder).add(beside.member.authority, vouched)
    (refusal,) = beside.member.publish().refusals
    assert (refusal.why, refusal.passes_at) == ("thisUpdate is in the future", ahead + HOUR - FUTURE_TOLERANCE_SECONDS)
    beside.member.clock.at = ahead + HOUR
    assert not beside.member.publish().refusals


def test_voucher_takes_nothing_back(beside):
    """What is older than what was served is refused, whoever has judged it."""
    beside.member.accept(6, (REVOKED, OTHER), NOW - HOUR)
    epoch, crl = beside.member.older
    Vouchers(beside.member.folder).add(beside.member.authority, epoch)
    beside.member.store.adopt(replace(beside.member.store.facts(), epochs=(epoch,)), {epoch.base.sha256: crl})
    assert beside.member.publish().refusals
    assert beside.answers() == ["revoked", "revoked"]


def test_vouchers_go_when_all_is_served_and_nobody_takes_a_crl_in(beside):
    """What is served needs none; whoever serves leaves none, and of a file that is not there nothing is to be taken."""
    beside.add_next()
    assert beside.file.stat().st_mode & 0o777 == 0o600
    beside.member.publish()
    assert beside.file.exists()
    for _ in range(2):
        assert beside.member.publication.tidy()
        assert not beside.file.exists()
    beside.member.accept(7, (REVOKED,), NOW - HOUR + 1)
    assert not beside.file.exists()


def test_vouchers_are_bounded_and_the_newest_stay(tmp_path, monkeypatch, beside):
    """The file is begun anew when it is full: what was taken in last is what counts."""
    monkeypatch.setattr(vouchers, "MAX_BYTES", 200)
    sizes = set()
    for number in range(6, 12):
        beside.add(beside.member.crl(number, revoked=(REVOKED, OTHER)))
        sizes.add(beside.file.stat().st_size)
    assert max(sizes) <= 200
    beside.judged.clear()
    beside.member.publish()
    assert beside.judged == []


@pytest.mark.parametrize("obstacle", ["no folder", "a folder of its name"])
def test_voucher_that_cannot_be_written_costs_nobody_anything(tmp_path: Path, beside, obstacle):
    """Nor one that cannot be taken away: the CRL is judged."""
    folder = tmp_path / "none"
    if obstacle == "a folder of its name":
        (folder / VOUCHERS).mkdir(parents=True)
    (epoch,) = beside.member.store.epochs()
    known = Vouchers(folder)
    known.add(beside.member.authority, epoch)
    assert list(known.of([(beside.member.authority, epoch)])) == []
    known.clear()
