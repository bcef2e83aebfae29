"""What the members of a set believe of a directory that somebody else writes into, too: a real server, three members.

The thief has the password of the directory and so writes what he likes; what he has not is the key of a member.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.agent.domain_site import a_clone, own_key
from tests.contract.backends import directory_backend, directory_server, sha256
from tests.contract.test_approval_store import WAITING
from tests.pki import CA, NOW, shared_key
from tests.service.recording import RecordingAudit

from vouchd.cloning.appointment import appoint
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.doubts import EVENT
from vouchd.cloning.resealing import reseal
from vouchd.core import records
from vouchd.core.approval_facts import Approvals, ApprovalState
from vouchd.core.facts import Authority, Group, JoinToken, Member, User
from vouchd.core.ports import CA_KIND
from vouchd.directory.connection import Change
from vouchd.directory.schema import APPROVALS, AUTHORITY, DOMAIN, MEMBER, MEMBERS, PEOPLE, USER
from vouchd.errors import PermissionDenied
from vouchd.pkix.certs import authority_id, load_certificate
from vouchd.stores.beliefs import Believed
from vouchd.stores.ldap.store import DirectoryStore

pytestmark = pytest.mark.directory


class Now:
    """A clock that stands."""

    def now(self) -> int:
        return NOW


@dataclass
class Seat:
    """A member over the directory that all share here, with its own key and its own memory."""

    site: Site
    number: int
    audit: RecordingAudit = field(default_factory=RecordingAudit)

    def __post_init__(self) -> None:
        self.member = a_clone(self.number, clone=self.number != 1, term=int(self.number == 1))
        self.begin()

    @property
    def id(self) -> str:
        return self.member.id

    def begin(self) -> None:
        """What a new process of the member begins with."""
        key = own_key(self.member.host)
        self.memory = Believed(self.site.folder / f"believed{self.number}.sqlite")
        self.seals = MemberSeals(self.memory, lambda: {key.sha256: key}, Now())
        self.seals.audit = self.audit
        self.store: DirectoryStore = self.site.open(self.seals)

    def reseal(self) -> int:
        return reseal(self.seals, self.store)

    def look(self) -> tuple:
        """All that it believes."""
        return self.store.members(), self.store.authorities(), self.store.users()

    @property
    def doubts(self) -> list[tuple[str, str]]:
        return [(doubt.kind, doubt.why) for doubt in self.seals.doubts]

    def refused(self) -> list[str]:
        failures = [(event, outcome, detail) for event, _, outcome, detail in self.audit.records]
        return [detail["target"] for event, outcome, detail in failures if (event, outcome) == (EVENT, "failure")]


@dataclass
class Site:
    """The directory, a thief's store over it and three members, of which the first is the master."""

    folder: Path

    def __post_init__(self) -> None:
        self.backend = directory_backend(self.folder / "store")
        self.thief: DirectoryStore = self.backend.open()
        self.suffix = self.thief._suffix
        self.admin = directory_server().admin()
        self.ca = CA.create("Lab CA")
        self.authority = authority_of(self.ca)
        self.thief.put_authority(self.authority)
        self.thief.put_user(ALICE, None)
        self.master, self.second, self.third = (Seat(self, number) for number in (1, 2, 3))
        for one in self.seats:
            self.thief.put_member(one.member, None)

    @property
    def seats(self) -> tuple[Seat, ...]:
        return self.master, self.second, self.third

    def open(self, seals: MemberSeals) -> DirectoryStore:
        store = self.backend.open()
        store.use(seals)
        return store

    def sealed(self) -> Site:
        """The master has sealed the set, and everybody has seen it."""
        assert self.master.reseal() == 5
        for one in self.seats:
            one.look()
            assert one.seals.enforced
            assert one.doubts == []
        return self

    def values(self, dn: str, attribute: str) -> tuple[bytes, ...]:
        return self.admin.read(f"{dn},{self.suffix}", [attribute]).all(attribute)

    def write(self, dn: str, attribute: str, *values: bytes) -> None:
        self.admin.modify(f"{dn},{self.suffix}", [Change("replace", attribute, values)])

    @property
    def ca_entry(self) -> str:
        return "cn=CN-Lab CA"

    def member_entry(self, seat: Seat) -> str:
        return f"cn={seat.id},{MEMBERS}"

    def close(self) -> None:
        self.admin.close()
        self.backend.close()


def authority_of(ca: CA, **changes: object) -> Authority:
    return replace(Authority(authority_id(load_certificate(ca.der)), ca.der, "Lab CA"), **changes)


ALICE = User("alice", "Alice", frozenset({Group.ADMINISTRATORS}), (b"a certificate",))
MALLORY = User("mallory", "Mallory", frozenset({Group.ADMINISTRATORS}), (b"another certificate",))


