"""The control channel between the manager process and one worker: JSON objects, one a line, over a socket pair.

The manager says `{"load": N}` (manifest N is ready), `{"metrics": ID}`, `{"halt": true}` (answer tryLater only) or
`{"halt": false}`, `{"withhold": [IDS], "cause": …}` (answer tryLater for these CAs too, for that cause),
`{"release": [IDS], "cause": …}` (no longer for these), and `{"drain": SECONDS}`; the worker answers
`{"loaded": N, "confined": true or false}` (whether it can open nothing of the instance but the indexes) or
`{"failed": N, "why": …}`, `{"metrics": ID, "snapshot": {…}}` and `{"halted": true or false}`. Unasked it says
`{"answered": […], "lost": N}`: what the audit log is to be told of answers, and `{"damaged": […]}`: the names of index
files whose octets are not those that were written. End of file means that the other side is gone.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Generator
from itertools import islice
from typing import Any

from vouchd.errors import LifecycleError

Message = dict[str, Any]

# The longest is a snapshot of the counters of ten thousands of CAs. What a message says of strangers, whoever makes it
# cuts by the bytes that it takes here.
MAX_MESSAGE_BYTES = 4 << 20

_SEPARATORS = (",", ":")
_STEP = 2048  # pieces of JSON, four for each counter


def encode(message: Message) -> bytes:
    """One line. Raises: LifecycleError when it would be longer than MAX_MESSAGE_BYTES."""
    return _line(json.dumps(message, separators=_SEPARATORS))


def encoding(message: Message) -> Generator[None, None, bytes]:
    """The steps of `encode`, between which a loop may do something else: for a message that is long."""
    pieces, lots = json.JSONEncoder(separators=_SEPARATORS).iterencode(message), [""]
    while lot := "".join(islice(pieces, _STEP)):
        lots.append(lot)
        yield
    return _line("".join(lots))


def _line(text: str) -> bytes:
    line = text.encode() + b"\n"
    if len(line) > MAX_MESSAGE_BYTES:
        raise LifecycleError(f"control channel: a message of {len(line)} bytes is too long")
    return line


def decode(line: bytes) -> Message:
    """The message of one line. Raises: LifecycleError when it is not a JSON object."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LifecycleError("control channel: not JSON") from error
    if not isinstance(message, dict):
        raise LifecycleError("control channel: not a JSON object")
    return message


class ControlChannel:
    """One end of the channel; one task reads, any number send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> ControlChannel:
        """The channel over one end of a socket pair, which it owns from now on."""
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=MAX_MESSAGE_BYTES)
        return cls(reader, writer)

    def send(self, message: Message) -> None:
        """Send without waiting; a message to a side that is gone is lost, which `receive` tells as end of file."""
        self.send_line(encode(message))

    def send_line(self, line: bytes) -> None:
        """Send a message that is encoded."""
        if not self._writer.is_closing():
            self._writer.write(line)

    async def receive(self) -> Message | None:
        """The next message, None at end of file. Raises: LifecycleError when it is malformed or too long."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, OSError):
            return None
        except ValueError as error:  # asyncio's word for a line beyond the limit
            raise LifecycleError("control channel: a message is too long") from error
        if not line.endswith(b"\n"):  # a half line is what a side that died left behind
            return None
        return decode(line)

    async def flush(self) -> None:
        """Wait until what was sent has left this process."""
        try:
            await self._writer.drain()
        except (ConnectionError, OSError):
            return

    def close(self) -> None:
        """Close this end; the other one sees end of file."""
        self._writer.close()
