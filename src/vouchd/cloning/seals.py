"""What a member believes of the facts in its directory server: what a member of the set has sealed, and nothing else.

Whoever has the manager's password of one directory server, the replication account or a stolen clone's account writes
into the directory of every member. What he does not have is the key of a member. So each record of a CA (its keys, its
CRL issuers, its policy), of a user, of a member and of a join token carries a seal: a number, and a signature over
kind, name, number and record by the own key of the member that wrote it, which is the key that the registry pins.

Each member judges what it reads, and remembers in a file of its own (`Believed`) what it has believed:

- what it believes already stays believed, whoever's seal it is: a member that left takes nothing along;
- anything else needs a seal by a member that is believed: for a CA any, for a user or what waits for approval the
  master, who keeps those. A
  member's record is changed by itself or by the master; the role of the master goes to whom an appointment names
  (cloning/appointment); a new member comes in by one that is there, as a clone;
- a number below the one that was believed is an old record put back, and not believed;
- what was believed and is not stored any more is gone only if a member that may has sealed that:
  one that may change it, and of a member the master or itself;
- what is not believed counts as if it had not been written: what was believed before it stays, the refusal is
  recorded once, shown until it ends, and makes the member not ready.

The registry itself is judged like the rest, so that a forged member seals nothing: trust goes from the members that
are believed to those that they let in, and never comes out of the directory.

It begins once for each set: the master seals what there is and its own record last, and from the moment that a member
sees that, what it finds then is believed and from then on nothing without a seal. Before, and on an instance without a
key of its own, everything is believed, as in versions before this one. See docs/decisions/0015.

Whoever writes into a directory server can take an entry out of it, too. That a fact is gone is therefore sealed as
facts are: a removal is a record of its own that stays, of what kind the fact was and its name, with a seal. Its number
is as high as that on the fact or higher, so it tells which of the two came later, and the record of before does not
come back; a fact that is made again has a higher number.
"""

from __future__ import annotations

import base64
import hashlib
import json
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from vouchd.cloning.proof import MemberKey, require_signed
from vouchd.cloning.registry import master_of
from vouchd.core import records
from vouchd.core.approval_facts import read_approvals
from vouchd.core.facts import Member
from vouchd.core.ports import APPROVALS_KIND, CA_KIND, KEYRING_KIND, MEMBER_KIND, USER_KIND
from vouchd.core.signer_facts import read_keyring
from vouchd.errors import BadInput, StoreError
from vouchd.pkix.certs import load_certificate
from vouchd.stores.beliefs import Row

Record = dict[str, Any]
SEAL = "seal"
_SPEAKS = b"vouchd seal 1\0"
REMOVAL_KIND = "removal"


class Seal(NamedTuple):
    """A seal whose signature is good: its number, and SHA-256 (hex) of the certificate of the key."""

    number: int
    by: str


def sealed(kind: str, identifier: str, record: Mapping[str, Any], number: int, key: MemberKey) -> Record:
    """The record with a seal in it. Raises: SigningError."""
    body = {name: value for name, value in record.items() if name != SEAL}
    signature = key.sign(_said(kind, identifier, number, body))
    by, text = (base64.b64encode(part).decode() for part in (key.signer.certificate_der, signature))
    return body | {SEAL: {"number": number, "by": by, "signature": text}}


def seal_of(kind: str, identifier: str, record: Mapping[str, Any]) -> Seal:
    """The seal of a record. Raises: BadInput where there is none, or it is of something else."""
    body = {name: value for name, value in record.items() if name != SEAL}
    seal = record.get(SEAL)
    if seal is None:
        raise BadInput("it is not sealed")
    try:
        number = operator.index(seal["number"])
        certificate, signature = (base64.b64decode(seal[name], validate=True) for name in ("by", "signature"))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("its seal cannot be read") from error
    require_signed(certificate, signature, _said(kind, identifier, number, body))
    return Seal(number, hashlib.sha256(certificate).hexdigest())


