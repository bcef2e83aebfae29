"""The framing of the control channel: one JSON object a line, limited in size."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from vouchd.ee.counters import WorkerCounters
from vouchd.errors import LifecycleError
from vouchd.processes.control import MAX_MESSAGE_BYTES, ControlChannel, decode, encode


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
