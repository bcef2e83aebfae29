"""The directory store over real servers: transports, outages, large CRLs, news, and what two suppliers make of conflicts."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests import pki
from tests.contract.backends import (
    CA,
    FIRST,
    MIB,
    POINT,
    SECOND,
    a_quarantined,
    a_record,
    an_authority,
    an_epoch,
    sha256,
)
from tests.directory.site import Node, join, nodes, until

from vouchd.core.changes import NEVER, Changes
from vouchd.core.facts import Group, Transport, User
from vouchd.directory.connection import Change, Connection, Connections, Credentials
from vouchd.directory.schema import AUTHORITY
from vouchd.errors import AlreadyExists, StoreUnavailable
from vouchd.stores.ldap.changes import EntryChanged, Unanswered, again
from vouchd.stores.ldap.entry_judge import EntryJudge
from vouchd.stores.ldap.known_entries import KnownEntries
from vouchd.stores.ldap.store import DirectoryStore
from vouchd.stores.rules import Unsealed

pytestmark = pytest.mark.process

JUDGE = EntryJudge(Unsealed(), lambda _: None)
THIRD = b"third CRL"
LATER = 10_000_000_000.0  # long after the grace period of chunks


def store_of(node: Node) -> DirectoryStore:
    """A store with the account of the node's instance."""
    return DirectoryStore(node.server, node.made.bind_dn, node.made.password, node.directory.trust)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes(1) as [server]:
        yield server


@pytest.fixture
def store(node) -> Iterator[DirectoryStore]:
    """A store without facts."""
    server = store_of(node)
    for authority in server.authorities():
        server.remove_authority(authority.id)
    yield server
    server.close()


def test_entry_deleted_by_another_program_is_gone_at_once(store, node):
    """Whoever deletes the entry of a CA, the next question does not know it any more, and others stay known."""
    store.put_authority(CA)
    store.put_authority(an_authority("b"))
    known = store.changes(NEVER)
    admin = node.directory.admin()
    everyone = admin.search(node.server.suffix, scope="one", query=f"({AUTHORITY}=*)")
    [entry] = [one for one in everyone if b"CA b" in one.all(AUTHORITY)[0]]
    admin.delete(entry.dn)
    assert store.authorities() == (CA,)
    changes = store.changes(known.revision)
    assert (changes.authorities, changes.whole) == ({an_authority("b").id: None}, False)


def test_entries_read_in_doubt_tell_what_changed_after_all_that_was_told(store, node):
    """After an outage everything is read again; what differs is told to whoever asks by a revision told before."""
    store.put_authority(CA)
    store.put_authority(an_authority("b"))
    connections = Connections(node.server, Credentials(node.made.bind_dn, node.made.password), node.directory.trust)
    entries = KnownEntries(node.server.suffix, JUDGE)
    with connections.connection() as connection:
        before = entries.changes(connection, NEVER)
        store.remove_authority(CA.id)
        entries.doubt()
        after = entries.changes(connection, before.revision)
        assert (after.authorities, after.points, after.whole) == ({CA.id: None}, {}, False)
        assert entries.changes(connection, after.revision + 1) == Changes(after.revision)
    connections.close()


def test_entries_compared_at_each_change_are_those_there_are(store, node):
    """Names and numbers that are compared tell additions, changes and removals alike."""
    connections = Connections(node.server, Credentials(node.made.bind_dn, node.made.password), node.directory.trust)
    hours = itertools.count(step=3600)
    entries = KnownEntries(node.server.suffix, JUDGE, lambda: next(hours))
    with connections.connection() as connection:
        for change in (
            lambda: store.put_authority(CA),
            lambda: store.put_authority(an_authority("b")),
            lambda: store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST}),
            lambda: store.remove_authority(an_authority("b").id),
        ):
            change()
            entries.look(connection)
            assert {one.authority.id for one in entries.stored()} == {one.id for one in store.authorities()}
        assert entries.point(POINT).epoch == an_epoch(CA)
    connections.close()


def test_addition_of_what_is_there_leaves_the_numbers_of_changes_alone(store, node):
    """The server takes a number back for an addition that fails, so none is sent that would."""
    store.put_authority(CA)
    admin = node.directory.admin()
    [entry] = admin.search(node.server.suffix, scope="one", query=f"({AUTHORITY}=*)")
    before = admin.last_usn()
    with pytest.raises(AlreadyExists):
        admin.add(entry.dn, {"objectClass": ["top", "extensibleObject"], "cn": ["x"]})
    assert admin.last_usn() == before


