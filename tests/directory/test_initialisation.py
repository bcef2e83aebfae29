"""Servers that are filled from each other: three transports, cut short, busy, and forgotten; each test has its own."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest
from tests.directory.site import REPLICATION_PASSWORD, arrives, chunk, fill, join, nodes, until

from vouchd.core.facts import Transport
from vouchd.directory import replica
from vouchd.directory.agreements import BUSY, State
from vouchd.directory.config_entries import agreement_name, replica_dn
from vouchd.directory.health import read_vector
from vouchd.errors import LifecycleError, VouchdError

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("transport", list(Transport))
def test_two_servers_initialised_exchange_changes_in_either_direction(transport):
    """In each transport the instances' accounts wire two servers, fill the new one, and changes go both ways."""
    with nodes(2, transport) as (first, second):
        before = chunk(first, "before")
        seen = []
        join(first, second, progress=lambda agreement, seconds: seen.append((agreement.refreshing, seconds)))
        assert arrives(second, before)
        assert arrives(second, chunk(first, "there"))
        assert arrives(first, chunk(second, "back"))
        assert any(refreshing for refreshing, _ in seen)
        assert sorted(seconds for _, seconds in seen) == [seconds for _, seconds in seen]


def test_clone_of_a_clone_gets_changes_of_all():
    """A server filled by a clone has what the master writes, and the master what the third one writes."""
    with nodes(3) as (master, clone, third):
        join(master, clone)
        join(clone, third)
        assert arrives(third, chunk(master, "down"))
        assert arrives(master, chunk(third, "up"))


def test_initialisation_of_a_server_that_dies_ends_and_can_be_done_again():
    """A server killed while it is filled ends the initialisation with that reason; the next one makes it whole."""
    with nodes(2, Transport.TLS) as (first, second):
        connection, suffix = first.connection(), first.server.suffix
        fill(first, megabytes=30)
        replica.agree(connection, suffix, second.server, REPLICATION_PASSWORD)
        killed = []

        def kill(agreement, _seconds) -> None:
            if agreement.initialising and not killed:
                killed.append(second.directory.process.pid())
                second.directory.kill()

        with pytest.raises(LifecycleError, match="was not initialised") as caught:
            replica.initialise(connection, suffix, second.server, kill)
        assert killed
        assert "not done in" not in str(caught.value)
        second.directory.start()
        replica.initialise(connection, suffix, second.server)
        assert arrives(second, f"cn=big29,ou=chunks,{suffix}")
        connection.close()


def test_initialisation_under_way_is_waited_for():
    """A command that is repeated while the server is being filled waits for that, and fills it once."""
    with nodes(2) as (first, second):
        connection, suffix = first.connection(), first.server.suffix
        replica.agree(connection, suffix, second.server, REPLICATION_PASSWORD)
        again = []

        def repeat(agreement, _seconds) -> None:
            if agreement.initialising and not again:
                again.append(None)
                other = first.connection()
                again[0] = replica.initialise(other, suffix, second.server)
                other.close()

        done = replica.initialise(connection, suffix, second.server, repeat)
        assert done.init_ok
        assert again[0].init_start == done.init_start
        connection.close()


def test_initialisation_of_a_server_that_another_one_keeps_busy_is_done_after_it():
    """A server that is just being filled by another member is no failure: it is asked again until it is free."""
    with nodes(3) as (master, clone, third):
        join(master, clone)
        dn = fill(master, megabytes=30)
        assert arrives(clone, dn)
        suffix, busy, done = master.server.suffix, [], []
        first, second = master.connection(), clone.connection()
        for one in (first, second):
            replica.agree(one, suffix, third.server, REPLICATION_PASSWORD)

        def too(agreement, _seconds) -> None:
            if agreement.initialising and not done:
                done.append(None)
                done[0] = replica.initialise(second, suffix, third.server, lambda now, _: busy.append(now))

        assert replica.initialise(first, suffix, third.server, too).init_ok
        assert any(now.init_code == BUSY for now in busy)
        assert done[0].init_ok
        assert arrives(third, dn)
        for one in (first, second):
            one.close()


def test_agreement_that_two_end_while_it_initialises_is_ended_once():
    """Whoever asks for it at the same moment: the server ends the agreement and goes on, and takes a new one."""
    with nodes(2) as (first, second):
        suffix, name = first.server.suffix, agreement_name(second.server)
        fill(first, megabytes=10)
        connections = [first.connection() for _ in range(3)]
        replica.agree(connections[0], suffix, second.server, REPLICATION_PASSWORD)

        def begun(agreement, _seconds) -> None:
            if agreement.initialising and not ended:
                ended.extend(pool.submit(replica.remove, one, suffix, name) for one in connections[1:])

        ended: list[Future[bool]] = []
        with ThreadPoolExecutor() as pool, suppress(VouchdError):  # unless the filling is quicker than the ending
            replica.initialise(connections[0], suffix, second.server, begun)
        assert sorted(one.result() for one in ended) == [False, True]
        join(first, second)
        assert arrives(second, chunk(first, "after"))
        for one in connections:
            one.close()


def test_removed_server_is_forgotten_by_the_others():
    """After removal and cleaning no update vector has the removed replica, and the rest goes on."""
    with nodes(3) as (master, clone, third):
        for one, other in ((master, clone), (master, third)):
            join(one, other)
        assert arrives(master, chunk(third, "trace"))
        assert arrives(clone, f"cn=trace,ou=chunks,{master.server.suffix}")
        suffix = master.server.suffix
        connection, elsewhere = master.connection(), clone.connection()
        own = third.connection()
        for agreement in replica.agreements(own, suffix, ours=False):
            assert replica.remove(own, suffix, agreement.name)
        own.delete(replica_dn(suffix))
        assert replica.remove(connection, suffix, agreement_name(third.server))
        assert not replica.remove(connection, suffix, agreement_name(third.server))
        replica.clean_ruv(connection, suffix, 3)
        assert 3 not in read_vector(connection, suffix).newest
        assert until(lambda: 3 not in read_vector(elsewhere, suffix).newest)
        assert arrives(clone, chunk(master, "after"))
        assert read_vector(own, suffix) is None
        (agreement,) = replica.agreements(connection, suffix)
        assert (agreement.host, agreement.state, agreement.ours) == (clone.server.host, State.GREEN, True)
