"""What members believe of facts that are gone from a directory that somebody else writes into, too: a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from tests.agent.domain_site import a_clone, own_key
from tests.cloning.test_seals import ALICE, MALLORY, Seat, Site, authority_of
from tests.pki import CA, shared_key
from tests.service.recording import ADMIN, RecordingAudit

from vouchd.cloning.doubt_settlement import DoubtSettlement
from vouchd.cloning.doubts import EVENT
from vouchd.cloning.seals import sealed_removal
from vouchd.core.facts import IssuingPointId
from vouchd.core.ports import CA_KIND, KEYRING_KIND, MEMBER_KIND, USER_KIND
from vouchd.core.signer_facts import Keyring
from vouchd.directory.connection import Change
from vouchd.directory.schema import AUTHORITY, DOMAIN, HIGH_WATERS, KEYRING, MEMBERS, PEOPLE, REMOVAL, STAMP, USER
from vouchd.errors import NotFound, PermissionDenied, StoreConflict
from vouchd.service.permission import Permission

pytestmark = pytest.mark.directory

GONE = "it is gone, and no member has sealed that it is to be"
OPERATOR = ADMIN


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    """A set that is sealed, with a signer and a second user."""
    made = Site(tmp_path)
    made.sealed()
    made.master.store.put_user(MALLORY, None)
    made.master.store.put_keyring(Keyring(epoch=1), made.master.store.keyring())
    for one in made.seats:
        one.look()
        one.store.keyring()
    yield made
    made.close()


def settled(one: Seat) -> DoubtSettlement:
    return DoubtSettlement(one.store, one.seals, Permission(one.audit), one.audit)


def ca(site: Site) -> str:
    """The thief deletes the entry of a CA."""
    site.admin.delete(f"{site.ca_entry},{site.suffix}")
    return CA_KIND


def ca_attribute(site: Site) -> str:
    """The thief has the entry be none of a CA."""
    site.admin.modify(f"{site.ca_entry},{site.suffix}", [Change("delete", AUTHORITY)])
    return CA_KIND


def ca_by_our_store(site: Site) -> str:
    """The thief removes a CA as the program does, without a seal."""
    site.thief.remove_authority(site.authority.id)
    return CA_KIND


def ca_replaced(site: Site) -> str:
    """The thief puts a CA of his own into the entry of another."""
    other = authority_of(CA.create("Lab CA", key=shared_key(number=1)))
    [entry] = site.thief._looked().stored()
    site.admin.modify(entry.dn, [Change("delete", AUTHORITY)])
    site.admin.delete(entry.dn)
    site.thief.put_authority(other)
    return CA_KIND


def user(site: Site) -> str:
    """The thief takes the value of a user out."""
    kept = [value for value in site.values(PEOPLE, USER) if b"mallory" not in value]
    site.write(PEOPLE, USER, *kept)
    return USER_KIND


def all_users(site: Site) -> str:
    """The thief takes all users out, with what says that others are gone."""
    site.write(PEOPLE, USER)
    return USER_KIND


def member(site: Site) -> str:
    """The thief deletes the entry of a member."""
    site.admin.delete(f"{site.member_entry(site.third)},{site.suffix}")
    return MEMBER_KIND


def all_members(site: Site) -> str:
    """The thief deletes the entries of all members."""
    for one in site.seats:
        site.admin.delete(f"{site.member_entry(one)},{site.suffix}")
    return MEMBER_KIND


def keyring(site: Site) -> str:
    """The thief takes the signers of the set out."""
    site.write(DOMAIN, KEYRING)
    return KEYRING_KIND


def _delete_tree(site: Site, dn: str) -> None:
    """The entry with all below it, deepest first."""
    entries = site.admin.search(f"{dn},{site.suffix}", scope="sub", attributes=["1.1"])
    for entry in sorted(entries, key=lambda one: one.dn.count(","), reverse=True):
        site.admin.delete(entry.dn)


def container_of_users(site: Site) -> str:
    """The thief deletes the entry in which the users are."""
    _delete_tree(site, PEOPLE)
    return USER_KIND


def container_of_members(site: Site) -> str:
    """The thief deletes the entry below which the members are."""
    _delete_tree(site, MEMBERS)
    return MEMBER_KIND


def domain(site: Site) -> str:
    """The thief deletes the security domain."""
    _delete_tree(site, DOMAIN)
    return KEYRING_KIND


def everything(site: Site) -> str:
    """The thief leaves nothing but the suffix."""
    for dn in (PEOPLE, DOMAIN, HIGH_WATERS, site.ca_entry):
        _delete_tree(site, dn)
    return CA_KIND


def user_removed_by_a_clone(site: Site) -> str:
    """A clone whose key was stolen seals that a user is gone, past what refuses it there."""
    site.third.seals.require = lambda _: None
    site.third.store.remove_user("mallory")
    return USER_KIND


def clone_takes_another_out(site: Site) -> str:
    """A clone whose key was stolen seals that the master is gone, past what refuses it there."""
    number = site.third.seals._memory.row(MEMBER_KIND, site.master.id).number + 1
    key = own_key(site.third.member.host)
    site.third.store.put_removal(sealed_removal(MEMBER_KIND, site.master.id, number, key))
    site.admin.delete(f"{site.member_entry(site.master)},{site.suffix}")
    return MEMBER_KIND


TAKEN = (
    ca,
    ca_attribute,
    ca_by_our_store,
    ca_replaced,
    user,
    all_users,
    member,
    all_members,
    keyring,
    container_of_users,
    container_of_members,
    domain,
    everything,
    user_removed_by_a_clone,
    clone_takes_another_out,
)


@pytest.mark.parametrize("taken", TAKEN, ids=lambda one: one.__name__)
def test_what_no_member_has_sealed_away_is_believed_by_all_and_said(site, taken):
    """Who can take things out of the directory takes nothing from any member, now and after a restart."""
    before, signers = site.second.look(), site.second.store.keyring()
    kind = taken(site)
    for one in (site.master, site.second):
        for _ in range(2):
            assert (one.look(), one.store.keyring()) == (before, signers)
            assert (kind, GONE) in one.doubts
            one.begin()
        one.look()
        one.look()
        assert (one.look(), one.store.keyring()) == (before, signers)
    settled(site.master).restore(OPERATOR)
    for one in (site.master, site.second):
        assert (one.look(), one.store.keyring().epoch) == (before, signers.epoch)
        assert one.doubts == []
    assert (site.thief.authorities(), site.thief.users(), site.thief.keyring().epoch) == (*before[1:], signers.epoch)


def test_what_a_member_has_removed_is_gone_for_all(site):
    """CAs by any member, users by the master, members by the master or themselves; and nothing is doubted."""
    site.third.store.remove_authority(site.authority.id)
    site.master.store.remove_user("mallory")
    for one in (site.master, site.second):
        one.look()
    site.third.store.remove_member(site.third.id)
    for one in (site.master, site.second):
        members, authorities, users = one.look()
        assert [each.id for each in members] == [site.master.id, site.second.id]
        assert (authorities, [each.id for each in users]) == ((), ["alice"])
        assert one.doubts == []
    site.master.store.remove_member(site.second.id)
    assert [each.id for each in site.master.look()[0]] == [site.master.id]


def test_members_are_taken_out_by_the_master_or_themselves_alone(site):
    """Another member is told whom to ask: nobody would believe it."""
    with pytest.raises(PermissionDenied, match="takes members out") as refusal:
        site.second.store.remove_member(site.third.id)
    assert site.master.id in refusal.value.hint


def test_what_was_removed_does_not_come_back_and_can_be_made_anew(site):
    """The record of before is an old one for all; one that is sealed later counts."""
    entry = site.admin.read(f"{site.ca_entry},{site.suffix}")
    users = site.values(PEOPLE, USER)
    site.third.store.remove_authority(site.authority.id)
    site.master.store.remove_user("mallory")
    site.write(PEOPLE, USER, *users)  # before anybody has looked
    site.admin.add(entry.dn, {name: list(each) for name, each in entry.attributes.items() if name != "cacertificate"})
    site.admin.modify(entry.dn, [Change("add", "cACertificate;binary", entry.all("cACertificate"))])
    joined = Seat(site, 4)
    site.master.store.put_member(joined.member, None)
    for one in (*site.seats, joined):
        one.look()
        one.begin()
        _, authorities, believed = one.look()
        assert (authorities, [each.id for each in believed]) == ((), ["alice"])
        assert {kind for kind, _ in one.doubts} == {CA_KIND, USER_KIND}
    site.second.store.put_authority(site.authority)
    site.master.store.remove_user("mallory")
    site.master.store.put_user(MALLORY, None)
    for one in (*site.seats, joined):
        _, authorities, believed = one.look()
        assert (authorities, [each.id for each in believed]) == ((site.authority,), ["alice", "mallory"])
        assert one.doubts == []


@pytest.mark.parametrize("dn", [PEOPLE, DOMAIN, "cn=CN-Lab CA"])
def test_member_writes_where_the_stamps_were_deleted(site, dn):
    """What tells that an entry was changed meanwhile is mended by the next change, and keeps none out."""
    site.write(dn, STAMP)
    site.master.store.put_user(replace(ALICE, full_name="Alice A."), ALICE)
    site.second.store.put_authority(replace(site.authority, label="renamed"))
    site.master.store.put_keyring(Keyring(epoch=2), site.master.store.keyring())
    site.third.store.put_member(replace(site.third.member, name="renamed"), site.third.member)
    members, authorities, users = site.second.look()
    assert [one.name for one in members][2] == authorities[0].label == "renamed"
    assert users[0].full_name == "Alice A."
    assert site.second.store.keyring().epoch == 2
    assert site.values(dn, STAMP)


def test_operator_believes_that_something_is_gone(site):
    """What was taken out in good order by a version without seals is removed by the word of an operator."""
    before = site.master.look()
    site.thief.remove_authority(site.authority.id)
    site.thief.remove_user("mallory")
    assert site.master.look() == before
    for name in (site.authority.id, "mallory"):
        assert settled(site.master).believe(name, OPERATOR).why == GONE
    for one in site.seats:
        _, authorities, users = one.look()
        assert (authorities, [each.id for each in users]) == ((), ["alice"])
        assert one.doubts == []


def test_crl_of_a_ca_that_the_directory_has_lost_is_not_taken(site):
    """Nothing is acknowledged that no other member would see: who pushes is told what to do."""
    site.thief.remove_authority(site.authority.id)
    with pytest.raises(StoreConflict, match="the directory has lost Lab CA"):
        site.second.store.retire(site.authority, "complete")
    with pytest.raises(NotFound):
        site.second.store.drop_quarantined(IssuingPointId(site.authority.id, "complete"))


def test_removal_by_a_member_that_left_is_sealed_anew(site):
    """Who was away meanwhile believes it all the same; one that it seals after it left counts for nothing."""
    site.third.store.remove_authority(site.authority.id)
    site.master.look()
    site.master.store.remove_member(site.third.id)
    assert site.master.reseal() == 1
    assert site.master.reseal() == 0
    assert site.second.look()[1:] == ((), (ALICE, MALLORY))
    assert site.second.doubts == []
    other = authority_of(CA.create("Second CA", key=shared_key(number=1)), label="Second")
    site.second.store.put_authority(other)
    for one in (site.master, site.second):
        one.look()
    site.third.store.remove_authority(other.id)
    for one in (site.master, site.second):
        assert one.look()[1] == (other,)
        assert (CA_KIND, GONE) in one.doubts
    site.master.reseal()
    assert site.second.look()[1] == (other,)


def test_removal_cut_short_counts_at_any_moment(site):
    """A member's entry that has the removal in it already, or a container that has it, is of one that is gone."""
    removal = site.master.seals.removal(MEMBER_KIND, site.third.id)
    site.master.store.put_removal(removal)
    for one in (site.master, site.second):
        assert [each.id for each in one.look()[0]] == [site.master.id, site.second.id]
    site.master.store.remove_member(site.third.id)
    assert len(site.values(MEMBERS, REMOVAL)) == 1
    for one in (site.master, site.second):
        one.look()
        assert one.doubts == []


