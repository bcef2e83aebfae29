"""The registry of the security domain: who may join, under what name, and who is the master."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from tests.memory_store import MemoryStore
from tests.service.recording import ADMIN, AGENT, NOBODY, FullAudit, RecordingAudit

from vouchd.cloning.registry import LONGEST_TOKEN_SECONDS, MAX_MEMBERS, SecurityDomain, master_of, token_digest
from vouchd.core.facts import Caller, DirectoryServer, Group, Member, Transport
from vouchd.errors import AlreadyExists, ConfigError, NotFound, PermissionDenied, StoreConflict, StoreUnavailable
from vouchd.service.permission import KEY_HOLDERS, Permission

NOW = 1_800_000_000
SUFFIX = "o=ocsp.example"
MEMBER = Caller("subsystem", frozenset({Group.OCSP_ADMINISTRATORS}), "192.0.2.9")


def unsigned(_member: Member, _term: int) -> str:
    """An appointment that nobody looks at here."""
    return ""


def newcomer(key_sha256: str) -> Caller:
    """Who has shown the keys of the set and that key of its own."""
    return Caller("subsystem", frozenset({KEY_HOLDERS}), "192.0.2.9", key_sha256)


@dataclass
class HandClock:
    """A clock that stands until it is set."""

    at: int = NOW

    def now(self) -> int:
        return self.at


@dataclass
class Domain:
    """A domain over a store in memory, with all that can be looked at."""

    store: MemoryStore = field(default_factory=MemoryStore)
    audit: RecordingAudit = field(default_factory=RecordingAudit)
    clock: HandClock = field(default_factory=HandClock)

    @property
    def service(self) -> SecurityDomain:
        return SecurityDomain(self.store, Permission(self.audit), self.audit, self.clock)

    def token(self) -> str:
        return self.service.issue_token(ADMIN)[0]

    def join(self, member: Member, token: str | None = None) -> Member:
        return self.service.join(member, token or self.token(), newcomer(member.tls_sha256))

    def updates(self) -> list[tuple[str, str]]:
        """(operation, outcome) of each record of a change of the domain."""
        return [(d["operation"], o) for event, _, o, d in self.audit.records if event == "SECURITY_DOMAIN_UPDATE"]


def a_member(host: str = "ocsp1.example.org", *, directory: bool = False, **changes: object) -> Member:
    """A member, by default with an embedded store; a directory server of the same host."""
    facts = {"secure_port": 8443, "ee_port": 8080, "name": f"OCSP {host}", "clone": True, "joined_at": 0}
    server = DirectoryServer(host, 389, Transport.STARTTLS, SUFFIX) if directory else None
    return Member(**({"host": host, "tls_sha256": "ab" * 32, "directory": server} | facts | changes))


@pytest.fixture
def domain() -> Domain:
    """A domain with its master, embedded store."""
    domain = Domain()
    domain.service.create(a_member(), ADMIN)
    return domain


@pytest.fixture
def replicated() -> Domain:
    """A domain whose master has a directory server."""
    domain = Domain()
    master = a_member(directory=True)
    domain.service.create(replace(master, directory=replace(master.directory, replica_id=1)), ADMIN)
    return domain


def test_found_first_instance_becomes_the_master(domain):
    """Whoever begins a domain is its master, in term 1, whatever it said of itself."""
    (master,) = domain.store.members()
    assert (master.clone, master.term, master.joined_at) == (False, 1, NOW)
    assert master_of([master]) == master
    assert domain.updates() == [("add", "success")]


def test_found_again_changes_what_differs_and_nothing_of_the_role(domain):
    """A second time writes only what is new: certificate, ports; role and time of joining stay."""
    revision = domain.store.revision()
    domain.service.create(a_member(), ADMIN)
    assert domain.store.revision() == revision
    domain.clock.at += 5
    domain.service.create(a_member(tls_sha256="cd" * 32, clone=True, term=9), ADMIN)
    (master,) = domain.store.members()
    assert (master.tls_sha256, master.clone, master.term, master.joined_at) == ("cd" * 32, False, 1, NOW)


def test_found_where_another_is_the_master_is_refused(domain):
    """A domain has one beginning; who comes later joins."""
    with pytest.raises(ConfigError, match="is the master of this domain") as caught:
        domain.service.create(a_member("ocsp2.example.org", tls_sha256="cd" * 32), ADMIN)
    assert "clone prepare" in caught.value.hint


def test_found_under_another_name_renames_the_sole_master(domain):
    """Whoever mistyped the name gives the right one; it is the same instance, known by its certificate."""
    domain.service.create(a_member("ocsp2.example.org"), ADMIN)
    (master,) = domain.store.members()
    assert (master.host, master.clone, master.term) == ("ocsp2.example.org", False, 1)
    assert domain.updates() == [("add", "success"), ("remove", "success"), ("add", "success")]


def test_found_under_another_name_is_refused_where_others_know_the_first(domain):
    """Members know each other by name; a change of it would leave them without a master."""
    domain.store.put_member(a_member("ocsp3.example.org", tls_sha256="cd" * 32), None)
    before = domain.store.members()
    with pytest.raises(ConfigError, match=r"this instance is ocsp1\.example\.org:8443 to the other members"):
        domain.service.create(a_member("ocsp2.example.org"), ADMIN)
    assert domain.store.members() == before


def test_token_is_kept_as_digest_only_and_lets_in_once(domain):
    """The store never sees the token; the second who brings it is refused."""
    text, token = domain.service.issue_token(ADMIN, 60)
    assert (token.digest, token.expires_at, token.issued_by) == (token_digest(text), NOW + 60, "admin")
    assert len(text) >= 43  # 256 bits in base64
    assert all(text not in str(record) for record in domain.audit.records)
    domain.join(a_member("ocsp2.example.org"), text)
    with pytest.raises(NotFound, match="not valid"):
        domain.join(a_member("ocsp3.example.org"), text)
    assert len(domain.store.members()) == 2


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_TOKEN_SECONDS + 1])
def test_token_of_silly_life_is_refused(domain, seconds):
    """A token lives a second to a week."""
    with pytest.raises(ConfigError, match="a join token lives"):
        domain.service.issue_token(ADMIN, seconds)


def test_token_expired_is_refused(domain):
    """At its end a token is no right any more, which is told to whoever holds it."""
    text, _ = domain.service.issue_token(ADMIN, 60)
    domain.service.require_token(text, NOBODY)
    domain.clock.at += 60
    for attempt in (
        lambda: domain.service.require_token(text, NOBODY),
        lambda: domain.join(a_member("b.example.org"), text),
    ):
        with pytest.raises(NotFound, match="has expired"):
            attempt()


def test_token_checked_stays_good(domain):
    """Looking first uses nothing up."""
    text = domain.token()
    domain.service.require_token(text, NOBODY)
    domain.service.require_token(text, NOBODY)
    assert domain.join(a_member("ocsp2.example.org"), text).clone


@pytest.mark.parametrize("text", ["", "x", "é" * 50, "\x00"])
def test_token_wrong_is_refused_whatever_it_is(domain, text):
    """What was never issued lets nobody in, and nothing is told of the set."""
    with pytest.raises(NotFound, match="not valid"):
        domain.service.join(a_member("ocsp2.example.org"), text, newcomer("ab" * 32))
    assert domain.audit.events[-1] == ("AUTHZ", "failure")


@pytest.mark.parametrize("caller", [AGENT, NOBODY, MEMBER])
def test_token_is_given_by_administrators_only(domain, caller):
    """Neither agents nor the members themselves let new ones in."""
    with pytest.raises(PermissionDenied):
        domain.service.issue_token(caller)


def test_join_makes_a_clone_whatever_the_newcomer_says_of_itself(domain):
    """Role, term and time of joining are the registry's to say: a token is no way to become the master."""
    joined = domain.join(a_member("ocsp2.example.org", clone=False, term=10**9, joined_at=1))
    assert (joined.clone, joined.term, joined.joined_at) == (True, 0, NOW)
    assert master_of(domain.store.members()).host == "ocsp1.example.org"