@contextmanager
def unseen_addition(store, node, clock: Callable[[], float]) -> Iterator[tuple[KnownEntries, Callable[[], dict]]]:
    """A CA is added beside another program's failed addition, which takes its number back; asks what has changed."""
    store.put_authority(CA)
    connections = Connections(node.server, Credentials(node.made.bind_dn, node.made.password), node.directory.trust)
    entries = KnownEntries(node.server.suffix, JUDGE, clock)
    admin = node.directory.admin()
    with connections.connection() as connection:
        before = entries.changes(connection, NEVER)
        [entry] = admin.search(node.server.suffix, scope="one", query=f"({AUTHORITY}=*)")
        with pytest.raises(admin.ldap.ALREADY_EXISTS):
            admin.raw.add_s(entry.dn, [("objectClass", [b"top", b"extensibleObject"]), ("cn", [b"x"])])
        store.put_authority(an_authority("b"))
        assert admin.last_usn() == before.revision, "else the server has been mended: look again at what this is for"
        yield entries, lambda: entries.changes(connection, before.revision).authorities
    connections.close()


def test_change_under_a_number_that_was_given_before_is_seen_within_a_minute(store, node):
    """Another program's failed addition and a change cancel out in the newest number; the next comparison sees it."""
    clock = itertools.chain([0.0, 59.0], itertools.repeat(60.0))
    with unseen_addition(store, node, lambda: next(clock)) as (_, changes):
        assert changes() == {}
        assert changes() == {an_authority("b").id: an_authority("b")}


def test_change_under_a_number_that_was_given_before_is_seen_at_once_by_who_mistrusts(store, node):
    """After a change that found another state than was known the next look compares, whatever the newest number is."""
    with unseen_addition(store, node, lambda: 0.0) as (entries, changes):
        assert changes() == {}
        entries.mistrust()
        assert changes() == {an_authority("b").id: an_authority("b")}


@pytest.mark.parametrize("reason", ["another was quicker", "no answer"])
def test_change_that_meets_another_state_mistrusts_what_is_known(node, reason):
    """What a change decides by is looked at anew before it is decided again."""
    connections = Connections(node.server, Credentials(node.made.bind_dn, node.made.password), node.directory.trust)
    errors = {
        "another was quicker": EntryChanged("it was changed meanwhile"),
        "no answer": Unanswered(StoreUnavailable("no answer in time"), lambda _: False),
    }
    calls, failing = [], iter([errors[reason]])

    def change(_: Connection) -> None:
        calls.append("change")
        for error in failing:
            raise error

    again(connections, change, lambda: calls.append("mistrust"))
    after = [] if reason == "another was quicker" else ["mistrust"]
    assert calls == ["change", "mistrust", "change", *after]
    connections.close()


@pytest.mark.parametrize("transport", [Transport.TLS, Transport.STARTTLS])
def test_store_over_tls_takes_and_gives_facts(transport):
    """The store works over both kinds of TLS, with the CA of the server given."""
    with nodes(1, transport) as [node]:
        store = store_of(node)
        store.put_authority(CA)
        store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
        assert (store.epochs(), store.document(sha256(FIRST))) == ((an_epoch(CA),), FIRST)
        store.close()


def test_server_that_is_not_trusted_is_refused_and_told(tmp_path):
    """A directory server whose certificate comes from another CA is not spoken to."""
    with nodes(1, Transport.STARTTLS) as [node]:
        other = tmp_path / "other.pem"
        other.write_bytes(pki.CA.create("Another root").pem)
        store = DirectoryStore(node.server, node.made.bind_dn, node.made.password, other)
        with pytest.raises(StoreUnavailable) as refused:
            store.authorities()
        assert node.made.password not in str(refused.value)


def test_wrong_password_is_told_without_it(node):
    """A bind that is refused says so, and no message holds the password."""
    store = DirectoryStore(node.server, node.made.bind_dn, "wrong-secret")
    with pytest.raises(StoreUnavailable, match="bind was refused") as refused:
        store.users()
    assert "wrong-secret" not in f"{refused.value} {refused.value.hint}"


