"""The framing of the control channel: one JSON object a line, limited in size."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from types import SimpleNamespace

import pytest

from vouchd.core.facts import CertStatus
from vouchd.ee.counted_responder import EECounters
from vouchd.ee.counters import WorkerCounters
from vouchd.errors import LifecycleError
from vouchd.processes.control import MAX_MESSAGE_BYTES, ControlChannel, decode, encode, encoding
from vouchd.processes.worker import _Worker
from vouchd.service.terms import Terms


@pytest.fixture
async def ends():
    """A channel and the raw other end of its socket pair."""
    ours, theirs = socket.socketpair()
    channel = await ControlChannel.over(ours)
    with theirs:
        yield channel, theirs
    channel.close()


async def test_message_sent_is_received():
    """What one end sends the other end receives, in order."""
    ours, theirs = socket.socketpair()
    left, right = await ControlChannel.over(ours), await ControlChannel.over(theirs)
    left.send({"load": 1})
    left.send({"metrics": 7})
    assert [await right.receive(), await right.receive()] == [{"load": 1}, {"metrics": 7}]
    left.close()
    assert await right.receive() is None
    right.close()


async def test_half_message_of_a_dead_side_is_the_end(ends):
    """A line that was cut off by the death of its writer is no message."""
    channel, raw = ends
    raw.sendall(b'{"load": 1}\n{"lo')
    raw.close()
    assert await channel.receive() == {"load": 1}
    assert await channel.receive() is None


@pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b'"x"\n', b"\n", b"[" * 5000 + b"\n"])
async def test_malformed_message_is_an_error(ends, line):
    """Anything but a JSON object on a line is an error, never guessed at."""
    channel, raw = ends
    raw.sendall(line)
    with pytest.raises(LifecycleError):
        await channel.receive()


async def test_message_beyond_the_limit_is_an_error(ends):
    """A side that sends without end cannot fill the other one's memory."""
    channel, raw = ends

    def flood() -> None:
        with contextlib.suppress(OSError):
            raw.sendall(b"x" * (4 * MAX_MESSAGE_BYTES))

    thread = threading.Thread(target=flood)
    thread.start()
    with pytest.raises(LifecycleError, match="too long"):
        await channel.receive()
    raw.shutdown(socket.SHUT_RDWR)
    thread.join()


async def test_message_to_a_dead_side_is_lost_without_an_error(ends):
    """Who sends to a dead side learns of it by reading, not by an exception."""
    channel, raw = ends
    raw.close()
    channel.send({"load": 1})
    channel.send({"load": 2})
    await channel.flush()
    assert await channel.receive() is None


def test_encode_refuses_what_the_other_side_would_refuse():
    """A message is never sent that is longer than the limit."""
    with pytest.raises(LifecycleError, match="too long"):
        encode({"x": "y" * MAX_MESSAGE_BYTES})
    assert decode(encode({"x": "y"})) == {"x": "y"}


def test_snapshot_of_ten_thousands_of_authorities_fits_a_message():
    """The counters by CA of a large instance are told like those of a small one."""
    counters = WorkerCounters()
    counters.by_authority.update({f"{number:064x}": 2**40 for number in range(20_000)})
    assert decode(encode({"metrics": 1, "snapshot": counters.snapshot()}))["metrics"] == 1


def stepped(steps):
    """How many steps there were, and what they came to."""
    number = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return number, end.value
        number += 1


def test_counters_of_many_cas_are_summed_and_encoded_in_steps_that_do_not_grow_with_them():
    """Ten times the CAs are ten times the steps, and what these come to is what is made at once."""
    sums, encodings = [], []
    for count in (2_000, 20_000):
        counters = EECounters(WorkerCounters())
        for number in range(count):
            terms = Terms((CertStatus.GOOD,), this_update=0, next_update=1, cacheable=True, authority_id=f"{number:x}")
            counters.frame(terms).tally.made = 1
        steps, snapshot = stepped(counters.summing({}))
        sums.append(steps)
        assert snapshot == counters.snapshot({})
        steps, line = stepped(encoding({"metrics": 1, "snapshot": snapshot}))
        encodings.append(steps)
        assert line == encode({"metrics": 1, "snapshot": snapshot})
    assert all(many >= 9 * few > 0 for few, many in (sums, encodings))


async def test_worker_does_other_things_while_it_sums_its_counters_up():
    """Between two steps whatever waits has its turn."""
    turns, sent = [], []

    def summing():
        for _ in range(100):
            yield
            turns.append("sum")
        return {"counters": {str(number): number for number in range(10_000)}}

    async def answer():
        while not sent:
            turns.append("answer")
            await asyncio.sleep(0)

    worker, answering = object.__new__(_Worker), asyncio.create_task(answer())
    worker._server = SimpleNamespace(summing=summing)
    await worker._tell_counters(SimpleNamespace(send_line=sent.append), 7)
    await answering
    assert turns[1:].count("sum") == 100
    assert "sumsum" not in "".join(turns)
    assert decode(sent[0])["metrics"] == 7