def test_join_under_the_address_of_another_is_refused_and_keeps_the_token(domain):
    """Who has a token cannot take the place of a member, least of all the master's."""
    text = domain.token()
    with pytest.raises(AlreadyExists, match=r"ocsp1.example.org:8443 is in this domain") as caught:
        domain.join(a_member(tls_sha256="cd" * 32), text)
    assert "domain leave" in caught.value.hint
    domain.service.require_token(text, NOBODY)
    assert domain.store.members()[0].tls_sha256 == "ab" * 32


def test_join_again_with_the_same_certificate_is_the_same_member(domain):
    """A join whose answer was lost can be made once more with another token."""
    first = domain.join(a_member("ocsp2.example.org"))
    domain.clock.at += 9
    assert domain.join(a_member("ocsp2.example.org")) == first
    assert domain.updates()[-1] == ("change", "success")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"host": "localhost"}, "localhost is the loopback interface"),
        ({"host": "192.0.2.1"}, "192.0.2.1 is an address"),
        ({"host": "ocsp2"}, "ocsp2 is not fully qualified"),
        ({"host": "ocsp2.example.org."}, "ends with a dot"),
        ({"host": "o" * 300 + ".org"}, "is not a host name"),
        ({"secure_port": 0}, "not a port"),
        ({"ee_port": 65536}, "not a port"),
        ({"subsystem": "CA"}, "of type OCSP"),
        ({"tls_sha256": ""}, "64 hex digits"),
        ({"tls_sha256": "AB" * 32}, "64 hex digits"),
        ({"directory": None}, "in a directory server"),
        ({"suffix": "o=other"}, "the clone's suffix is o=other"),
        ({"transport": Transport.PLAIN}, "the clone speaks plain"),
        ({"server": "localhost"}, "localhost is the loopback interface"),
        ({"server": "ocsp1.example.org"}, "has this directory server already"),
        ({"server port": 65536}, "65536 is not a port"),
    ],
)
def test_join_with_a_mistake_is_refused_with_its_own_words(replicated, changes, words):
    """Each documented mistake has its error, changes nothing, and leaves the token for the next attempt."""
    member = a_member("ocsp2.example.org", directory=True)
    names = {"suffix": "suffix", "transport": "transport", "server": "host", "server port": "port"}
    if place := {names[name]: value for name, value in changes.items() if name in names}:
        member = replace(member, directory=replace(member.directory, **place))
    else:
        member = replace(member, **changes)
    text, before = replicated.token(), replicated.store.members()
    with pytest.raises(ConfigError, match=words):
        replicated.join(member, text)
    assert replicated.store.members() == before
    replicated.service.require_token(text, NOBODY)


