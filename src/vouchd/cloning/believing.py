"""What a member seals of what it writes, and what it believes of what its directory has: the `Seals` of its store.

What is believed is remembered (`Believed`); a record that is new is judged (`Judge`), and what is not believed is shown
(`Doubts`). The theory is at the top of cloning/seals.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vouchd.cloning.doubts import EVENT, STORE, Doubt, Doubts, doubt_of
from vouchd.cloning.judging import NUMBER_SECONDS, Judge
from vouchd.cloning.proof import MemberKey
from vouchd.cloning.registry import master_of
from vouchd.cloning.seals import (
    Record,
    begun_by_master,
    highest_number,
    latest_removals,
    number_of,
    seal_of,
    sealed,
    sealed_removal,
)
from vouchd.core.facts import Member
from vouchd.core.ports import KEPT_BY_MASTER, MEMBER_KIND, TOKEN_KIND, USER_KIND, AuditSink, Clock
from vouchd.errors import BadInput, ConfigError, PermissionDenied
from vouchd.stores.beliefs import Believed, Row, digest_of

_GONE = "it is gone, and no member has sealed that it is to be"


class MemberSeals:
    """Keeps the contract of core.ports.Seals with what `memory` has; may be used by several threads.

    `keys` are the keys of this instance as `proof.member_keys` gives them: which member it is they say, not a name.
    """

    def __init__(self, memory: Believed, keys: Callable[[], Mapping[str, MemberKey]], clock: Clock) -> None:
        self._memory = memory
        self._read_keys = keys
        self._keys: Mapping[str, MemberKey] | None = None
        self._clock = clock
        self._doubts = Doubts()
        self._judge = Judge(memory, lambda: self.own_keys, clock)
        self._lock = threading.RLock()

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What was not believed when it was read last."""
        with self._lock:
            return self._doubts.every()

    @property
    def audit(self) -> AuditSink | None:
        """Set by the process that serves; others judge alike and record nothing."""
        return self._doubts.audit

    @audit.setter
    def audit(self, audit: AuditSink) -> None:
        self._doubts.audit = audit

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
        master = master_of(self._judge.members().values())
        if kind == MEMBER_KIND and self.enforced and master is not None and not self.is_own(master):
            member = self._judge.members().get(identifier)
            if member is None or not self.is_own(member):
                raise PermissionDenied(
                    f"the master, {master.id}, takes members out: what another member says of them is not believed",
                    hint=f"ask the master, in its folder or with --url https://{master.id}",
                )
        key = self._sealing_key()
        return None if key is None else sealed_removal(kind, identifier, self._next_number(kind, identifier), key)

    def _next_number(self, kind: str, identifier: str) -> int:
        row = self._memory.row(kind, identifier)
        return max(row.number + 1 if row else 0, self._clock.now() // NUMBER_SECONDS)

    def _sealing_key(self) -> MemberKey | None:
        """The one that the others know this instance by; a renewed one they do not know yet. Raises: ConfigError."""
        members = self._judge.members().values()
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
        master = master_of(self._judge.members().values())
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
            self._doubts.show(kind, doubts)
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
        elif self._judge.unknown_keys(kind, raw, rows) or self._judge.unknown_removals(said, rows):
            registry()
        self._believe_removals(kind, said, raw)
        rows = self._memory.rows(kind)
        believed_now: dict[str, tuple[int, list[Record]]] = {}
        for identifier, some in raw.items():
            row = rows.get(identifier)
            good = []
            for one in some:
                why = "" if row and digest_of(one) in row.digests else self._judge.why_not(kind, identifier, one, row)
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
                if number_of(one) >= lowest and not self._judge.why_not_gone(kind, name, one):
                    gone[name] = number_of(one)
                    break
        if gone:
            self._memory.forget(kind, gone, rows)

    def _believed_tokens(
        self, raw: Mapping[str, list[Record]], registry: Callable[[], object]
    ) -> dict[str, list[Record]]:
        registry()
        return {
            identifier: good
            for identifier, some in raw.items()
            if (good := [one for one in some if not self._judge.why_not(TOKEN_KIND, identifier, one, None)])
        }

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
                if not self._judge.why_not(MEMBER_KIND, identifier, waiting[identifier], row):
                    good = [waiting.pop(identifier)]
                    new = {identifier: (highest_number(good, row), good)}
                    self._memory.remember(MEMBER_KIND, new, {identifier: row} if row else {})
                    progress = True

    # What has to be sealed anew.

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
            if number_of(some[0]) < row.number or self._judge.why_not_gone(kind, identifier, some[0]):
                result.append(sealed_removal(kind, identifier, row.number, key))
        return result

    def is_lasting(self, kind: str, identifier: str) -> bool:
        """Whether who joins now would believe what is believed of it: sealed by a member, or the master that keeps it.

        What is stored and not believed is for people to look at.
        """
        members, row = self._judge.members(), self._memory.row(kind, identifier)
        master, known = master_of(members.values()), {member.tls_sha256 for member in members.values()}
        if kind in KEPT_BY_MASTER and master is not None:
            known = {master.tls_sha256}
        try:
            seals = {seal_of(kind, identifier, one).by for one in row.records} if row else set()
        except BadInput:
            return (kind, identifier) in self._doubts
        return seals <= (known or self.own_keys.keys()) or (kind, identifier) in self._doubts


def _term(record: Mapping[str, Any]) -> int:
    """The term of who says that it is the master."""
    term = record.get("term")
    return term if type(term) is int and record.get("clone") is False else 0
