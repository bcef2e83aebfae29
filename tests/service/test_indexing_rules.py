"""Index files that are lost, damaged or replaced, and facts that come and go while this member serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.laws.test_law1_only_what_is_verified_is_answered import REVOKED, Member, foreign_key
from tests.pki import CA, DAY, HOUR, NOW, serial_octets, shared_key
from tests.service.memory_indexes import MemoryIndexes
from tests.service.recording import AGENT
from tests.service.world import HOLD, World, partition, point

from vouchd.core import issued
from vouchd.errors import CRLQuarantined, IndexFileError, NotFound
from vouchd.pkix.der import Buffer
from vouchd.service.indexing import Indexing
from vouchd.stores.sqlite.store import SqliteStore

HELD = dict.fromkeys(range(1, 11))


class DamagedIndexes(MemoryIndexes):
    """Index files of which some are damaged until they are removed, which shows when they are doubted."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged: set[str] = set()
        self.doubted: list[str] = []

    def write(self, name, crl, certificate_issuer) -> int:
        if name in self.damaged:
            raise IndexFileError(f"{name} is damaged")
        return super().write(name, crl, certificate_issuer)

    def is_intact(self, name: str) -> bool:
        return super().is_intact(name) and name not in self.damaged

    def doubt(self, name: str) -> None:
        self.doubted.append(name)

    def remove(self, name: str) -> None:
        self.damaged.discard(name)
        super().remove(name)


@pytest.fixture
def damaged(ca):
    """A world whose index files may be damaged, with a base and a delta of its CA."""
    world = World()
    world.indexes = DamagedIndexes()
    world.indexing = Indexing(world.store, world.indexes)
    world.ingesting._indexing = world.indexing  # the same acts over these files
    world.authorities.add(ca.der, AGENT)
    world.accept(ca.crl({1: HOLD, 2: None}, number=10, this_update=NOW - 2 * HOUR))
    world.accept(ca.crl({3: None}, number=11, base=10))
    world.indexes.doubted.clear()
    return world


@pytest.fixture
def member(tmp_path) -> Iterator[Member]:
    """A member that serves CRL 5, and verifies what others write into its store."""
    member = Member(tmp_path, SqliteStore(tmp_path / "facts.sqlite"))
    yield member
    member.store.close()


def test_base_that_is_damaged_is_made_again_when_a_delta_comes_over_it(damaged, ca):
    """What is there is believed until it turns out wrong; then it is looked at, taken away and made from the CRL."""
    (before,) = damaged.store.epochs()
    damaged.indexes.damaged.add(before.index_names.base)
    (epoch,) = damaged.accept(ca.crl({4: None}, number=12, base=10))
    assert set(damaged.entries(epoch)) == {1, 2, 4}
    assert before.index_names.base in damaged.indexes.doubted
    assert not damaged.indexes.damaged


@pytest.mark.parametrize("part", ["base", "changes"])
def test_file_that_is_damaged_is_made_again_from_its_crl_alone(damaged, part: str):
    """Of base and delta the one that is whole stays as it is; that one was made again is told."""
    (epoch,) = damaged.store.epochs()
    assert damaged.indexing.prepare().rebuilt == frozenset()
    built = damaged.indexes.built
    damaged.indexes.damaged.add(getattr(epoch.index_names, part))
    assert damaged.indexing.prepare().rebuilt == {epoch.issuing_point.authority_id}
    assert damaged.indexes.built == built + 1
    assert set(damaged.entries(epoch)) == {1, 2, 3}
    assert damaged.indexing.prepare().rebuilt == frozenset()


def test_list_of_issued_serials_that_is_damaged_is_made_again(damaged):
    """It is told which CA's file was made, and nothing where all is there."""
    lab = damaged.authorities.set_issued_serials("CN=Lab CA", b"1\n2\n", AGENT)
    assert damaged.indexing.prepare().rebuilt == {lab.id}
    assert damaged.indexing.prepare().rebuilt == frozenset()
    name = issued.index_name(lab.policy.issued_serials)
    damaged.indexes.files[name] = {b"junk": None}
    damaged.indexes.damaged.add(name)
    assert damaged.indexing.prepare().rebuilt == {lab.id}
    assert set(damaged.indexes.files[name]) == {serial_octets(1), serial_octets(2)}