def test_join_with_a_directory_to_an_embedded_master_is_refused(domain):
    """Either all members keep their facts in directory servers, or none."""
    with pytest.raises(ConfigError, match="in the embedded store"):
        domain.join(a_member("ocsp2.example.org", directory=True))


def test_join_where_there_is_no_master_is_refused():
    """A domain that nobody began has nothing to join."""
    empty = Domain()
    with pytest.raises(ConfigError, match="no master"):
        empty.join(a_member())


def test_join_beyond_the_limit_is_refused(domain):
    """A set has an end, so that no list of it grows without one."""
    for number in range(2, MAX_MEMBERS + 1):
        domain.join(a_member(f"ocsp{number}.example.org"))
    with pytest.raises(ConfigError, match="at most 64 members"):
        domain.join(a_member("one-more.example.org"))


def test_join_gives_each_directory_a_replica_id_of_its_own(replicated):
    """No two of a set have one replica id, also one that a newcomer asks for."""
    for number in range(2, 12):
        member = a_member(f"ocsp{number}.example.org", directory=True)
        replicated.join(replace(member, directory=replace(member.directory, replica_id=1)))
    ids = [member.directory.replica_id for member in replicated.store.members()]
    assert len(set(ids)) == len(ids) == 11
    assert all(1 <= number <= 65534 for number in ids)


def test_join_again_keeps_the_replica_id(replicated):
    """A directory that was set up under an id is not told another one."""
    member = a_member("ocsp2.example.org", directory=True)
    first = replicated.join(member)
    assert replicated.join(member).directory.replica_id == first.directory.replica_id


def test_join_through_two_members_at_once_gets_two_replica_ids():
    """Where two registries cannot see each other yet, two newcomers still get different ids."""
    ids = set()
    for host in ("ocsp2.example.org", "ocsp3.example.org"):
        apart = Domain()
        apart.service.create(a_member(directory=True), ADMIN)
        ids.add(apart.join(a_member(host, directory=True)).directory.replica_id)
    assert len(ids) == 2


def test_join_while_another_joins_is_tried_again(domain, monkeypatch):
    """Somebody quicker costs a second look, not the token."""
    put, disturbed = domain.store.put_member, []

    def disturb(member, replaces):
        if not disturbed:
            disturbed.append(member)
            raise StoreConflict("another process was quicker")
        put(member, replaces)

    monkeypatch.setattr(domain.store, "put_member", disturb)
    assert domain.join(a_member("ocsp2.example.org")).id in {member.id for member in domain.store.members()}


def test_join_with_the_key_of_somebody_else_is_refused(domain):
    """Who holds the keys of the set and a token registers no key but its own: nobody is pinned to what he lacks."""
    text = domain.token()
    for caller in (newcomer(""), newcomer("cd" * 32)):
        with pytest.raises(PermissionDenied, match="its own TLS certificate"):
            domain.service.join(a_member("ocsp2.example.org"), text, caller)
    assert len(domain.store.members()) == 1
    assert domain.join(a_member("ocsp2.example.org"), text).clone


def test_member_changes_no_other_member(domain):
    """Its own record is its own; the master's is not, nor is the role."""
    domain.join(a_member("ocsp2.example.org"))
    before = domain.store.members()
    second = replace(MEMBER, member="ocsp2.example.org:8443", key_sha256="ab" * 32)
    for act in (
        lambda service: service.rejoin(a_member(tls_sha256="cd" * 32), second),
        lambda service: service.leave("ocsp1.example.org:8443", second),
        lambda service: service.promote("ocsp2.example.org:8443", second, unsigned),
    ):
        with pytest.raises(PermissionDenied):
            act(domain.service)
    assert domain.store.members() == before
    domain.service.leave("ocsp2.example.org:8443", second)
    assert len(domain.store.members()) == 1


