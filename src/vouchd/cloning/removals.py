"""That a fact of the set is gone, sealed as facts are: what nobody has sealed away is believed still.

Whoever writes into a directory server can take an entry out of it, too. A removal is a record of its own that stays: of
what kind the fact was and its name, with a seal. Its number is as high as that on the fact or higher, so it tells which
of the two came later, and the record of before does not come back; a fact that is made again has a higher number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vouchd.cloning.proof import MemberKey
from vouchd.cloning.registry import master_of
from vouchd.cloning.seals import SEAL, Record, Seal, seal_of, sealed
from vouchd.core.facts import Member
from vouchd.core.ports import MEMBER_KIND, USER_KIND
from vouchd.errors import BadInput

REMOVAL_KIND = "removal"


def sealed_removal(kind: str, identifier: str, number: int, key: MemberKey) -> Record:
    """The record that the fact is gone. Raises: SigningError."""
    return sealed(REMOVAL_KIND, _name(kind, identifier), {"kind": kind, "id": identifier}, number, key)


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
    return seal_of(REMOVAL_KIND, _name(kind, identifier), removal)


def may_remove(kind: str, identifier: str, members: Mapping[str, Member]) -> set[str]:
    """The keys whose word counts, by SHA-256 (hex) of their certificates; none where there is no set."""
    master, member = master_of(members.values()), members.get(identifier)
    if master is None or kind not in {USER_KIND, MEMBER_KIND}:
        return {pin for one in members.values() for pin in one.pins}
    return {*master.pins, *(member.pins if kind == MEMBER_KIND and member else ())}


def _name(kind: str, identifier: str) -> str:
    return f"{kind} {identifier}"
