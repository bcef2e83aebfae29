"""Records of what members of a set share, beside those of core/records.py and with the same rules."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from vouchd.core import records
from vouchd.core.facts import DirectoryServer, Facts, IssuingPointId, JoinToken, Member, Transport
from vouchd.core.records import Record, known_fields

_LONGEST = 255


def member_record(member: Member) -> Record:
    """The record of a member."""
    return asdict(member)


def read_member(record: Record) -> Member:
    """The member of a record."""
    known = known_fields(Member, record)
    if known.get("directory") is not None:
        known["directory"] = read_directory(known["directory"])
    return Member(**known)


def checked_member(record: Record) -> Member:
    """The member of a record that a stranger sent. Raises: TypeError, ValueError, KeyError when it is none."""
    member = read_member(record)
    texts = (member.host, member.name, member.subsystem, member.tls_sha256)
    numbers = (member.secure_port, member.ee_port, member.joined_at, member.term)
    if not all(isinstance(text, str) and len(text) <= _LONGEST and text.isprintable() for text in texts):
        raise ValueError("not a text")
    if not all(type(number) is int for number in numbers) or type(member.clone) is not bool:
        raise ValueError("not a number")
    directory = member.directory
    if directory is not None and not (
        all(isinstance(text, str) and len(text) <= _LONGEST for text in (directory.host, directory.suffix))
        and type(directory.port) is int
        and (directory.replica_id is None or type(directory.replica_id) is int)
    ):
        raise ValueError("not a directory server")
    return member


def read_directory(record: Record) -> DirectoryServer:
    """The directory server of a record."""
    known = known_fields(DirectoryServer, record)
    known["transport"] = Transport(known["transport"])
    return DirectoryServer(**known)


def token_record(token: JoinToken) -> Record:
    """The record of a join token."""
    return asdict(token)


def read_token(record: Record) -> JoinToken:
    """The join token of a record."""
    return JoinToken(**known_fields(JoinToken, record))


def facts_record(facts: Facts) -> Record:
    """The record of everything that members have alike."""
    return {
        "authorities": [records.authority_record(authority) for authority in facts.authorities],
        "epochs": [records.epoch_record(epoch) for epoch in facts.epochs],
        "quarantined": [records.quarantined_record(crl) for crl in facts.quarantined],
        "high_water": [[asdict(point), number, this_update] for point, number, this_update in facts.high_water],
        "users": [records.user_record(user) for user in facts.users],
        "members": [member_record(member) for member in facts.members],
    }


def read_facts(record: Record) -> Facts:
    """The facts of a record."""
    return Facts(
        authorities=tuple(map(records.read_authority, record["authorities"])),
        epochs=tuple(map(records.read_epoch, record["epochs"])),
        quarantined=tuple(map(records.read_quarantined, record["quarantined"])),
        high_water=tuple(
            (IssuingPointId(**known_fields(IssuingPointId, point)), number, this_update)
            for point, number, this_update in record["high_water"]
        ),
        users=tuple(map(records.read_user, record["users"])),
        members=tuple(map(read_member, record["members"])),
    )


def facts_digest(facts: Facts) -> str:
    """SHA-256 (hex) over the facts: two stores whose digests are equal hold the same."""
    return hashlib.sha256(records.to_json(facts_record(facts)).encode()).hexdigest()
