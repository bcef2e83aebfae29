"""What a process that signs and a session of a token say to each other: one datagram a question, one an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from vouchd.errors import NotFound, TokenUnavailable, VouchdError

_NOTHING: Mapping[str, Any] = {}


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


def failure(error: VouchdError) -> bytes:
    """The message that tells an error."""
    absent = isinstance(error, NotFound)
    return pack(Kind.FAILED, {"message": str(error), "hint": error.hint, "absent": absent})


def error_of(fields: Mapping[str, Any]) -> VouchdError:
    """The error that a message tells: the key is not there, or the token cannot be used now."""
    return (NotFound if fields["absent"] else TokenUnavailable)(fields["message"], hint=fields["hint"])