def test_server_killed_and_back_store_goes_on():
    """With the server away every call says that the store is away and nothing changes; when it is back all goes on."""
    with nodes(1) as [node]:
        store = store_of(node)
        store.put_authority(CA)
        store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
        node.directory.kill()
        with pytest.raises(StoreUnavailable):
            store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
        with pytest.raises(StoreUnavailable):
            store.revision()
        node.directory.start()
        assert store.epochs() == (an_epoch(CA),)
        store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
        assert store.document(sha256(SECOND)) == SECOND
        store.close()


def test_crl_of_many_megabytes_comes_back_in_pieces(store):
    """A CRL far above a directory's liking is kept in pieces, and comes back as it was."""
    crl = os.urandom(MIB) * 64
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, 1, replace(a_record(crl), size_bytes=len(crl))), {sha256(crl): crl})
    sizes = [len(piece) for piece in store.document_chunks(sha256(crl))]
    assert (len(sizes), max(sizes)) == (64, MIB)
    assert store.document(sha256(crl)) == crl


def test_small_crl_stands_where_the_certificate_system_looks(store, node):
    """The complete CRL, its numbers and times are in the attributes that the Certificate System reads."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, 1, a_record(FIRST, 12, 1700000000)), {sha256(FIRST): FIRST})
    admin = node.admin()
    [entry] = admin.search(node.server.suffix, scope="one", query="(objectClass=crlIssuingPointRecord)")
    admin.close()
    assert entry.all("certificateRevocationList") == (FIRST,)
    assert (entry.text("crlNumber"), entry.text("thisUpdate")) == ("0212", "20231114221320Z")


def test_damaged_chunk_is_not_taken_for_the_document(store, node):
    """A piece that was changed in the directory is noticed by its hash, and nothing of it is passed off as a CRL."""
    crl = os.urandom(2 * MIB)
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, 1, replace(a_record(crl), size_bytes=len(crl))), {sha256(crl): crl})
    admin = node.admin()
    name = f"cn={sha256(crl)}-00001,ou=chunks,{node.server.suffix}"
    admin.modify(name, [Change("replace", "vouchdChunk", (os.urandom(MIB),))])
    admin.close()
    with pytest.raises(StoreUnavailable, match="damaged"):
        store.document(sha256(crl))


def test_settle_collects_chunks_that_nothing_names_after_their_time(store, node):
    """Chunks of a superseded CRL stay while somebody may be reading, and then go."""
    crl = os.urandom(MIB + 1)
    store.put_authority(CA)
    store.put_quarantined(a_quarantined(CA, crl), crl)
    store.drop_quarantined(POINT)
    store.settle(0)
    admin = node.admin()
    query = f"(cn={sha256(crl)}-*)"
    assert len(admin.search(f"ou=chunks,{node.server.suffix}", scope="one", query=query, attributes=["cn"])) == 2
    store.settle(LATER)
    assert admin.search(f"ou=chunks,{node.server.suffix}", scope="one", query=query, attributes=["cn"]) == ()
    admin.close()


def test_notify_tells_of_changes_by_others_also_after_an_outage():
    """Whoever listens hears of another handle's change, and of what may have changed while the server was away."""
    with nodes(1) as [node]:
        listening, changing = store_of(node), store_of(node)
        heard = threading.Semaphore(0)
        stop = listening.notify(heard.release)
        assert heard.acquire(timeout=10)  # the search stands
        changing.put_authority(CA)
        assert heard.acquire(timeout=10)
        node.directory.kill()
        node.directory.start()
        assert heard.acquire(timeout=20)
        stop()
        changing.put_authority(replace(CA, label="after the end"))
        assert not heard.acquire(timeout=0.5) or not heard.acquire(timeout=0.5)
        listening.close()
        changing.close()


@pytest.fixture
def pair() -> Iterator[tuple[DirectoryStore, DirectoryStore, Node, Node]]:
    """Two stores whose servers replicate with each other."""
    with nodes(2) as [one, other]:
        join(one, other)
        stores = store_of(one), store_of(other)
        assert until(lambda: stores[1].authorities() == ())
        yield (*stores, one, other)
        for store in stores:
            store.close()