def test_files_that_were_read_wrong_are_doubted_by_name(damaged):
    """Each of them is looked through when it is wanted next."""
    damaged.indexing.doubt(["one", "other"])
    assert damaged.indexes.doubted == ["one", "other"]


def test_document_of_many_pieces_is_put_together(world, ca, monkeypatch):
    """A store gives large CRLs in pieces, and what is judged and indexed is the whole."""
    monkeypatch.setattr("tests.memory_store.CHUNK_BYTES", 64)
    crl = ca.crl(HELD)
    (epoch,) = world.accept(crl)
    document: Buffer = world.indexing.document(epoch.base)
    assert bytes(document) == crl
    with pytest.raises(NotFound):
        world.indexing.document(replace(epoch.base, sha256="0" * 64))


def test_file_of_folded_changes_is_needed_no_more_and_its_base_is(world, ca):
    """The next delta comes over the base; of epochs without a delta, and before they are folded, all files are needed."""
    other = CA.create("Other CA", key=shared_key("EC", 2))
    world.authorities.add(other.der, AGENT)
    world.accept(ca.crl(HELD, number=10, this_update=NOW - 2 * HOUR))
    (epoch,) = world.accept(ca.crl({11: None}, number=11, base=10))
    (alone,) = world.accept(other.crl({1: None}, number=1))
    assert world.indexing.collect_garbage() == frozenset()
    world.indexing.fold(epoch)
    assert world.indexes.is_present(epoch.index_names.whole)
    assert world.indexing.collect_garbage() == {epoch.index_names.changes}
    assert world.indexes.names() == {epoch.index_names.whole, epoch.index_names.base, alone.index_names.base}
    assert set(world.entries(epoch)) == {*range(1, 12)}


def test_files_that_were_replaced_go_unless_something_names_them_still(world, ca):
    """By CA it costs what was replaced: files of other CAs are not looked at, and what is gone already is not told."""
    (old,) = world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    (new,) = world.accept(ca.crl({2: None}, number=2))
    lab = new.issuing_point.authority_id
    world.indexes.files["other"] = {}
    replaced = {lab: {old.index_name, new.index_name, "gone"}}
    assert world.indexing.collect_replaced(replaced) == {old.index_name}
    assert world.indexes.names() == {new.index_name, "other"}
    assert world.indexing.collect_replaced({"another CA": {"other"}, lab: set()}) == {"other"}


def test_files_of_what_is_served_stay_though_the_store_has_something_else(member):
    """An epoch that was put into the store and is not admitted takes no file of the one that goes on being served."""
    (served,) = member.store.epochs()
    member.store.commit_epoch(*foreign_key(member))
    assert member.publish().refusals
    for collect in (
        member.indexing.collect_garbage,
        lambda: member.indexing.collect_replaced({served.issuing_point.authority_id: {served.index_name}}),
    ):
        assert served.index_name not in collect()
    assert set(member.indexing.prepare().epochs) == {served}


def test_epoch_that_is_served_and_can_be_read_nowhere_any_more_is_lost(member):
    """Its CA cannot be answered for, and is named; the others go on."""
    (served,) = member.store.epochs()
    lab = served.issuing_point.authority_id
    member.store.commit_epoch(*foreign_key(member))
    member.publish()
    for file in member.folder.glob("*.idx"):
        file.unlink()
    facts = member.indexing.prepare()
    assert (facts.lost, facts.epochs) == ({lab}, ())
    assert [one.id for one in facts.authorities] == [lab]


def test_index_file_is_not_made_again_of_another_crl(member, monkeypatch):
    """Octets that were put in the place of a CRL that is served are no CRL that this member has verified."""
    (served,) = member.store.epochs()
    lab = served.issuing_point.authority_id
    member.publish()
    for file in member.folder.glob("*.idx"):
        file.unlink()
    monkeypatch.setattr(member.store, "document_chunks", lambda _: [member.ca.crl({}, number=9)])
    facts = member.indexing.prepare()
    assert (facts.lost, facts.epochs) == ({lab}, ())
    assert [(one.point, "index is lost" in one.why) for one in facts.refusals] == [(served.issuing_point, True)]
    assert served.index_name not in member.indexing._writer.names()
    member.publication.suspect_all()
    member.publish()
    assert member.answer(REVOKED) == "tryLater"


