"""Where one group of clients waits for signatures of which few fit into a slice, several answers are written at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest
from tests.ee.ee_fakes import AT, GOOD, FakeResponder, FakeTransport, FakeTurns, connect, make_server, post
from tests.ee.test_connection import answers

from vouchd.ee.connection import EEConnection
from vouchd.ee.port_state import WRITTEN_TOGETHER
from vouchd.ee.server import EEServer
from vouchd.service.assembling import Draft
from vouchd.service.terms import Answer

MANY = 2 * WRITTEN_TOGETHER + 3

Waiting = list[tuple[EEConnection, FakeTransport]]


@pytest.fixture(autouse=True)
def _one_in_a_slice(monkeypatch):
    """Each signature takes a slice by itself."""
    seconds = count()
    monkeypatch.setattr("vouchd.ee.signing_queue.perf_counter", lambda: float(next(seconds)))


def ask(server: EEServer, *requests: bytes, peer: str = "192.0.2.1") -> Waiting:
    """A connection for each request."""
    clients = [connect(server, peer) for _ in requests]
    for (connection, _), request_der in zip(clients, requests, strict=True):
        connection.data_received(post(request_der))
    return clients


def nonces(number: int) -> list[bytes]:
    return [b"0nonce-%d" % one for one in range(number)]


async def turns(server: EEServer, clients: Waiting, between: Callable[[int], object] = lambda _: None) -> list[int]:
    """How many have their answer after each turn, until nobody waits; between two turns something may happen."""
    written: list[int] = []
    while not server.state.queue.is_idle:
        await asyncio.sleep(0)
        written.append(sum(bool(transport.written) for _, transport in clients))
        between(len(written))
    return written


async def test_answers_of_one_group_are_written_some_at_a_time_and_the_last_ones_at_once():
    """So that who waits is woken once for several, and nobody waits for signatures that nobody wants."""
    server = make_server()
    clients = ask(server, *nonces(MANY))
    written = await turns(server, clients)
    few = WRITTEN_TOGETHER
    assert written == [0] * (few - 1) + [few] * few + [2 * few] * (MANY - 2 * few) + [MANY]
    assert [answers(transport) for _, transport in clients] == [[b"200 answer to " + one] for one in nonces(MANY)]


async def test_answer_that_nobody_else_waits_for_is_written_in_its_turn():
    """One client by itself waits for its own signature."""
    server = make_server()
    assert await turns(server, ask(server, b"0nonce")) == [1]


async def test_answers_are_written_at_once_while_another_group_waits():
    """Who shares a group with many may wait for some of them; who does not waits for one signature of each group."""
    server = make_server()
    greedy, late = ask(server, *nonces(MANY)), []

    def between(turn: int) -> None:
        if turn == 3:
            late.extend(ask(server, b"0nonce-modest", peer="198.51.100.1"))
        if turn == 5:
            assert answers(late[0][1]) == [b"200 answer to 0nonce-modest"]

    written = await turns(server, greedy, between)
    assert written[:5] == [0, 0, 0, 4, 4]  # the fourth turn is the greedy's, the fifth the modest's


async def test_answer_that_many_want_is_signed_once_also_in_other_turns():
    """Who asks what was signed and is not written yet has the same answer."""
    responder = FakeResponder()
    server = make_server(responder)
    clients = ask(server, GOOD, b"0nonce-1", GOOD, b"0nonce-2", GOOD, b"0nonce-3")
    await turns(server, clients)
    assert [der for der, _ in responder.calls].count(GOOD) == 1
    assert [answers(clients[one][1]) for one in (0, 2, 4)] == [[b"200 answer to 0good"]] * 3


async def test_many_who_ask_the_same_with_a_nonce_are_not_all_signed_for_in_one_turn():
    """Each of them gets a signature of its own: those of whole queues would hold the loop for as long as they take."""
    server = make_server()
    clients = ask(server, *([b"0nonce"] * MANY))
    written = await turns(server, clients)
    assert max(after - before for before, after in zip([0, *written], written, strict=False)) <= 2
    assert [answers(transport) for _, transport in clients] == [[b"200 answer to 0nonce"]] * MANY


async def test_answer_does_not_wait_to_be_written_while_others_ask_for_what_is_not_signed():
    """There may be no end of them, as in a network from which somebody sends nonsense."""
    server = make_server()
    clients = ask(server, b"0nonce", *([b"nonsense"] * MANY))
    written = await turns(server, clients)
    assert written[:2] == [0, 2]
    assert answers(clients[0][1]) == [b"200 answer to 0nonce"]


@pytest.mark.parametrize("signers", [True, False], ids=["other signers", "new state"])
async def test_answer_that_waits_to_be_written_is_made_anew_when_what_it_rests_on_has_changed(signers):
    """After a new CRL, or the word to sign with another key, nobody is given what was signed before."""
    responder = FakeResponder()
    signing = FakeTurns(responder) if signers else None
    server = make_server(responder, signing=signing)
    clients = ask(server, *nonces(3))

    def between(turn: int) -> None:
        if turn == 2 and signing:
            signing.word[0] = 1
        elif turn == 2:
            responder.prefix = b"new state: "
            responder.change()

    await turns(server, clients, between)
    begin = b"200 new signer: " if signers else b"200 new state: "
    assert [answers(transport) for _, transport in clients] == [[begin + one] for one in nonces(3)]


class ForASecond(FakeResponder):
    """Its answers may be given in the second in which they were drafted."""

    def draft(self, request_der: bytes, at: int) -> Draft | Answer:
        draft = super().draft(request_der, at)
        draft.terms.fresh_until = at
        return draft


async def test_answer_that_ends_while_it_waits_to_be_written_is_made_anew():
    """The last second in which an answer may be given counts when it is written."""
    responder = ForASecond()
    server = make_server(responder)
    clients = ask(server, *nonces(2))

    def between(_turn: int) -> None:
        server.clock.now = AT + 1

    await turns(server, clients, between)
    assert responder.calls == [(b"0nonce-0", AT), (b"0nonce-1", AT + 1), (b"0nonce-0", AT + 1)]
    assert [answers(transport) for _, transport in clients] == [[b"200 answer to " + one] for one in nonces(2)]


async def test_who_leaves_while_an_answer_waits_to_be_written_costs_nobody_theirs():
    """A connection that has ended gets nothing, the others what they wait for."""
    server = make_server()
    clients = ask(server, *nonces(3))
    await turns(server, clients, lambda turn: turn == 1 and clients[0][0].connection_lost(None))
    assert [answers(transport) for _, transport in clients[1:]] == [[b"200 answer to " + one] for one in nonces(3)[1:]]
    assert not clients[0][1].written