@pytest.fixture
def unsealed(tmp_path) -> Iterator[Site]:
    """A set of an earlier version."""
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def site(unsealed) -> Site:
    """A set that is sealed."""
    return unsealed.sealed()


def crl_issuer(site: Site) -> object:
    """A CRL issuer of the thief's in the record of the CA."""
    foreign = CA.create("Lab CA", key=shared_key(number=1))
    policy = replace(site.authority.policy, crl_issuers=(foreign.der,))
    site.thief.put_authority(replace(site.authority, policy=policy))
    return CA_KIND


def ca_key(site: Site) -> object:
    """A key of the thief's in the history of the CA."""
    foreign = CA.create("Lab CA", key=shared_key(number=1))
    site.thief.put_authority(replace(site.authority, history=(foreign.der,)))
    return CA_KIND


def looser_policy(site: Site) -> object:
    """A policy by which whatever nobody has listed is good, over the seal of the true one."""
    record = json.loads(site.values(site.ca_entry, AUTHORITY)[0])
    record["policy"]["not_found_as_good"] = True
    site.write(site.ca_entry, AUTHORITY, records.to_json(record).encode())
    return CA_KIND


def new_ca(site: Site) -> object:
    """A CA of the thief's own."""
    site.thief.put_authority(authority_of(CA.create("Thief CA", key=shared_key(number=1))))
    return CA_KIND


def administrator(site: Site) -> object:
    """An administrator that nobody has made one."""
    site.thief.put_user(MALLORY, None)
    return "user"


def certificate_of_a_user(site: Site) -> object:
    """The thief's certificate beside that of an administrator."""
    site.thief.put_user(replace(ALICE, certificates=(*ALICE.certificates, b"the thief's")), ALICE)
    return "user"


def user_sealed_by_a_clone(site: Site) -> object:
    """An administrator made on a clone whose key was stolen, past what refuses it there."""
    site.third.seals.require = lambda _: None
    site.third.store.put_user(MALLORY, None)
    return "user"


def new_member(site: Site) -> object:
    """A member that nobody has let in."""
    site.thief.put_member(a_clone(9), None)
    return "member"


def masters_key(site: Site) -> object:
    """The thief's key as that of the master."""
    site.thief.put_member(replace(site.master.member, tls_sha256=own_key("thief").sha256), site.master.member)
    return "member"


def promoted_clone(site: Site) -> object:
    """A clone whose key was stolen makes itself the master."""
    site.third.store.put_member(replace(site.third.member, clone=False, term=7), site.third.member)
    return "member"


def clone_changes_another(site: Site) -> object:
    """A clone whose key was stolen puts another key into the record of the other clone."""
    changed = replace(site.second.member, tls_sha256=own_key("thief").sha256)
    site.third.store.put_member(changed, site.second.member)
    return "member"


def seal_of_something_else(site: Site) -> object:
    """The seal of one user on the record of another."""
    record = json.loads(site.values(PEOPLE, USER)[0])
    forged = {**records.user_record(MALLORY), "seal": record["seal"]}
    site.write(PEOPLE, USER, *site.values(PEOPLE, USER), records.to_json(forged).encode())
    return "user"


PLANTED = (
    crl_issuer,
    ca_key,
    looser_policy,
    new_ca,
    administrator,
    certificate_of_a_user,
    user_sealed_by_a_clone,
    new_member,
    masters_key,
    promoted_clone,
    clone_changes_another,
    seal_of_something_else,
)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.__name__)
def test_what_no_member_has_sealed_is_not_believed_by_any(site, planted):
    """What is written into the directory without the key of a member that may is as if it had not been written."""
    before = site.master.look()
    kind = planted(site)
    for one in (site.master, site.second):
        assert one.look() == before
        one.begin()  # nor after a restart
        assert one.look() == before
        assert [doubt for doubt, _ in one.doubts] == [kind]
        one.look()
        assert len(one.refused()) == 2  # once for each process


def test_facts_are_sealed_once_and_then_nothing_without_a_seal_counts(unsealed):
    """A set of an earlier version goes on as it was until its master has sealed it, which takes nothing along."""
    before = unsealed.master.look()
    unsealed.thief.put_user(replace(ALICE, full_name="Alice, unsealed"), ALICE)
    assert unsealed.second.look()[2][0].full_name == "Alice, unsealed"
    unsealed.thief.put_user(ALICE, replace(ALICE, full_name="Alice, unsealed"))
    for one in (unsealed.second, unsealed.third):
        assert one.reseal() == 0  # the clones wait for the master
    unsealed.sealed()
    assert [one.look() for one in unsealed.seats] == [before] * 3
    assert unsealed.master.reseal() == 0


