"""Agreements follow from the registry, and health tells what is missing."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from tests.audit.auditing import SetClock
from tests.directory.site import REPLICATION_PASSWORD, join, nodes, until

from vouchd.cloning.replication_watch import ReplicationWatch
from vouchd.core.facts import DirectoryServer, Member, Transport
from vouchd.directory import replica
from vouchd.directory.agreements import State
from vouchd.directory.config_entries import agreement_dn, agreement_name, replica_dn
from vouchd.directory.connection import Change
from vouchd.directory.health import ask, csn_time, health
from vouchd.directory.topology import Reconciled, peers_of, reconcile
from vouchd.errors import StoreUnavailable

pytestmark = pytest.mark.interop


def member(node) -> Member:
    """The member whose directory server the node is."""
    host = node.server.host
    return Member(host, 8443, 8080, f"OCSP {host}", clone=False, joined_at=1, directory=node.server)


@pytest.fixture(scope="module")
def site():
    """Two servers of one set, initialised, and a third one that is set up but not in the set."""
    with nodes(3) as site:
        join(site[0], site[1])
        yield site


def test_agreements_are_made_what_the_registry_says(site):
    """A new member gets an agreement, one that left loses its own, foreign ones stay; the second time does nothing."""
    first, second, third = site
    connection, suffix = first.connection(), first.server.suffix
    me, other, new = map(member, site)
    foreign = replace(second.server, port=1)
    replica.agree(connection, suffix, foreign, REPLICATION_PASSWORD)
    moved = agreement_dn(suffix, agreement_name(foreign))
    try:
        done = reconcile(connection, me, [me, other, new], REPLICATION_PASSWORD)
        assert done == Reconciled(made=(agreement_name(third.server),), removed=(agreement_name(foreign),))
        assert not reconcile(connection, me, [me, other, new], REPLICATION_PASSWORD)
        connection.modify(
            agreement_dn(suffix, agreement_name(third.server)),
            [Change("replace", "nsds5ReplicaTimeout", (b"7",))],
        )
        done = reconcile(connection, me, [me, other, new], REPLICATION_PASSWORD)
        assert done == Reconciled(changed=(agreement_name(third.server),))
        done = reconcile(connection, me, [me, other], REPLICATION_PASSWORD)
        assert done == Reconciled(removed=(agreement_name(third.server),))
        assert connection.read(moved) is None
    finally:
        connection.close()


def test_registry_without_this_member_removes_nothing(site):
    """An empty registry, as before initialisation, is no reason to cut a server off."""
    first = site[0]
    connection = first.connection()
    assert not reconcile(connection, member(first), [], REPLICATION_PASSWORD)
    assert len(replica.agreements(connection, first.server.suffix)) == 1
    connection.close()


def test_peers_are_other_replicas_of_the_same_suffix(site):
    """Members without a directory, without a replica, on this server or of another suffix are no peers."""
    me, other, new = map(member, site)
    embedded = replace(new, host="embedded.vouchd.test", directory=None)
    single = replace(new, host="single.vouchd.test", directory=replace(new.directory, replica_id=None))
    twin = replace(me, host="twin.vouchd.test")
    strange = replace(new, directory=replace(new.directory, suffix="o=other"))
    assert peers_of(me, [me, other, embedded, single, twin, strange]) == (other.directory,)
    assert peers_of(embedded, [me, other, embedded]) == ()


def test_password_that_was_refused_is_set_anew(site):
    """An agreement whose password the other server refuses gets the one of the registry, others keep theirs."""
    first, second = site[:2]
    connection, suffix = first.connection(), first.server.suffix
    name = agreement_name(second.server)
    members = [member(first), member(second)]
    replica.agree(connection, suffix, second.server, "a-wrong-one", renew=True)
    connection.add(f"cn=late,ou=chunks,{suffix}", {"objectClass": ["vouchdDocumentChunk"], "cn": ["late"]})

    def refused() -> bool:
        return replica.agreements(connection, suffix)[0].code == 49

    # The session that stands goes on until it is idle; the next one binds with the new password.
    connection.modify(agreement_dn(suffix, name), [Change("replace", "nsds5ReplicaEnabled", (b"off",))])
    connection.modify(agreement_dn(suffix, name), [Change("replace", "nsds5ReplicaEnabled", (b"on",))])
    connection.add(f"cn=later,ou=chunks,{suffix}", {"objectClass": ["vouchdDocumentChunk"], "cn": ["later"]})
    assert until(refused)
    assert reconcile(connection, members[0], members, REPLICATION_PASSWORD) == Reconciled(changed=(name,))
    elsewhere = second.connection()
    assert until(lambda: elsewhere.read(f"cn=later,ou=chunks,{suffix}") is not None)
    connection.close()
    elsewhere.close()


def test_agreement_that_the_server_gave_up_begins_anew(site):
    """A server that is no replica for a moment is not cut off for ever, as 389 DS does by itself ("is aborting")."""
    first, third = site[0], site[2]
    connection, suffix, admin = first.connection(), first.server.suffix, third.admin()
    admin.delete(replica_dn(suffix))
    replica.agree(connection, suffix, third.server, REPLICATION_PASSWORD)

    def agreement():
        [one] = [one for one in replica.agreements(connection, suffix) if one.name == agreement_name(third.server)]
        return one

    try:
        assert until(lambda: agreement().aborted)
        replica.enable(admin, third.server)
        members = [member(first), member(site[1]), member(third)]
        assert reconcile(connection, members[0], members, REPLICATION_PASSWORD) == Reconciled(
            changed=(agreement_name(third.server),)
        )
        assert until(lambda: agreement().code == 19), "it asks again, and hears that the other was never initialised"
    finally:
        replica.remove(connection, suffix, agreement_name(third.server))
        connection.close()
        admin.close()


def test_agreement_is_stopped_before_it_is_deleted_and_the_server_lives(site):
    """Some are removed while a session of each begins, none with its session under way, and the server goes on.

    Deleted while it is just binding at the other server, 389 DS 2.3 stands still for minutes, or ends itself.
    """
    first, second = site[:2]
    connection, suffix, pid = first.connection(), first.server.suffix, first.directory.process.pid()
    name = agreement_name(second.server)
    deleted, delete = [], connection.delete

    def watched(dn: str) -> None:
        agreement = connection.read(dn, ["nsds5ReplicaEnabled", "nsds5replicaUpdateInProgress"])
        deleted.append((agreement.text("nsds5ReplicaEnabled"), agreement.text("nsds5replicaUpdateInProgress").upper()))
        delete(dn)

    connection.delete = watched
    for number in range(4):
        entry = {"objectClass": ["vouchdDocumentChunk"], "cn": [f"begun{number}"]}
        connection.add(f"cn=begun{number},ou=chunks,{suffix}", entry)  # something to send
        replica.agree(connection, suffix, second.server, REPLICATION_PASSWORD)
        assert replica.remove(connection, suffix, name)
    assert deleted == [("off", "FALSE")] * 4
    assert first.directory.process.answers()
    assert first.directory.process.pid() == pid
    replica.agree(connection, suffix, second.server, REPLICATION_PASSWORD)
    connection.close()


def test_health_shows_what_a_server_lacks_and_that_it_caught_up(site):
    """With the agreement off the other server is behind by the age of the change; on again it catches up."""
    first, second = site[:2]
    connection, suffix = first.connection(), first.server.suffix
    dn = agreement_dn(suffix, agreement_name(second.server))

    def look(at: int = 0):
        return health(connection, suffix, [second.server], REPLICATION_PASSWORD, at)

    assert until(lambda: look().in_sync)
    connection.modify(dn, [Change("replace", "nsds5ReplicaEnabled", (b"off",))])
    connection.add(f"cn=cut,ou=chunks,{suffix}", {"objectClass": ["vouchdDocumentChunk"], "cn": ["cut"]})
    cut = look()
    newest = max(map(csn_time, cut.vector.newest.values()))
    cut = look(newest + 30)
    assert (cut.peers[0].lag_seconds, cut.in_sync, cut.peers[0].error) == (30, False, "")
    assert cut.state is not State.GREEN
    connection.modify(dn, [Change("replace", "nsds5ReplicaEnabled", (b"on",))])
    assert until(lambda: look().in_sync)
    assert look().peers[0].agreement.state is State.GREEN
    connection.close()


def test_health_says_why_a_server_cannot_be_asked(site):
    """A server that is away, was never initialised, or refuses the password is red with its own reason."""
    first, second, third = site
    connection, suffix = first.connection(), first.server.suffix
    away = replace(second.server, port=1)
    report = health(connection, suffix, [away, third.server], REPLICATION_PASSWORD, 0)
    assert "Can't contact" in report.peers[0].error
    assert report.peers[0].why == (report.peers[0].error, "is the directory server running?")
    assert "never initialised" in report.peers[1].error
    assert "`vouchd clone create`" in report.peers[1].why[1]
    assert report.state is State.RED
    assert [one.host for one in report.strange] == [second.server.host]
    assert report.stale_replicas == ()
    refused = health(connection, suffix, [second.server], "a-wrong-one", 0)
    assert "refused" in refused.peers[0].error
    assert "a-wrong-one" not in refused.peers[0].error
    connection.close()


def test_watch_names_each_server_by_its_member_and_forgets_what_it_cannot_see(site):
    """What operators are shown is who is cut off and why; with the own server away nothing old is passed off as new."""
    first, second, third = site
    members = [member(node) for node in site]
    connection, away = first.connection(), []

    def look(known):
        if away:
            raise StoreUnavailable("the own server is away")
        peers = peers_of(members[0], known)
        return health(connection, first.server.suffix, peers, REPLICATION_PASSWORD, 1_000)

    watch = ReplicationWatch(lambda: members, look, SetClock(1_000))
    assert watch.report is None
    assert until(lambda: watch.look() or watch.report.servers[0].state == "green")
    one, other = watch.report.servers
    assert (one.member, one.server, one.lag_seconds, one.why) == (members[1].id, second.server.address, 0, "")
    assert (other.member, other.state, other.lag_seconds) == (members[2].id, "red", None)
    assert "never initialised" in other.why
    assert (watch.report.at, third.server.replica_id in watch.report.stale_replicas) == (1_000, False)
    away.append(True)
    with pytest.raises(StoreUnavailable):
        watch.look()
    assert watch.report is None
    connection.close()


def test_server_that_says_nothing_is_given_up():
    """A port that takes the connection and never answers holds nobody up: the deadline is for the bind too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = DirectoryServer("127.0.0.1", silent.getsockname()[1], Transport.PLAIN, "o=ocsp.example")
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            ask(hung, REPLICATION_PASSWORD, seconds=0.2)


def test_health_counts_conflicts_and_replicas_of_nobody(site):
    """An entry made on both sides at once is counted; a replica that no member has is named."""
    first, second = site[:2]
    connection, elsewhere, suffix = first.connection(), second.connection(), first.server.suffix
    ways = [
        (connection, agreement_dn(suffix, agreement_name(second.server))),
        (elsewhere, agreement_dn(suffix, agreement_name(first.server))),
    ]
    for one, dn in ways:
        one.modify(dn, [Change("replace", "nsds5ReplicaEnabled", (b"off",))])
    for one, _ in ways:
        one.add(f"cn=both,ou=chunks,{suffix}", {"objectClass": ["vouchdDocumentChunk"], "cn": ["both"]})
    for one, dn in ways:
        one.modify(dn, [Change("replace", "nsds5ReplicaEnabled", (b"on",))])

    def look():
        return health(connection, suffix, [replace(second.server, replica_id=9)], REPLICATION_PASSWORD, 0)

    assert until(lambda: look().conflicts > 0)
    assert look().stale_replicas == (2,)
    assert until(lambda: health(elsewhere, suffix, [first.server], REPLICATION_PASSWORD, 0).conflicts > 0)
    connection.close()
    elsewhere.close()