def test_refusal_ends_with_its_ca(member):
    """A CA that is added again is a new one: nothing is known of what was refused before."""
    (served,) = member.store.epochs()
    lab = served.issuing_point.authority_id
    member.store.commit_epoch(*foreign_key(member))
    former = member.indexing.prepare()
    assert [refusal.point for refusal in former.refusals] == [served.issuing_point]
    member.store.remove_authority(lab)
    facts = member.indexing.prepare(former)
    assert (facts.refusals, facts.served, facts.concerned) == ((), {}, {lab})
    assert not member.indexing.admitting._refused


def test_epochs_of_the_store_that_have_to_be_served_are_told_as_soon_as_they_are_read(member):
    """Those admitted, and not the one that is served in the place of a refused one; with the CAs that were looked at."""
    (served,) = member.store.epochs()
    lab = served.issuing_point.authority_id
    calls: list[tuple] = []
    member.indexing.known = lambda *known: calls.append(known)
    facts = member.indexing.prepare()
    assert calls == [({lab}, (served,))]
    member.store.commit_epoch(*foreign_key(member))
    member.indexing.prepare(facts)
    assert calls[1:] == [({lab}, ())]


def test_ca_that_is_removed_is_served_no_more(world, ca):
    """From the former facts, too; what is left is as it was."""
    other = CA.create("Other CA", key=shared_key("EC", 2))
    world.authorities.add(other.der, AGENT)
    (gone,) = world.accept(ca.crl({1: None}, number=1))
    (left,) = world.accept(other.crl({2: None}, number=1))
    former = world.indexing.prepare()
    world.authorities.remove("CN=Lab CA", AGENT)
    facts = world.indexing.prepare(former)
    assert facts.concerned == {gone.issuing_point.authority_id}
    assert facts.served == {left.issuing_point.authority_id: former.served[left.issuing_point.authority_id]}
    assert facts == replace(world.indexing.prepare(), concerned=facts.concerned)


def test_whole_facts_after_others_concern_what_differs(world, ca, monkeypatch):
    """A store that cannot tell what changed tells all; only CAs of which something else is there are looked at."""
    other = CA.create("Other CA", key=shared_key("EC", 2))
    world.authorities.add(other.der, AGENT)
    (first,) = world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    world.accept(other.crl({2: None}, number=1))
    former = world.indexing.prepare()
    changes = world.store.changes
    monkeypatch.setattr(world.store, "changes", lambda _: changes(-1))
    assert world.indexing.prepare(former).concerned == frozenset()
    world.accept(ca.crl({3: None}, number=2))
    assert world.indexing.prepare(former).concerned == {first.issuing_point.authority_id}
    world.authorities.remove("CN=Lab CA", AGENT)
    facts = world.indexing.prepare(former)
    assert facts.concerned == {first.issuing_point.authority_id}
    assert first.issuing_point.authority_id not in facts.stored


@pytest.mark.parametrize("whole", [True, False])
def test_crls_held_back_are_facts_as_long_as_they_wait(world, ca, whole: bool, monkeypatch):
    """Also when something else has changed since; each goes by itself."""
    if whole:
        changes = world.store.changes
        monkeypatch.setattr(world.store, "changes", lambda _: changes(-1))
    world.set_policy(ca, quarantine_percent=20)
    world.accept(ca.crl(HELD, number=1, this_update=NOW - 5 * HOUR))
    facts = world.indexing.prepare()
    assert facts.quarantined == {}
    for crl in (ca.crl({}, number=2), ca.crl({}, number=1, idp=partition("http://ca.test/1.crl"))):
        with pytest.raises(CRLQuarantined):
            world.accept(crl)
        facts = world.indexing.prepare(facts)
        assert facts.quarantined == {one.issuing_point: one for one in world.store.quarantined()}
    world.accept(ca.crl(HELD, number=3, next_update=NOW + DAY))
    facts = world.indexing.prepare(facts)
    assert len(facts.quarantined) == 2
    world.ingesting.drop_quarantined(point(world), AGENT)
    facts = world.indexing.prepare(facts)
    assert facts.quarantined == {one.issuing_point: one for one in world.store.quarantined()}
    assert len(facts.quarantined) == 1
    assert world.indexing.prepare().quarantined == facts.quarantined