def test_member_writes_and_all_others_believe(site):
    """What members do in good order costs nobody anything: CAs by each, users by the master."""
    policy = replace(site.authority.policy, not_found_as_good=True)
    site.second.store.put_authority(replace(site.authority, policy=policy))
    site.master.store.put_user(MALLORY, None)
    site.third.store.put_authority(authority_of(CA.create("Second CA", key=shared_key(number=1)), label="Second"))
    looks = [one.look() for one in site.seats]
    assert looks[0] == looks[1] == looks[2]
    assert [user.id for user in looks[0][2]] == ["alice", "mallory"]
    assert [one.label for one in looks[0][1]] == ["Lab CA", "Second"]
    assert looks[0][1][0].policy == policy
    assert [one.doubts for one in site.seats] == [[]] * 3


def test_former_fact_put_back_is_not_believed(site):
    """A record that was right once, with its seal, takes nothing back that was decided since."""
    old = site.values(PEOPLE, USER)
    stripped = replace(ALICE, certificates=())
    site.master.store.put_user(MALLORY, None)
    site.master.store.put_user(stripped, ALICE)
    site.master.store.remove_user("mallory")
    removed = site.values(PEOPLE, USER)
    before = site.second.look()
    site.write(PEOPLE, USER, *old)
    assert site.second.look() == before
    assert site.second.doubts == [("user", "it is older than what this member has believed")]
    site.write(PEOPLE, USER, *removed)
    assert site.second.look() == before
    assert site.second.doubts == []


def test_removed_user_does_not_come_back(site):
    """A user that was removed stays so, whoever puts the record of before into the directory."""
    site.master.store.put_user(MALLORY, None)
    with_mallory = site.values(PEOPLE, USER)
    site.second.look()
    site.master.store.remove_user("mallory")
    before = site.second.look()
    site.write(PEOPLE, USER, *with_mallory)
    assert site.second.look() == before
    assert site.second.doubts


def test_users_are_changed_by_the_master_alone(site):
    """On a clone a change of users is refused with the member to ask, since nobody would believe it."""
    for act in (lambda: site.second.store.put_user(MALLORY, None), lambda: site.second.store.remove_user("alice")):
        with pytest.raises(PermissionDenied, match="users are kept by the master") as refusal:
            act()
        assert site.master.id in refusal.value.hint


def test_what_waits_for_a_second_agent_is_seen_by_all_and_kept_by_the_master_alone(site):
    """A clone shows it and decides nothing; what a thief writes, or puts back from before a decision, is not believed."""
    site.master.store.put_approvals(Approvals(entries=(WAITING,)), Approvals())
    waiting, old = site.master.store.approvals(), site.values(DOMAIN, APPROVALS)
    assert [one.store.approvals() for one in site.seats] == [waiting] * 3
    with pytest.raises(PermissionDenied, match="approvals are kept by the master") as refusal:
        site.second.store.put_approvals(Approvals(), waiting)
    assert site.master.id in refusal.value.hint
    denied = replace(WAITING, state=ApprovalState.DENIED, decided_by="bob", decided_at=150)
    site.master.store.put_approvals(Approvals(entries=(denied,)), waiting)
    decided, true = site.second.store.approvals(), site.values(DOMAIN, APPROVALS)
    assert decided.entries == (denied,)
    site.write(DOMAIN, APPROVALS, *old)
    assert site.second.store.approvals() == decided
    site.thief.put_approvals(Approvals(entries=(WAITING,)), site.thief.approvals())
    assert site.second.store.approvals() == decided
    assert [kind for kind, _ in site.second.doubts] == ["approvals"]
    site.write(DOMAIN, APPROVALS, *true)
    assert (site.second.store.approvals(), site.second.doubts) == (decided, [])


def test_what_waits_goes_on_at_who_becomes_the_master(site):
    """After a promotion the new master decides what was asked for at the old one."""
    site.master.store.put_approvals(Approvals(entries=(WAITING,)), Approvals())
    waiting = site.second.store.approvals()
    appointment = appoint(site.second.member, 2, own_key(site.master.member.host))
    promoted = replace(site.second.member, clone=False, term=2, appointment=appointment)
    site.second.store.put_member(promoted, site.second.member)
    site.second.store.put_member(replace(site.master.member, clone=True), site.master.member)
    assert site.second.reseal() == 2  # it, and the user
    resealed = site.second.store.approvals()
    assert resealed.entries == waiting.entries
    site.second.store.put_approvals(Approvals(), resealed)
    assert [one.store.approvals().entries for one in site.seats] == [()] * 3
    assert [one.doubts for one in site.seats] == [[]] * 3


