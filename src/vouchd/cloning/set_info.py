"""What a member tells an instance that joins: everything that a clone takes over but the keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vouchd.core.facts import Member
from vouchd.core.records import member_record, read_member


@dataclass(frozen=True, slots=True)
class SetInfo:
    """The set as a joining instance has to know it before it changes anything."""

    domain: str
    version: str
    now: int  # POSIX seconds by the clock of the member that tells it
    refresh_seconds: int  # refreshInSec of that member
    told_by: Member
    members: tuple[Member, ...]
    certificates: Mapping[str, bytes]  # DER of the system certificates that all members share, by name
    values: Mapping[str, str]  # the CS.cfg lines that all members share
    # DER of what is sent along with each of those certificates, in order; of an older member it is not known.
    chains: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Joined:
    """What a member is told when it has joined; the password is of the replication account of the set.

    `beliefs` is what the member that tells it believes of the facts in the directory servers (stores/beliefs): what
    the joining one finds in its own is held against that. None: a member of an earlier version, or without seals.
    """

    member: Member
    info: SetInfo
    replication_password: str = field(default="", repr=False)
    beliefs: Mapping[str, Any] | None = field(default=None, repr=False)


def info_record(info: SetInfo) -> dict[str, Any]:
    """The record of a SetInfo, as JSON carries it."""
    return {
        "domain": info.domain,
        "version": info.version,
        "now": info.now,
        "refresh_seconds": info.refresh_seconds,
        "told_by": member_record(info.told_by),
        "members": [member_record(member) for member in info.members],
        "authorities": [],  # members of earlier versions read no record without it
        "certificates": {name: base64.b64encode(der).decode() for name, der in info.certificates.items()},
        "values": dict(info.values),
        "chains": {name: [base64.b64encode(der).decode() for der in chain] for name, chain in info.chains.items()},
    }


def read_info(record: Mapping[str, Any]) -> SetInfo:
    """The SetInfo of a record. Raises: KeyError, TypeError, ValueError."""
    return SetInfo(
        domain=str(record["domain"]),
        version=str(record["version"]),
        now=int(record["now"]),
        refresh_seconds=int(record["refresh_seconds"]),
        told_by=read_member(record["told_by"]),
        members=tuple(map(read_member, record["members"])),
        certificates={str(name): base64.b64decode(text) for name, text in record["certificates"].items()},
        values={str(name): str(value) for name, value in record["values"].items()},
        chains={str(name): tuple(map(base64.b64decode, chain)) for name, chain in record.get("chains", {}).items()},
    )


def joined_record(joined: Joined) -> dict[str, Any]:
    """The record of a Joined."""
    return {
        "member": member_record(joined.member),
        "info": info_record(joined.info),
        "replication_password": joined.replication_password,
        "beliefs": joined.beliefs,
    }


def read_joined(record: Mapping[str, Any]) -> Joined:
    """The Joined of a record. Raises: KeyError, TypeError, ValueError."""
    return Joined(
        read_member(record["member"]),
        read_info(record["info"]),
        str(record["replication_password"]),
        record.get("beliefs"),
    )
