"""With live times the answers of the next slot are in the cache before it begins, and none is given too early."""

from __future__ import annotations

import pytest
from tests.ee.ee_fakes import AT, FakeResponder, FakeTurns, connect, make_server, post, until
from tests.ee.test_connection import answers

from vouchd.ee.cache_renewal import HOTTEST
from vouchd.ee.server import EEServer
from vouchd.ee.slots import AHEAD_SECONDS
from vouchd.service.terms import Answer

SLOT = 30
BEGIN = AT - AT % SLOT
END = BEGIN + SLOT


class LiveResponder(FakeResponder):
    """Its answers name the slot that they are of."""

    def draft(self, request_der: bytes, at: int) -> Answer:
        self.calls.append((request_der, at))
        end = at - at % SLOT + SLOT
        parts = (self.prefix, request_der, b" of slot %d" % (end - SLOT))
        return Answer(parts, self.terms(cacheable=True, fresh_until=end - 1, slot_end=end, next_update=end), end - SLOT)


def number(n: int) -> bytes:
    return b"0good-%04d" % n


def go_to(server: EEServer, second: int) -> None:
    server.clock.now = second
    server.tick()


async def ask(server: EEServer, *requests: bytes) -> list[bytes]:
    """What is answered to each."""
    said = []
    for request in requests:
        connection, transport = connect(server)
        connection.data_received(post(request))
        await until(lambda: server.state.queue.is_idle)
        said += answers(transport)
    return said


@pytest.fixture
def responder() -> LiveResponder:
    return LiveResponder()


@pytest.fixture
def server(responder) -> EEServer:
    made = make_server(responder)
    go_to(made, BEGIN + 1)
    return made


async def test_answers_asked_in_a_slot_are_there_when_the_next_one_begins(server, responder):
    """They are made in its last seconds, and whoever asks first in the next slot finds them in the cache."""
    await ask(server, number(1), number(2))
    go_to(server, END - AHEAD_SECONDS - 1)
    assert not server._slots.is_due
    go_to(server, END - AHEAD_SECONDS)
    await until(lambda: not server._slots.is_due)
    assert sorted(responder.calls[2:]) == [(number(1), END), (number(2), END)]
    go_to(server, END)
    made = len(responder.calls)
    assert await ask(server, number(1), number(2)) == [
        b"200 answer to %b of slot %d" % (number(n), END) for n in (1, 2)
    ]
    assert len(responder.calls) == made


async def test_answer_of_the_next_slot_is_given_to_nobody_before_it_begins(server):
    """Its producedAt lies ahead of the clock until then."""
    await ask(server, number(1))
    go_to(server, END - AHEAD_SECONDS)
    await until(lambda: not server._slots.is_due)
    for second in range(END - AHEAD_SECONDS, END):
        go_to(server, second)
        assert await ask(server, number(1)) == [b"200 answer to %b of slot %d" % (number(1), BEGIN)]


async def test_answer_made_ahead_that_nobody_asked_for_is_not_made_again(server, responder):
    """Nothing goes on by itself for ever."""
    await ask(server, number(1), number(2))
    go_to(server, END - 1)
    await until(lambda: not server._slots.is_due)
    go_to(server, END)
    await ask(server, number(2))
    go_to(server, END + SLOT - 1)
    await until(lambda: not server._slots.is_due)
    assert [der for der, at in responder.calls if at == END + SLOT] == [number(2)]


async def test_answers_made_ahead_are_dropped_when_the_facts_change(server, responder):
    """What rested on a former state is not given in the next slot either."""
    await ask(server, number(1))
    go_to(server, END - 1)
    await until(lambda: not server._slots.is_due)
    responder.prefix = b"newer: "
    responder.change()
    server.forget()
    go_to(server, END)
    assert await ask(server, number(1)) == [b"200 newer: %b of slot %d" % (number(1), END)]


async def test_answers_made_ahead_are_dropped_when_other_signers_sign(responder):
    """A switch of signers between two slots leaves no answer of the former ones."""
    turns = FakeTurns(responder)
    server = make_server(responder, signing=turns)
    go_to(server, BEGIN + 1)
    await ask(server, number(1))
    go_to(server, END - 1)
    await until(lambda: not server._slots.is_due)
    turns.word[0] = 1
    go_to(server, END)
    assert await ask(server, number(1)) == [b"200 new signer: %b of slot %d" % (number(1), END)]


async def test_answers_made_ahead_are_those_most_asked_and_so_many_at_most(server, responder):
    """However many were asked for, the hottest are made, and the others when they are asked for."""
    everything = [number(n) for n in range(HOTTEST + 20)]
    await ask(server, *everything, *everything[20:])
    go_to(server, END - 1)
    await until(lambda: not server._slots.is_due)
    assert {der for der, at in responder.calls if at == END} == set(everything[20:])


async def test_signatures_that_are_wanted_now_go_before_those_of_the_next_slot(server, responder):
    """Who waits for a signature has his turn first."""
    await ask(server, number(1))
    go_to(server, END - 1)
    clients = [connect(server)[0] for _ in range(50)]
    for n, connection in enumerate(clients):
        connection.data_received(post(b"0new-%04d" % n))
    await until(lambda: not server._slots.is_due)
    assert responder.calls[-1] == (number(1), END)


@pytest.mark.parametrize("late", [SLOT, 10 * SLOT])
async def test_clock_that_steps_over_a_slot_leaves_nothing_of_it(server, late):
    """What was made for a slot that is over is not kept."""
    await ask(server, number(1))
    go_to(server, END - 1)
    await until(lambda: not server._slots.is_due)
    go_to(server, END + late)
    assert await ask(server, number(1)) == [b"200 answer to %b of slot %d" % (number(1), END + late)]
