"""The lines of the audit log: JSON objects, each with the hash of the line before and its own.

`{"seq":N,"time":…,"event":…,"outcome":…,"caller":…,"groups":[…],"origin":…,"detail":{…},"previous":"…","hash":"…"}`

`hash` is the SHA-256 (hex) of the line's octets in front of `,"hash"`, `previous` the `hash` of the line before, 64
zeros in the first line. No octet of a line is outside of what its hash or its fixed form covers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from vouchd.core.facts import Caller

Detail = Mapping[str, str | int]

GENESIS = "0" * 64
MAX_LINE_BYTES = 1 << 22
_MAX_TEXT = 32768
_KINDS = {"seq": int, "time": int, "event": str, "outcome": str, "caller": str, "origin": str, "detail": dict}
_NAME = b',"hash":"'
_SUFFIX_BYTES = len(_NAME) + 64 + len(b'"}')


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the audit log. `seq` counts from 1 without a gap, `time` is POSIX seconds."""

    seq: int
    time: int
    event: str
    outcome: str
    caller: str
    groups: tuple[str, ...]
    origin: str
    detail: Detail
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Link:
    """What the next line continues: number, hash and event of the last one."""

    seq: int = 0
    hash: str = GENESIS
    event: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be recorded: the facts of a line without its place in the chain."""

    time: int
    event: str
    outcome: str
    caller: Caller
    detail: Detail


# What comes by itself, in whatever numbers: it waits longer for a signature, and a reader may leave it aside.
_TRAFFIC = frozenset({"ACCESS_SESSION_ESTABLISH", "ACCESS_SESSION_TERMINATED", "AUDIT_LOG_SIGNING"})
_TRAFFIC_WHEN_GRANTED = frozenset({"AUTH", "ROLE_ASSUME"})


def is_traffic(record: Entry | AuditRecord) -> bool:
    """Whether a record tells of connections and signatures, and of nothing that somebody did or was refused."""
    return record.event in _TRAFFIC or (record.event in _TRAFFIC_WHEN_GRANTED and record.outcome == "success")


def encode(entry: Entry, after: Link) -> tuple[bytes, Link]:
    """The line of `entry`, newline included, that follows `after`, and the link that it makes."""
    fields = {
        "seq": after.seq + 1,
        "time": entry.time,
        "event": entry.event,
        "outcome": entry.outcome,
        "caller": entry.caller.name[:_MAX_TEXT],
        "groups": sorted(entry.caller.groups),
        "origin": entry.caller.origin[:_MAX_TEXT],
        "detail": {
            name: value[:_MAX_TEXT] if isinstance(value, str) else value for name, value in entry.detail.items()
        },
        "previous": after.hash,
    }
    head = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    digest = hashlib.sha256(head).hexdigest()
    return head + _suffix(digest) + b"\n", Link(after.seq + 1, digest, entry.event)


def decode(line: bytes) -> AuditRecord:
    """The record of one line without its newline. Raises: ValueError with the reason when it is not intact."""
    head = line[:-_SUFFIX_BYTES]
    if len(line) > MAX_LINE_BYTES or line[-_SUFFIX_BYTES:-66] != _NAME:
        raise ValueError("not a line of the audit log")
    digest = hashlib.sha256(head).hexdigest()
    if line[-_SUFFIX_BYTES:] != _suffix(digest):
        raise ValueError("its hash does not fit its content")
    try:
        fields = json.loads(line)
        record = AuditRecord(**{**fields, "groups": tuple(fields["groups"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError("not a line of the audit log") from error
    if any(not isinstance(getattr(record, name), kind) for name, kind in _KINDS.items()):
        raise ValueError("not a line of the audit log")
    return record


def _suffix(digest: str) -> bytes:
    return _NAME + digest.encode() + b'"}'
