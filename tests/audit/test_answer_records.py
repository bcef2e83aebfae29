"""What a worker tells the audit log of its answers, and that it costs nothing where nothing is asked for."""

from __future__ import annotations

import asyncio

import pytest
from tests.ee.ee_fakes import Clock, FakeTransport, get, post
from tests.pki import CA, NOW
from tests.serving import entry, point, request_for, responder, serving, signer, state

from vouchd.audit.answer_records import AnsweredRecords, given_answers
from vouchd.core.policy import AnswerRecords
from vouchd.ee.connection import EEConnection
from vouchd.ee.port_state import PortState
from vouchd.errors import LifecycleError
from vouchd.processes.control import encode
from vouchd.settings.tcp_ports import EEPort

REVOKED, GOOD = 7, 8


@pytest.fixture(scope="module")
def answering():
    """A responder of the CA `CA` with serial 7 revoked, and its CA."""
    ca = CA.create("CA")
    holding = state(serving(ca, point(ca, entry(7))))
    return responder(holding, signer(ca.issue_signer())), ca


def records(answering, policy: AnswerRecords, sample: int = 1) -> AnsweredRecords:
    return AnsweredRecords(policy, sample, answering[0].ca_label, clients=True)


def give(answering, batch: AnsweredRecords, number: int, *, times: int = 1, client: str = "192.0.2.1") -> None:
    """Answer a request for one serial number to a client so many times."""
    request = request_for(answering[1], number)
    note = batch.note(request, answering[0].answer(request, NOW))
    for _ in range(times):
        if note is not None:
            batch.count(note, client)


def rows(batch: AnsweredRecords) -> list[list]:
    return [row for message in batch.take(NOW) for row in message["answered"]]


@pytest.mark.parametrize(
    "policy, serials",
    [(AnswerRecords.NONE, []), (AnswerRecords.REVOKED, ["0x07"]), (AnswerRecords.ALL, ["0x07", "0x08"])],
)
def test_note_is_made_of_what_the_policy_wants(answering, policy, serials):
    """Under `none` no answer is looked at twice; under `revoked` the many good ones are not."""
    batch = records(answering, policy)
    give(answering, batch, REVOKED)
    give(answering, batch, GOOD)
    assert [row[2] for row in rows(batch)] == serials


def test_take_tells_equal_answers_once_with_their_count(answering):
    """A busy client and certificate are one record a second."""
    batch = records(answering, AnswerRecords.ALL)
    give(answering, batch, GOOD, times=5)
    give(answering, batch, GOOD, client="192.0.2.2")
    assert rows(batch) == [
        [NOW, "CA", "0x08", "good", "192.0.2.1", 5],
        [NOW, "CA", "0x08", "good", "192.0.2.2", 1],
    ]
    assert rows(batch) == []


def test_sampled_takes_one_in_so_many(answering):
    """Sampling counts answers of every kind."""
    batch = records(answering, AnswerRecords.SAMPLED, sample=10)
    give(answering, batch, GOOD, times=25)
    assert rows(batch)[0][-1] == 2


def test_error_is_noted_with_its_cause_under_all_only(answering):
    """An error has no certificate, but a cause."""
    batch = records(answering, AnswerRecords.ALL)
    error = answering[0].answer(b"garbage", NOW)
    batch.count(batch.note(b"garbage", error), "192.0.2.1")
    assert rows(batch) == [[NOW, "", "", "malformed", "192.0.2.1", 1]]
    assert records(answering, AnswerRecords.REVOKED).note(b"garbage", error) is None


def test_given_beyond_the_limit_is_counted_as_lost(answering, monkeypatch):
    """Many clients in one second cost bounded memory, and what is left out is told."""
    monkeypatch.setattr("vouchd.audit.answer_records.MAX_ROWS", 3)
    batch = records(answering, AnswerRecords.ALL)
    for number in range(5):
        give(answering, batch, GOOD, client=f"192.0.2.{number}")
    (message,) = batch.take(NOW)
    assert (len(message["answered"]), message["lost"]) == (3, 2)


@pytest.mark.parametrize("character", ["a", "\u20ac", "\U0001f600", "\x00", "\ud800"], ids=repr)
def test_take_splits_what_is_too_long_for_a_message(character):
    """However long the names and wide their characters, a message has a bounded size in the control channel."""
    batch = AnsweredRecords(AnswerRecords.ALL, 1, lambda _: "", clients=True)
    for number in range(400):
        batch.count(((character * 200, "0x" + "ff" * 64, "revoked"),), f"client {number}")
    messages = list(batch.take(NOW))
    assert sum(len(message["answered"]) for message in messages) == 400
    assert all(len(encode(message)) < 200_000 for message in messages)


@pytest.mark.parametrize("row", [[], [1, "a"], ["1", "a", "b", "c", "d", 1], None])
def test_given_answers_malformed_row_is_refused(row):
    """The manager takes nothing from a worker that is not what it should be."""
    with pytest.raises(LifecycleError):
        given_answers([row])


class Peer(FakeTransport):
    """A transport that knows where the client is."""

    def get_extra_info(self, name: str):
        return ("192.0.2.9", 4711) if name == "peername" else None


async def question(answering, batch: AnsweredRecords, *requests: bytes) -> None:
    """Send the chunks over one connection of an EE port, one after the other."""
    state = PortState(answering[0], EEPort(), records=batch, clock=Clock(NOW), uptime_clock=Clock(0))
    connection = EEConnection(state)
    connection.connection_made(Peer())
    for chunk in requests:
        connection.data_received(chunk)
        await asyncio.sleep(0)  # the signing queue is free again


@pytest.mark.parametrize("ask", [get, post])
async def test_every_way_through_the_port_is_told(answering, ask):
    """The first answer, one through the parser and those of the short way count alike, and so does one with a nonce."""
    batch = records(answering, AnswerRecords.REVOKED)
    plain = request_for(answering[1], REVOKED)
    with_nonce = request_for(answering[1], REVOKED, nonce=bytes(16))
    await question(
        answering, batch, ask(plain), ask(plain), ask(plain), ask(plain, headers="X: y\r\n"), ask(with_nonce)
    )
    assert rows(batch) == [[NOW, "CA", "0x07", "revoked", "192.0.2.9", 5]]


async def test_good_answers_are_not_looked_at_under_revoked(answering):
    """The entries of good answers in the cache have no note: giving them costs one comparison."""
    batch = records(answering, AnswerRecords.REVOKED)
    plain = request_for(answering[1], GOOD)
    await question(answering, batch, get(plain), get(plain))
    assert rows(batch) == []