def cut(*servers: Node, off: bool) -> None:
    """Let no change pass between the servers, or let them pass again."""
    for node in servers:
        admin = node.admin()
        query = "(objectClass=nsDS5ReplicationAgreement)"
        for agreement in admin.search("cn=mapping tree,cn=config", scope="sub", query=query, attributes=["cn"]):
            admin.modify(agreement.dn, [Change("replace", "nsds5ReplicaEnabled", (b"off" if off else b"on",))])
        admin.close()


def test_crls_accepted_on_both_while_cut_off_converge_to_the_newest(pair):
    """Of CRLs that two members accepted without knowing of each other both have the newer one in the end."""
    one, other, *servers = pair
    one.put_authority(CA)
    one.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    assert until(lambda: other.epochs() == one.epochs())
    cut(*servers, off=True)
    older = an_epoch(CA, 2, a_record(SECOND, 2, 1100))
    newer = an_epoch(CA, 2, a_record(THIRD, 3, 1200))
    other.commit_epoch(newer, {sha256(THIRD): THIRD})
    one.commit_epoch(older, {sha256(SECOND): SECOND})  # the later change, with the older CRL
    cut(*servers, off=False)
    assert until(lambda: one.epochs() == other.epochs() == (newer,))
    assert one.document(sha256(THIRD)) == other.document(sha256(THIRD)) == THIRD
    assert one.high_water(POINT) == other.high_water(POINT) == (3, 1200)
    one.settle(0)
    assert until(lambda: other.epochs() == one.epochs() == (newer,))
    one.commit_epoch(an_epoch(CA, 3, a_record(b"fourth", 4, 1300)), {sha256(b"fourth"): b"fourth"})
    assert until(lambda: other.epochs() == one.epochs() and other.epochs() != (newer,))


def test_same_ca_added_on_both_while_cut_off_loses_no_crl(pair):
    """A CA that was added on both sides becomes one again, with the newest CRL that either side acknowledged."""
    one, other, *servers = pair
    cut(*servers, off=True)
    one.put_authority(CA)
    one.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    newer = an_epoch(CA, 1, a_record(SECOND, 2, 1100))
    other.put_authority(CA)
    other.commit_epoch(newer, {sha256(SECOND): SECOND})
    cut(*servers, off=False)
    assert until(lambda: one.epochs() == other.epochs() == (newer,), 40)
    assert one.authorities() == other.authorities() == (CA,)
    assert one.document(sha256(SECOND)) == other.document(sha256(SECOND)) == SECOND


def test_large_crl_stored_on_both_while_cut_off_leaves_no_chunk_behind(pair):
    """Chunks that two members stored at one time are there twice, and all of them go when nothing names them."""
    one, other, *servers = pair
    crl = os.urandom(2 * MIB)
    cut(*servers, off=True)
    for store in (one, other):
        store.put_authority(CA)
        store.put_quarantined(a_quarantined(CA, crl), crl)
    cut(*servers, off=False)
    assert until(lambda: one.quarantined() == other.quarantined() == (a_quarantined(CA, crl),), 40)
    assert one.document(sha256(crl)) == other.document(sha256(crl)) == crl
    one.remove_authority(CA.id)
    assert until(lambda: other.authorities() == ())

    def empty() -> bool:
        left = 0
        for store, node in ((one, servers[0]), (other, servers[1])):
            store.settle(LATER)
            admin = node.admin()
            query = "(|(objectClass=vouchdDocumentChunk)(objectClass=ldapSubEntry))"
            left += len(admin.search(f"ou=chunks,{node.server.suffix}", scope="one", query=query, attributes=["cn"]))
            admin.close()
        return not left

    assert until(empty, 40)


def test_user_changed_on_both_while_cut_off_keeps_what_both_left(pair):
    """Rights that one side took away are not brought back by the other."""
    one, other, *servers = pair
    alice = User("alice", "Alice", frozenset({Group.AGENTS, Group.AUDITORS}), (b"\x30\x01", b"\x30\x02"))
    one.put_user(alice, None)
    assert until(lambda: other.users() == (alice,))
    cut(*servers, off=True)
    one.put_user(replace(alice, groups=frozenset({Group.AGENTS})), alice)
    other.put_user(replace(alice, certificates=(b"\x30\x02",)), alice)
    cut(*servers, off=False)
    wanted = (replace(alice, groups=frozenset({Group.AGENTS}), certificates=(b"\x30\x02",)),)
    assert until(lambda: one.users() == other.users() == wanted)
