"""What a member believes of the facts in its directory: the judge behind the store, and what it has to seal anew."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from vouchd.cloning.appointment import administrators, believed
from vouchd.cloning.proof import MemberKey
from vouchd.cloning.registry import master_of
from vouchd.cloning.removals import latest_removals, may_remove, number_of, removal_seal, sealed_removal
from vouchd.cloning.seals import (
    EVENT,
    STORE,
    Doubt,
    Record,
    Seal,
    begun_by_master,
    damage_to,
    doubt_of,
    highest_number,
    seal_of,
    sealed,
)
from vouchd.core import records
from vouchd.core.facts import Member
from vouchd.core.ports import KEPT_BY_MASTER, MEMBER_KIND, TOKEN_KIND, USER_KIND, AuditSink, Clock
from vouchd.errors import BadInput, ConfigError, PermissionDenied
from vouchd.stores.believed import Believed, Row, digest_of

_log = logging.getLogger(__name__)

_NUMBER_SECONDS = 3600
_MOST_AHEAD = 1_000_000  # of the number that the clock gives: nobody can use the numbers up
_NOBODYS = "it is sealed by a key that is no member's"
_GONE = "it is gone, and no member has sealed that it is to be"
_SINGLY = 10  # so many doubts of one kind and cause are recorded one by one


class MemberSeals:
    """Keeps the contract of core.ports.Seals with what `memory` has; may be used by several threads.

    `keys` are the keys of this instance as `proof.member_keys` gives them: which member it is they say, not a name.
    """

    def __init__(self, memory: Believed, keys: Callable[[], Mapping[str, MemberKey]], clock: Clock) -> None:
        """`audit` is set by the process that serves; others judge alike and record nothing."""
        self._memory = memory
        self._read_keys = keys
        self._keys: Mapping[str, MemberKey] | None = None
        self._clock = clock
        self.audit: AuditSink | None = None
        self._doubts: dict[tuple[str, str], Doubt] = {}
        self._lock = threading.RLock()

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What was not believed when it was read last."""
        with self._lock:
            return tuple(self._doubts[key] for key in sorted(self._doubts))

    @property
    def enforced(self) -> bool:
        """Whether nothing is believed any more without a seal."""
        return self._memory.enforced

    def enforce(self) -> None:
        """Believe once what is stored now, and then nothing without a seal; nothing happens without an own key."""
        if self.own_keys:
            self._memory.enforce()

    def beliefs(self) -> dict[str, Any]:
        """All that is believed, and what is gone, for a member that joins."""
        return self._memory.exported()

    def read_keys_again(self) -> None:
        """This instance has another TLS certificate."""
        self._keys = None

    @property
    def own_keys(self) -> Mapping[str, MemberKey]:
        """The keys of this instance, by SHA-256 (hex) of their certificates, the one in use first."""
        if not self._keys:
            self._keys = self._read_keys()
        return self._keys

    # Sealing.

    def seal(self, kind: str, identifier: str, record: Mapping[str, Any]) -> Record:
        """See Seals."""
        self.require(kind)
        key = self._sealing_key()
        if key is None:
            return dict(record)
        return sealed(kind, identifier, record, self._next_number(kind, identifier), key)

    def removal(self, kind: str, identifier: str) -> Record | None:
        """See Seals."""
        self.require(kind)
        master = master_of(self._members().values())
        if kind == MEMBER_KIND and self.enforced and master is not None and not self.is_own(master):
            member = self._members().get(identifier)
            if member is None or not self.is_own(member):
                raise PermissionDenied(
                    f"the master, {master.id}, takes members out: what another member says of them is not believed",
                    hint=f"ask the master, in its folder or with --url https://{master.id}",
                )
        key = self._sealing_key()
        return None if key is None else sealed_removal(kind, identifier, self._next_number(kind, identifier), key)

    def _next_number(self, kind: str, identifier: str) -> int:
        row = self._memory.row(kind, identifier)
        return max(row.number + 1 if row else 0, self._clock.now() // _NUMBER_SECONDS)

    def _sealing_key(self) -> MemberKey | None:
        """The one that the others know this instance by; a renewed one they do not know yet. Raises: ConfigError."""
        members = self._members().values()
        own = next((member for member in members if self.is_own(member)), None)
        if own is not None:
            return next(self.own_keys[pin] for pin in own.pins if pin in self.own_keys)
        if self.enforced and (members or not self.own_keys):
            raise ConfigError(
                "the key by which the set knows this member is gone, so that nobody would believe what it writes",
                hint="take it out and make it anew: vouchd domain leave on the master, then vouchd clone create",
            )
        return next(iter(self.own_keys.values()), None)

    @property
    def left(self) -> frozenset[str]:
        """Who has left the set since it is remembered, each time that it did, as `HOST:PORT NUMBER`."""
        rows = self._memory.rows(MEMBER_KIND).items()
        return frozenset(f"{identifier} {row.number}" for identifier, row in rows if not row.records)

    def is_own(self, member: Member) -> bool:
        """Whether it is this instance, as its keys say."""
        return any(pin in self.own_keys for pin in member.pins)

    def require(self, kind: str) -> None:
        """See Seals."""
        master = master_of(self._members().values())
        if kind in KEPT_BY_MASTER and self.enforced and master is not None and not self.is_own(master):
            kept = "users" if kind == USER_KIND else kind
            raise PermissionDenied(
                f"{kept} are kept by the master, {master.id}: what another member says of them is not believed",
                hint=f"ask the master, in its folder or with --url https://{master.id}",
            )

    # Believing.

    def wants_all(self, kind: str) -> bool:
        """See Seals."""
        return self.enforced and not self._memory.begun(kind)

    def mark(self) -> int:
        """See Seals."""
        return self._memory.version

    def believe(
        self,
        kind: str,
        stored: Mapping[str, Sequence[Mapping[str, Any]]],
        mark: int,
        registry: Callable[[], object],
        damaged: Collection[str] = (),
        removals: Collection[Mapping[str, Any]] = (),
        missing: Collection[str] | None = None,
    ) -> dict[str, list[Record]]:
        """See Seals."""
        with self._lock:
            doubts = {name: Doubt(kind, name, "it is damaged", "") for name in damaged}
            raw = {identifier: [dict(one) for one in some] for identifier, some in stored.items()}
            if kind == TOKEN_KIND:
                return self._believed_tokens(raw, registry) if self.enforced else raw
            if kind == MEMBER_KIND and not self.enforced and begun_by_master(raw):
                self.enforce()
            said = latest_removals(kind, removals)
            if self.wants_all(kind) and missing is None:
                self._memory.begin(kind, raw)
                if raw and self.audit is not None:
                    why = "believed at first sight, as nothing else is known yet"
                    self.audit.record(EVENT, STORE, "success", target=f"{len(raw)} of kind {kind}", why=why)
                if kind != MEMBER_KIND:
                    registry()
                self._believe_removals(kind, said, said)
            judged = raw
            if self._memory.begun(kind):
                judged = self._judged(kind, raw, mark, registry, doubts, said, missing)
            self._show(kind, doubts)
            return judged

    def _judged(
        self,
        kind: str,
        stored: Mapping[str, list[Record]],
        mark: int,
        registry: Callable[[], object],
        doubts: dict[str, Doubt],
        removals: Mapping[str, list[Record]],
        missing: Collection[str] | None,
    ) -> dict[str, list[Record]]:
        """What is believed; `doubts` are of the records that are damaged, and then of those that are not believed."""
        rows, damaged = self._memory.rows(kind), bool(doubts)
        newer = {name for name, row in rows.items() if row.version > mark}  # than what was read
        result = {name: list(rows[name].records) for name in newer if rows[name].records}
        raw = {name: some for name, some in stored.items() if name not in newer}
        said = {name: some for name, some in removals.items() if name not in newer}
        if kind == MEMBER_KIND:
            self._believe_removals(kind, said, raw)
            self._believe_members(raw, self._memory.rows(kind))
        elif self._unknown_keys(kind, raw, rows) or self._unknown_removals(said, rows):
            registry()
        self._believe_removals(kind, said, raw)
        rows = self._memory.rows(kind)
        believed_now: dict[str, tuple[int, list[Record]]] = {}
        for identifier, some in raw.items():
            row = rows.get(identifier)
            good = []
            for one in some:
                why = "" if row and digest_of(one) in row.digests else self._why_not(kind, identifier, one, row)
                if why:
                    doubts[identifier] = doubt_of(kind, identifier, one, why)
                else:
                    good.append(one)
            if good:
                result[identifier] = good
                believed_now[identifier] = highest_number(good, row), good
            elif row and row.records:
                result[identifier] = list(row.records)
        self._memory.remember(kind, believed_now, rows)
        absent = (rows.keys() if missing is None else set(missing)) - raw.keys() - newer
        lost = {name: list(row.records) for name in absent if (row := rows.get(name)) and row.records}
        if not damaged:  # what cannot be read may be of one of them
            doubts |= {name: Doubt(kind, name[:200], _GONE, "") for name in lost}
        return result | lost

    def _believe_removals(self, kind: str, removals: Mapping[str, list[Record]], raw: Collection[str]) -> None:
        """Remember what is gone, of what was believed and of what stands there and was never believed here."""
        rows = self._memory.rows(kind)
        gone: dict[str, int] = {}
        for name, some in removals.items():
            row = rows.get(name)
            if (row is not None and not row.records) or (row is None and name not in raw):
                continue
            lowest = row.number if row else 0
            for one in some:
                if number_of(one) >= lowest and not self._why_not_gone(kind, name, one):
                    gone[name] = number_of(one)
                    break
        if gone:
            self._memory.forget(kind, gone, rows)

    def _why_not_gone(self, kind: str, identifier: str, removal: Record) -> str:
        """Why a removal is not believed; empty: it is."""
        try:
            seal = removal_seal(kind, identifier, removal)
        except BadInput as error:
            return str(error)
        may = may_remove(kind, identifier, self._members()) or set(self.own_keys)
        if seal.by not in may:
            return _NOBODYS
        return next(self._objections_to_number(seal, None), "")

    def _unknown_removals(self, removals: Mapping[str, list[Record]], rows: Mapping[str, Row]) -> bool:
        """Whether anything that is believed is said to be gone: by whom is known when the registry is."""
        return any(name in rows and rows[name].records for name in removals)

    def _unknown_keys(self, kind: str, raw: Mapping[str, list[Record]], rows: Mapping[str, Row]) -> bool:
        """Whether there is anything new by a key that may be that of a member that this one has not heard of."""
        known = {pin for member in self._members().values() for pin in member.pins}
        for identifier, some in raw.items():
            row = rows.get(identifier)
            for one in some:
                if row is None or digest_of(one) not in row.digests:
                    try:
                        if kind == USER_KIND or seal_of(kind, identifier, one).by not in known:
                            return True
                    except BadInput:
                        continue
        return False

    def _believed_tokens(
        self, raw: Mapping[str, list[Record]], registry: Callable[[], object]
    ) -> dict[str, list[Record]]:
        registry()
        return {
            identifier: good
            for identifier, some in raw.items()
            if (good := [one for one in some if not self._why_not(TOKEN_KIND, identifier, one, None)])
        }

    def _why_not(self, kind: str, identifier: str, record: Record, row: Row | None) -> str:
        """Why a record that is new is not believed; empty: it is."""
        try:
            seal = seal_of(kind, identifier, record)
        except BadInput as error:
            return str(error)
        objections = self._objections_to_member if kind == MEMBER_KIND else self._objections_to_fact
        both = itertools.chain(self._objections_to_number(seal, row), objections(kind, identifier, record, seal))
        return next(both, "")

    def _objections_to_number(self, seal: Seal, row: Row | None) -> Iterator[str]:
        if seal.number > self._clock.now() // _NUMBER_SECONDS + _MOST_AHEAD:
            yield "its seal has a number that is far ahead of the clock"
        if row and (seal.number < row.number or (not row.records and seal.number == row.number)):
            yield "it is older than what this member has believed"

    def _objections_to_fact(self, kind: str, identifier: str, record: Record, seal: Seal) -> Iterator[str]:
        members = self._members()
        master, known = master_of(members.values()), {pin for member in members.values() for pin in member.pins}
        if kind in KEPT_BY_MASTER and master is not None and seal.by not in master.pins:
            yield f"it is not sealed by the master, who keeps the {'users' if kind == USER_KIND else kind}"
        mine = kind == TOKEN_KIND or not known
        if seal.by not in known and not (mine and seal.by in self.own_keys):
            yield _NOBODYS
        yield from damage_to(kind, identifier, record)

    def _objections_to_member(self, _kind: str, identifier: str, record: Record, seal: Seal) -> Iterator[str]:
        try:
            member = records.checked_member(record)
        except (KeyError, TypeError, ValueError) as error:
            yield f"it is damaged: {error}"
            return
        members = self._members()
        master, before = master_of(members.values()), members.get(member.id)
        sealer = next((one for one in members.values() if seal.by in one.pins), None)
        if member.id != identifier:
            yield "it is of another member"
        elif not members:
            yield from () if seal.by in self.own_keys else (_NOBODYS,)
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

    def _members(self) -> dict[str, Member]:
        """The members as they are believed."""
        rows = self._memory.rows(MEMBER_KIND).items()
        return {identifier: records.read_member(row.records[0]) for identifier, row in rows if row.records}

    def _believe_members(self, raw: Mapping[str, list[Record]], rows: Mapping[str, Row]) -> None:
        """Remember the members that others let in or that changed, for as long as one of them makes another believed.

        Who becomes the master comes first: what it then says of others counts.
        """
        waiting = {
            identifier: some[0]
            for identifier, some in raw.items()
            if not (identifier in rows and digest_of(some[0]) in rows[identifier].digests)
        }
        progress = True
        while waiting and progress:
            progress = False
            for identifier in sorted(waiting, key=lambda one: _term(waiting[one]), reverse=True):
                row = self._memory.row(MEMBER_KIND, identifier)
                if not self._why_not(MEMBER_KIND, identifier, waiting[identifier], row):
                    good = [waiting.pop(identifier)]
                    new = {identifier: (highest_number(good, row), good)}
                    self._memory.remember(MEMBER_KIND, new, {identifier: row} if row else {})
                    progress = True

    def _show(self, kind: str, doubts: Mapping[str, Doubt]) -> None:
        """Log and record what was not doubted before, and remember what is."""
        before = {key: doubt for key, doubt in self._doubts.items() if key[0] == kind}
        by_cause: dict[str, list[Doubt]] = {}
        for identifier, doubt in doubts.items():
            if before.get((kind, identifier)) != doubt and self.audit is not None:
                by_cause.setdefault(doubt.why, []).append(doubt)
        for why, some in by_cause.items():
            self._record(kind, why, some)
        for _, identifier in before.keys() - {(kind, identifier) for identifier in doubts}:
            _log.warning("%s %s: what the directory has of it is believed again", kind, identifier)
        rest = {key: doubt for key, doubt in self._doubts.items() if key[0] != kind}
        self._doubts = rest | {(kind, identifier): doubt for identifier, doubt in doubts.items()}

    def lapsed(self, removals: Collection[Mapping[str, Any]]) -> list[Record]:
        """Of what is gone, removals sealed by this member for those that who joins now would not believe."""
        key = self._sealing_key()
        kinds = {(str(one.get("kind")), str(one.get("id"))) for one in removals}
        result: list[Record] = []
        if key is None:
            return result
        for kind, identifier in sorted(kinds):
            row = self._memory.row(kind, identifier)
            some = latest_removals(kind, removals).get(identifier, [])
            if row is None or row.records or not some:
                continue
            if number_of(some[0]) < row.number or self._why_not_gone(kind, identifier, some[0]):
                result.append(sealed_removal(kind, identifier, row.number, key))
        return result

    def _record(self, kind: str, why: str, doubts: Sequence[Doubt]) -> None:
        """In the log and the audit log: one by one, or of many what they have in common."""
        audit = self.audit
        if audit is None:
            return
        if len(doubts) > _SINGLY:  # a server that lost its data, or is being filled
            _log.error("%d of kind %s: not believed as the directory has them: %s", len(doubts), kind, why)
            target = f"{kind} {doubts[0].identifier} and {len(doubts) - 1} others"
            audit.record(EVENT, STORE, "failure", target=target, why=why)
            return
        for doubt in doubts:
            _log.error("%s %s: not believed as the directory has it: %s", kind, doubt.identifier, why)
            detail = {"why": why, "sha256": doubt.sha256, "sealed_by": doubt.by}
            audit.record(EVENT, STORE, "failure", target=f"{kind} {doubt.identifier}", **detail)

    # What has to be sealed anew.

    def is_lasting(self, kind: str, identifier: str) -> bool:
        """Whether who joins now would believe what is believed of it: sealed by a member, or the master that keeps it.

        What is stored and not believed is for people to look at.
        """
        members, row = self._members(), self._memory.row(kind, identifier)
        master, known = master_of(members.values()), {member.tls_sha256 for member in members.values()}
        if kind in KEPT_BY_MASTER and master is not None:
            known = {master.tls_sha256}
        try:
            seals = {seal_of(kind, identifier, one).by for one in row.records} if row else set()
        except BadInput:
            return (kind, identifier) in self._doubts
        return seals <= (known or self.own_keys.keys()) or (kind, identifier) in self._doubts


def _role(member: Member) -> tuple[bool, int, str]:
    return member.clone, member.term, member.appointment


def _term(record: Mapping[str, Any]) -> int:
    """The term of who says that it is the master."""
    term = record.get("term")
    return term if type(term) is int and record.get("clone") is False else 0
