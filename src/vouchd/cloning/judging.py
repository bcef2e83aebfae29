"""Why a record of the set is not believed: its seal, its number, whose it is, and whether that one may."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping

from vouchd.cloning.appointment import administrators, believed
from vouchd.cloning.registry import master_of
from vouchd.cloning.seals import Record, Seal, damage_to, may_remove, removal_seal, seal_of
from vouchd.core import records
from vouchd.core.facts import Member
from vouchd.core.ports import KEPT_BY_MASTER, MEMBER_KIND, TOKEN_KIND, USER_KIND, Clock
from vouchd.errors import BadInput
from vouchd.stores.beliefs import Believed, Row, digest_of

NUMBER_SECONDS = 3600
_MOST_AHEAD = 1_000_000  # of the number that the clock gives: nobody can use the numbers up
_NOBODYS = "it is sealed by a key that is no member's"


class Judge:
    """Judges by what `memory` has; `own_keys` are SHA-256 (hex) of the certificates of this instance's keys."""

    def __init__(self, memory: Believed, own_keys: Callable[[], Collection[str]], clock: Clock) -> None:
        self._memory = memory
        self._own_keys = own_keys
        self._clock = clock

    def members(self) -> dict[str, Member]:
        """The members as they are believed."""
        rows = self._memory.rows(MEMBER_KIND).items()
        return {identifier: records.read_member(row.records[0]) for identifier, row in rows if row.records}

    def why_not(self, kind: str, identifier: str, record: Record, row: Row | None) -> str:
        """Why a record that is new is not believed; empty: it is."""
        try:
            seal = seal_of(kind, identifier, record)
        except BadInput as error:
            return str(error)
        objections = self._objections_to_member if kind == MEMBER_KIND else self._objections_to_fact
        both = itertools.chain(self._objections_to_number(seal, row), objections(kind, identifier, record, seal))
        return next(both, "")

    def why_not_gone(self, kind: str, identifier: str, removal: Record) -> str:
        """Why a removal is not believed; empty: it is."""
        try:
            seal = removal_seal(kind, identifier, removal)
        except BadInput as error:
            return str(error)
        may = may_remove(kind, identifier, self.members()) or set(self._own_keys())
        if seal.by not in may:
            return _NOBODYS
        return next(self._objections_to_number(seal, None), "")

    def unknown_removals(self, removals: Mapping[str, list[Record]], rows: Mapping[str, Row]) -> bool:
        """Whether anything that is believed is said to be gone: by whom is known when the registry is."""
        return any(name in rows and rows[name].records for name in removals)

    def unknown_keys(self, kind: str, raw: Mapping[str, list[Record]], rows: Mapping[str, Row]) -> bool:
        """Whether there is anything new by a key that may be a new member's, or a new master's where that keeps it."""
        known = {pin for member in self.members().values() for pin in member.pins}
        for identifier, some in raw.items():
            row = rows.get(identifier)
            for one in some:
                if row is None or digest_of(one) not in row.digests:
                    try:
                        if kind in KEPT_BY_MASTER or seal_of(kind, identifier, one).by not in known:
                            return True
                    except BadInput:
                        continue
        return False

    def _objections_to_number(self, seal: Seal, row: Row | None) -> Iterator[str]:
        if seal.number > self._clock.now() // NUMBER_SECONDS + _MOST_AHEAD:
            yield "its seal has a number that is far ahead of the clock"
        if row and (seal.number < row.number or (not row.records and seal.number == row.number)):
            yield "it is older than what this member has believed"

    def _objections_to_fact(self, kind: str, identifier: str, record: Record, seal: Seal) -> Iterator[str]:
        members = self.members()
        master, known = master_of(members.values()), {pin for member in members.values() for pin in member.pins}
        if kind in KEPT_BY_MASTER and master is not None and seal.by not in master.pins:
            yield f"it is not sealed by the master, who keeps the {'users' if kind == USER_KIND else kind}"
        mine = kind == TOKEN_KIND or not known
        if seal.by not in known and not (mine and seal.by in self._own_keys()):
            yield _NOBODYS
        yield from damage_to(kind, identifier, record)

    def _objections_to_member(self, _kind: str, identifier: str, record: Record, seal: Seal) -> Iterator[str]:
        try:
            member = records.checked_member(record)
        except (KeyError, TypeError, ValueError) as error:
            yield f"it is damaged: {error}"
            return
        members = self.members()
        master, before = master_of(members.values()), members.get(member.id)
        sealer = next((one for one in members.values() if seal.by in one.pins), None)
        if member.id != identifier:
            yield "it is of another member"
        elif not members:
            yield from () if seal.by in self._own_keys() else (_NOBODYS,)
        elif sealer is None:
            yield _NOBODYS
        elif sealer == master:
            return
        elif before is None:
            yield from () if member.clone else ("it is new and no clone",)
        elif sealer.id != before.id:
            yield f"it is sealed by {sealer.id}, and no member changes another one"
        elif not (member.clone or _role(member) == _role(before) or self._is_appointed(member, members)):
            yield "it takes the role of the master, and nobody who may has appointed it"

    def _is_appointed(self, member: Member, members: Mapping[str, Member]) -> bool:
        """Whether the master, or an administrator, says that it is the master now."""
        rows = self._memory.rows(USER_KIND).values()
        users = (records.read_user(one) for row in rows for one in row.records)
        master = believed([member], members.values(), administrators(users))
        return master is not None and (master.id, master.term) == (member.id, member.term)


def _role(member: Member) -> tuple[bool, int, str]:
    return member.clone, member.term, member.appointment