def test_many_that_are_gone_at_once_are_one_record(site):
    """A server that lost its data fills no log: what they have in common is recorded once."""
    more = [authority_of(CA.create(f"CA {number}", key=shared_key(number=1))) for number in range(12)]
    for one in more:
        site.master.store.put_authority(one)
    site.second.look()
    site.second.audit = site.second.seals.audit = RecordingAudit()
    for one in more:
        site.thief.remove_authority(one.id)
    assert len(site.second.look()[1]) == 13
    site.second.begin()
    site.second.look()
    assert len(site.second.doubts) == 12
    assert [target for target in site.second.refused() if target.endswith(" and 11 others")]


def test_joining_member_remembers_what_was_removed(site):
    """An old record of something that was removed before it came is none for it."""
    users = site.values(PEOPLE, USER)
    site.master.store.remove_user("mallory")
    joined = Seat(site, 4)
    site.master.store.put_member(joined.member, None)
    assert [each.id for each in joined.look()[2]] == ["alice"]
    site.write(PEOPLE, USER, *users)
    site.write(PEOPLE, REMOVAL)
    assert [each.id for each in joined.look()[2]] == ["alice"]


def test_joining_member_believes_what_it_was_told_and_no_more(site):
    """What stands in its directory when it comes is held against what a member believes, not believed at first sight."""
    joined = Seat(site, 4)
    site.master.store.put_member(joined.member, None)
    before = site.master.look()
    site.thief.put_user(replace(ALICE, certificates=(b"the thief's",)), ALICE)
    site.thief.put_authority(replace(site.authority, history=(CA.create("Lab CA", key=shared_key(number=1)).der,)))
    site.thief.put_member(a_clone(9), None)
    joined.memory.take_over(site.master.seals.beliefs())
    assert joined.look() == before
    assert {kind for kind, _ in joined.doubts} == {CA_KIND, USER_KIND, MEMBER_KIND}
    site.master.store.put_user(ALICE, ALICE)
    site.second.store.put_authority(site.authority)
    joined.begin()
    assert joined.look() == before
    assert [kind for kind, _ in joined.doubts] == [MEMBER_KIND]


def test_what_is_believed_at_first_sight_is_recorded(site):
    """A member whose memory is gone, or that an earlier version let in, does not begin anew without a trace."""
    joined = Seat(site, 4)
    site.master.store.put_member(joined.member, None)
    joined.look()
    details = [detail for event, _, outcome, detail in joined.audit.records if (event, outcome) == (EVENT, "success")]
    assert {detail["target"] for detail in details} == {"4 of kind member", "1 of kind CA", "2 of kind user"}
    assert all("first sight" in detail["why"] for detail in details)


def test_a_clone_outside_the_set_removes_nothing(site):
    """A removal under the key of nobody is none."""
    stranger = Seat(site, 8)
    with closing(stranger.store):
        stranger.seals.require = lambda _: None
        site.admin.read(f"{HIGH_WATERS},{site.suffix}")
        stranger.store.remove_authority(site.authority.id)
    assert a_clone(8).id not in [each.id for each in site.second.look()[0]]
    assert site.second.look()[1] == (site.authority,)
    assert site.second.doubts == [(CA_KIND, GONE)]