def test_promoted_member_is_believed_by_its_appointment(site):
    """The role moves by the word of the master; then the new master keeps the users, and seals them anew."""
    appointment = appoint(site.second.member, 2, own_key(site.master.member.host))
    promoted = replace(site.second.member, clone=False, term=2, appointment=appointment)
    site.second.store.put_member(promoted, site.second.member)
    site.second.store.put_member(replace(site.master.member, clone=True), site.master.member)
    assert site.second.reseal() == 1
    site.second.store.put_user(MALLORY, None)
    looks = [one.look() for one in site.seats]
    assert looks[0] == looks[1] == looks[2]
    assert [user.id for user in looks[0][2]] == ["alice", "mallory"]
    assert [one.doubts for one in site.seats] == [[]] * 3
    with pytest.raises(PermissionDenied):
        site.master.store.put_user(MALLORY, MALLORY)


def test_member_that_left_seals_nothing_more_and_takes_nothing_along(site):
    """From the moment that it is out its seal counts for nothing; what it did before stays, sealed by the master."""
    added = authority_of(CA.create("Second CA", key=shared_key(number=1)), label="Second")
    site.third.store.put_authority(added)
    token = JoinToken(sha256(b"token"), NOW + 100, "somebody")
    site.third.store.put_token(token)
    site.second.look()
    assert site.second.store.token(token.digest) == token
    site.master.look()
    site.master.store.remove_member(site.third.id)
    assert site.master.reseal() == 1
    before = site.second.look()
    assert added in before[1]
    assert site.second.store.token(token.digest) is None
    site.third.store.put_authority(replace(site.authority, label="stolen"))
    assert site.second.look() == before
    assert site.second.doubts == [("CA", "it is sealed by a key that is no member's")]


def test_member_that_joined_later_is_believed_by_who_let_it_in(site):
    """A new member counts as soon as one that is believed has let it in, and so does what it writes then."""
    joined = Seat(site, 4)
    site.second.store.put_member(joined.member, None)
    joined.look()
    joined.store.put_authority(authority_of(CA.create("Second CA", key=shared_key(number=1)), label="Second"))
    assert [one.label for one in site.third.store.authorities()] == ["Lab CA", "Second"]  # it reads the registry first
    assert joined.member in site.third.store.members()
    assert site.third.doubts == []


def test_token_that_nobody_has_given_is_none(site):
    """A join token that was written into the directory lets nobody in."""
    site.thief.put_token(JoinToken(sha256(b"planted"), NOW + 100, "somebody"))
    assert site.second.store.token(sha256(b"planted")) is None
    assert site.thief.token(sha256(b"planted")) is not None


def damaged_ca(site: Site) -> None:
    site.write(site.ca_entry, AUTHORITY, b"{")


def damaged_type(site: Site) -> None:
    record = json.loads(site.values(site.ca_entry, AUTHORITY)[0])
    site.write(site.ca_entry, AUTHORITY, records.to_json(record | {"label": 7}).encode())


def damaged_user(site: Site) -> None:
    site.write(PEOPLE, USER, b"[]")


def damaged_member(site: Site) -> None:
    site.write(site.member_entry(site.third), MEMBER, b'{"host": 1}')


@pytest.mark.parametrize("damage", [damaged_ca, damaged_type, damaged_user, damaged_member])
def test_damaged_record_costs_nobody_anything(site, damage):
    """What cannot be read counts as what was believed before, and is shown; a member mends it by its next change."""
    other = authority_of(CA.create("Second CA", key=shared_key(number=1)), label="Second")
    site.master.store.put_authority(other)
    before = site.second.look()
    damage(site)
    assert site.second.look() == before
    assert [why for _, why in site.second.doubts] == ["it is damaged"]


def test_member_without_its_key_writes_nothing(site):
    """Who lost the key that the set knows it by is told so, in place of writing what nobody believes."""
    site.second.seals = MemberSeals(Believed(site.folder / "believed2.sqlite"), dict, Now())
    with pytest.raises(Exception, match="the key by which the set knows this member is gone"):
        site.open(site.second.seals).put_authority(replace(site.authority, label="new"))


def test_member_record_of_a_renewed_key_is_sealed_with_the_one_before(site):
    """A member that has another certificate says so with the key that the others know, and is known by the new one."""
    renewed = own_key("renewed.example.org")
    before = own_key(site.second.member.host)
    keys = {renewed.sha256: renewed, before.sha256: before}
    site.second.seals._read_keys, site.second.seals._keys = lambda: keys, None
    changed: Member = replace(site.second.member, tls_sha256=renewed.sha256)
    site.second.store.put_member(changed, site.second.member)
    site.second.look()
    site.second.store.put_authority(replace(site.authority, label="renamed"))
    assert changed in site.third.look()[0]
    assert [one.label for one in site.third.store.authorities()] == ["renamed"]
    assert site.third.doubts == []
