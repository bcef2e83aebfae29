"""The states of a connection: what the table promises, for each state and event."""

from __future__ import annotations

import pytest
from tests.ee.ee_fakes import GOOD, connect, get, make_server, post
from tests.ee.test_connection import tell

from vouchd.ee.states import TRANSITIONS, Event, State


def test_states_table_names_every_state_and_only_known_ones():
    """Each state has its row, and each row leads to a state of the table."""
    assert set(TRANSITIONS) == set(State)
    assert {target for row in TRANSITIONS.values() for target in row.values()} <= set(State)


@pytest.mark.parametrize("state", State)
def test_states_every_state_can_be_closed(state):
    """The transport may end a connection at any time."""
    assert TRANSITIONS[state][Event.CLOSE] is State.CLOSED


def test_states_short_way_is_reached_by_rest_alone():
    """Only when all is answered and the parser holds nothing is a chunk looked at without the parser."""
    ways = {(state, event) for state, row in TRANSITIONS.items() for event in row if row[event] is State.READY}
    assert ways == {(State.READY, Event.REST), (State.PARSING, Event.REST)}


@pytest.mark.parametrize("state", [State.LINGERING, State.CLOSED])
def test_states_refused_or_closed_serves_nothing_more(state):
    """From a refusal on there is no way back to a request."""
    assert set(TRANSITIONS[state].values()) <= {State.LINGERING, State.CLOSED}


@pytest.mark.parametrize("blocked", [State.FULL, State.OWING])
def test_states_client_that_does_not_read_is_served_nothing_new(blocked):
    """No request gets a place in the queue while the client does not take what it has."""
    assert Event.QUEUE not in TRANSITIONS[blocked]


async def test_connection_full_at_its_100_continue_stays_full():
    """A client whose buffer the interim answer fills is blocked like any other: the short way stays shut."""
    server = make_server()
    connection, transport = connect(server)
    await tell(server, connection, get())
    write = transport.write

    def fill(data: bytes) -> None:
        write(data)
        connection.pause_writing()

    transport.write = fill
    request = post(GOOD, headers="Expect: 100-continue\r\n")
    connection.data_received(request[:-5])
    assert connection._state is State.FULL
    assert not transport.reading