def _said(kind: str, identifier: str, number: int, body: Mapping[str, Any]) -> bytes:
    """What is signed: what another version of this program has put into the record, too."""
    return _SPEAKS + json.dumps([kind, identifier, number, body], sort_keys=True, separators=(",", ":")).encode()


def begun_by_master(raw: Mapping[str, Iterable[Record]]) -> bool:
    """Whether the master of this registry has sealed its own record, as it does when it has sealed all others."""
    members: dict[str, tuple[Member, Record]] = {}
    for identifier, some in raw.items():
        for one in some:
            members[identifier] = records.read_member(one), one
    master = master_of(member for member, _ in members.values())
    if master is None or master.id not in members:
        return False
    try:
        return seal_of(MEMBER_KIND, master.id, members[master.id][1]).by in master.pins
    except BadInput:
        return False


def damage_to(kind: str, identifier: str, record: Record) -> Iterator[str]:
    """Why the record is none of its kind that can be used: its certificates, too."""
    try:
        if kind == CA_KIND:
            authority = records.from_record(record, records.read_authority)
            for der in (*authority.certificates, *authority.policy.crl_issuers):
                load_certificate(der)
            named = authority.id
        elif kind == USER_KIND:
            named = records.from_record(record, records.read_user).id
        elif kind == KEYRING_KIND:
            records.from_record(record, read_keyring)
            named = KEYRING_KIND
        elif kind == APPROVALS_KIND:
            records.from_record(record, read_approvals)
            named = APPROVALS_KIND
        else:
            named = records.from_record(record, records.read_token).digest
    except (ValueError, StoreError) as error:
        yield f"it is damaged: {error}"
        return
    if named != identifier:
        yield "it is of something else"


def highest_number(good: Iterable[Record], row: Row | None) -> int:
    """The highest number of a seal there is or was."""
    numbers = [one[SEAL]["number"] for one in good if isinstance(one.get(SEAL), dict)]
    return max([row.number if row else 0, *(number for number in numbers if type(number) is int)])


def sealed_removal(kind: str, identifier: str, number: int, key: MemberKey) -> Record:
    """The record that the fact is gone. Raises: SigningError."""
    return sealed(REMOVAL_KIND, _removal_name(kind, identifier), {"kind": kind, "id": identifier}, number, key)


def latest_removals(kind: str, removals: Collection[Mapping[str, Any]]) -> dict[str, list[Record]]:
    """Those of facts of that kind by identifier, the highest number first; signatures are not looked at yet."""
    by_id: dict[str, list[Record]] = {}
    for one in removals:
        if one.get("kind") == kind and isinstance(one.get("id"), str) and number_of(one) >= 0:
            by_id.setdefault(one["id"], []).append(dict(one))
    return {identifier: sorted(some, key=number_of, reverse=True) for identifier, some in by_id.items()}


def number_of(removal: Mapping[str, Any]) -> int:
    """The number that its seal claims, below 0 where it claims none."""
    seal = removal.get(SEAL)
    number = seal.get("number") if isinstance(seal, dict) else None
    return number if type(number) is int else -1


def removal_seal(kind: str, identifier: str, removal: Record) -> Seal:
    """The seal of a removal. Raises: BadInput."""
    if removal.keys() != {"kind", "id", SEAL}:
        raise BadInput("it is no removal")
    return seal_of(REMOVAL_KIND, _removal_name(kind, identifier), removal)


def may_remove(kind: str, identifier: str, members: Mapping[str, Member]) -> set[str]:
    """The keys whose word counts, by SHA-256 (hex) of their certificates; none where there is no set."""
    master, member = master_of(members.values()), members.get(identifier)
    if master is None or kind not in {USER_KIND, MEMBER_KIND}:
        return {pin for one in members.values() for pin in one.pins}
    return {*master.pins, *(member.pins if kind == MEMBER_KIND and member else ())}


def _removal_name(kind: str, identifier: str) -> str:
    return f"{kind} {identifier}"