def test_rejoin_of_a_member_renews_what_is_known_and_keeps_its_role(domain):
    """The master that is known by a new certificate stays the master."""
    domain.service.rejoin(a_member(tls_sha256="cd" * 32, clone=True), MEMBER)
    (master,) = domain.store.members()
    assert (master.tls_sha256, master.clone, master.term) == ("cd" * 32, False, 1)


def test_rejoin_of_who_was_taken_out_is_refused(domain):
    """Who was taken out does not come back by itself, though it has the keys of the set."""
    domain.join(a_member("ocsp2.example.org"))
    domain.service.leave("ocsp2.example.org:8443", ADMIN)
    with pytest.raises(NotFound):
        domain.service.rejoin(a_member("ocsp2.example.org"), MEMBER)


def test_leave_takes_a_clone_out_and_records_it(domain):
    """A member is named by host and port, or by its host."""
    domain.join(a_member("ocsp2.example.org"))
    domain.service.leave("ocsp2.example.org", ADMIN)
    assert [member.host for member in domain.store.members()] == ["ocsp1.example.org"]
    assert domain.updates()[-1] == ("remove", "success")


def test_leave_of_the_master_is_refused_while_there_are_others(domain):
    """The role is moved first; the last one may go."""
    domain.join(a_member("ocsp2.example.org"))
    with pytest.raises(ConfigError, match="is the master"):
        domain.service.leave("ocsp1.example.org:8443", ADMIN)
    domain.service.leave("ocsp2.example.org:8443", ADMIN)
    domain.service.leave("ocsp1.example.org:8443", ADMIN)
    assert domain.store.members() == ()


def test_promote_moves_the_role_to_a_higher_term(domain):
    """One master at any time, and the newer claim is the higher term."""
    domain.join(a_member("ocsp2.example.org"))
    promoted = domain.service.promote("ocsp2.example.org", ADMIN, unsigned)
    first, second = domain.store.members()
    assert (first.clone, second.clone, promoted.term) == (True, False, 2)
    assert master_of([first, second]) == second


def test_promote_cut_short_leaves_the_new_master(domain, monkeypatch):
    """Killed between its two steps, the promotion counts: the higher term decides."""
    domain.join(a_member("ocsp2.example.org"))
    put = domain.store.put_member

    def once(member, replaces):
        put(member, replaces)
        raise StoreUnavailable("the store went away")

    with monkeypatch.context() as patch:
        patch.setattr(domain.store, "put_member", once)
        with pytest.raises(StoreUnavailable):
            domain.service.promote("ocsp2.example.org", ADMIN, unsigned)
    assert master_of(domain.store.members()).host == "ocsp2.example.org"


def test_promote_whose_second_step_fails_is_on_record(domain, monkeypatch):
    """The role has moved with the first step, so the record does not wait for the second."""
    domain.join(a_member("ocsp2.example.org"))
    put = domain.store.put_member

    def first_only(member, replaces):
        if member.clone:
            raise StoreConflict("changed meanwhile")
        put(member, replaces)

    with monkeypatch.context() as patch:
        patch.setattr(domain.store, "put_member", first_only)
        with pytest.raises(StoreConflict):
            domain.service.promote("ocsp2.example.org", ADMIN, unsigned)
    assert master_of(domain.store.members()).host == "ocsp2.example.org"
    assert domain.updates()[-1] == ("promote", "success")


def test_promote_of_the_master_changes_nothing(domain):
    """Who has the role keeps it, in the term it has."""
    revision = domain.store.revision()
    assert domain.service.promote("ocsp1.example.org", ADMIN, unsigned).term == 1
    assert domain.store.revision() == revision


@pytest.mark.parametrize("caller", [AGENT, NOBODY])
def test_changes_need_the_right_to_change_the_domain(domain, caller):
    """Rejoining, leaving and promoting are for administrators and members."""
    for act in (
        lambda service: service.rejoin(a_member(), caller),
        lambda service: service.leave("ocsp1.example.org", caller),
        lambda service: service.promote("ocsp1.example.org", caller, unsigned),
        lambda service: service.create(a_member(), caller),
    ):
        with pytest.raises(PermissionDenied):
            act(domain.service)


def test_without_an_audit_log_nobody_joins(domain):
    """No record, no act: also where a token is the right."""
    text = domain.token()
    domain.audit = FullAudit()
    with pytest.raises(StoreUnavailable):
        domain.join(a_member("ocsp2.example.org"), text)
    assert len(domain.store.members()) == 1
