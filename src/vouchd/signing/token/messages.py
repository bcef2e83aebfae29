"""What a process that signs and a session of a token say to each other: one datagram a question, one an answer.

Signatures are asked for in lots: who waits for the same key goes along in one datagram, and so do the signatures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from vouchd.errors import NotFound, TokenUnavailable, VouchdError

_NOTHING: Mapping[str, Any] = {}
_LENGTH_BYTES = 4


class Kind(IntEnum):
    """What a message is: its first octet."""

    DONE = 0
    FAILED = 1
    SIGN = 2
    FIND = 3
    LIST = 4
    GENERATE = 5
    REMOVE = 6


def pack(kind: Kind, fields: Mapping[str, Any] = _NOTHING, data: bytes = b"") -> bytes:
    """One message: kind, fields as a line of JSON, data."""
    return b"%c%s\n%s" % (kind, json.dumps(fields).encode(), data)


def unpack(message: bytes) -> tuple[Kind, dict[str, Any], bytes]:
    """Kind, fields and data of a message."""
    line, _, data = message[1:].partition(b"\n")
    return Kind(message[0]), json.loads(line), data


def joined(parts: Iterable[bytes]) -> bytes:
    """Several strings of octets as the data of one message."""
    return b"".join(octets for part in parts for octets in (len(part).to_bytes(_LENGTH_BYTES), part))


def parted(data: bytes) -> list[bytes]:
    """The strings of octets that were joined."""
    parts, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start])
        parts.append(data[start:at])
    return parts


def failure(error: VouchdError) -> bytes:
    """The message that tells an error."""
    absent = isinstance(error, NotFound)
    return pack(Kind.FAILED, {"message": str(error), "hint": error.hint, "absent": absent})


def error_of(fields: Mapping[str, Any]) -> VouchdError:
    """The error that a message tells: the key is not there, or the token cannot be used now."""
    return (NotFound if fields["absent"] else TokenUnavailable)(fields["message"], hint=fields["hint"])
