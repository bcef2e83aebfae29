"""The entries of all CAs as this server has them, read anew only where they changed.

Each entry has the server's update sequence number of its last change (`entryusn`; the server gives it to replicated
changes too). A question first asks for the newest number of all; where that is as before
nothing is read. How a look goes on otherwise:

    entries with a higher number than any known one are read; the server says how many entries there are
    as many as are known   ->  they are all known now
    another number         ->  some were deleted: names and numbers of all are read, and the entries that differ

Why this is right: every entry that is there is known unless it was added or changed since, and these have been read; so
the known ones are at least those there are, and being as many they are the same.

A server that was filled anew, from another one or a backup, may number otherwise, and one that was asked to add what
was there already gives a number twice (389 DS 2.3; `Connection.add` looks first). So everything is read again when the
newest number falls or the server could not be asked, and names and numbers are compared every few seconds while there
are changes, once after the last one, and every minute. A number may be the newest a moment before its change can be
read, so they are compared as well after a change of ours that met another state than was known, or had no answer. What
then turns out to be another thing is told as changed after every revision that was told.

What is read is judged before it is known (stores/ldap/entry_judge): an entry that is not believed counts as what was
believed of it before, or as none, and is judged again with each look. So does one that is gone, for as long as no
member has sealed that it is to be: what it said last is known still.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from vouchd.core.changes import NEVER, Changes, PointFacts
from vouchd.core.facts import Authority, IssuingPointId
from vouchd.core.key_history import issuer_names
from vouchd.directory.connection import Connection, Entry
from vouchd.directory.schema import AUTHORITY, REMOVAL
from vouchd.errors import NotFound, StoreUnavailable
from vouchd.stores.ldap.entries import SMALL, Held
from vouchd.stores.ldap.entry_judge import EntryJudge
from vouchd.stores.ldap.removals import Removal, readable
from vouchd.stores.rules import quarantine_order

K = TypeVar("K", bytes, str)

COMPARED_SECONDS = 5.0
COMPARED_IDLE_SECONDS = 60.0  # where no number rose: another program may have taken it back
_TURN_SECONDS = 10.0  # to wait for another thread's look
_USN = "entryusn"
_EVERY = "(|(objectClass=*)(objectClass=ldapSubEntry))"  # a conflict hides from an ordinary search
_SINGLY = 32  # so many entries are read one by one sooner than all at once
_READ = ("objectClass", _USN, *SMALL)


class KnownEntries:
    """The entries one level below `suffix`; for several threads, each with a connection of its own."""

    def __init__(self, suffix: str, judge: EntryJudge, clock: Callable[[], float] = time.monotonic) -> None:
        self._suffix = suffix
        self._judge = judge
        self._doubted: dict[str, Held] = {}  # as they stand there, by DN
        self._gone: dict[str, tuple[str, Held]] = {}  # CAs by id: under which name they are known, and as what
        self._removals: dict[str, tuple[Removal, ...]] = {}  # by the DN of what has them
        self._clock = clock
        self._turn = threading.Lock()
        self._usns: dict[str, int] = {}  # of every entry, by DN
        self._conflicts: set[str] = set()
        self._dns: dict[str, str] = {}  # of CAs, by their id
        self._entries: dict[str, Held] = {}  # by DN
        self._facts: dict[str, dict[str | IssuingPointId, Authority | PointFacts]] = {}  # what they say, by DN
        self._by_name: dict[bytes, set[str]] = {}
        self._by_document: dict[str, set[str]] = {}
        self._changed: dict[str | IssuingPointId, int] = {}  # the revision at which it was seen to have changed
        self._revision = self._since = self._newest = NEVER
        self._floor = NEVER  # what changes is told as changed at this revision at least
        self._doubtful = True
        self._compared = 0.0
        self._settled = True  # compared after the last change

    def look(self, connection: Connection) -> bool:
        """Know what there is now; whether there are replication conflicts of CAs, which are to be merged first.

        Raises: StoreUnavailable.
        """
        with self._alone():
            self._look(connection)
            return bool(self._conflicts)

    def changes(self, connection: Connection, since: int) -> Changes:
        """See StatusStore."""
        with self._alone():
            self._look(connection)
            self._newest = max(self._newest, self._revision)
            whole = since < self._since
            changed = [key for key, revision in self._changed.items() if whole or revision > since]
            return Changes(
                self._revision,
                {key: self.authority(key) for key in changed if isinstance(key, str)},
                {key: self.point(key) for key in changed if isinstance(key, IssuingPointId)},
                whole,
            )

    def doubt(self) -> None:
        """Read everything again with the next look."""
        self._doubtful = True

    def mistrust(self) -> None:
        """Compare names and numbers with the next look: a number may be given before what it was given to is there."""
        self._compared = -math.inf

    def stored(self) -> tuple[Held, ...]:
        """All entries of CAs as they stood there at the last look, in no order."""
        return tuple({**self._entries, **self._doubted}.values())

    def doubted(self, authority_id: str) -> Held | None:
        """The entry of a CA as it stands there and is not believed."""
        return next((one for one in self._doubted.values() if one.authority.id == authority_id), None)

    def entry(self, authority_id: str) -> Held | None:
        """The entry of one CA."""
        return self._entries.get(self._dns.get(authority_id, ""))

    def authority(self, authority_id: str) -> Authority | None:
        """One CA."""
        entry = self.entry(authority_id)
        return entry.authority if entry else None

    def points_of(self, authority_id: str) -> dict[IssuingPointId, PointFacts]:
        """What is kept of the issuing points of one CA."""
        facts = self._facts.get(self._dns.get(authority_id, ""), {})
        return {
            point: one
            for point, one in facts.items()
            if isinstance(point, IssuingPointId) and isinstance(one, PointFacts)
        }

    def point(self, point: IssuingPointId) -> PointFacts:
        """What is kept of one issuing point."""
        facts = self._facts.get(self._dns.get(point.authority_id, ""), {}).get(point)
        return facts if isinstance(facts, PointFacts) else PointFacts()

    def named(self, canonical_name: bytes) -> tuple[Held, ...]:
        """Those for which an issuer of that name may issue CRLs."""
        return self._of(self._by_name.get(canonical_name, ()))

    def naming(self, document: str) -> tuple[Held, ...]:
        """Those whose current facts name the document (SHA-256, hex)."""
        return self._of(self._by_document.get(document, ()))

    def _of(self, dns: Iterable[str]) -> tuple[Held, ...]:
        return tuple(self._entries[dn] for dn in sorted(dns) if dn in self._entries)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise StoreUnavailable("the directory server is slow to answer", hint="is it overloaded?")
        try:
            yield
        finally:
            self._turn.release()

    def _look(self, connection: Connection) -> None:
        try:
            mark = self._judge.mark()
            revision = connection.last_usn()  # first: what changes from here on is seen by the next look
            if self._doubtful or revision < self._revision:
                self._doubtful = False  # before: a doubt that comes while everything is read is a new one
                self._floor = self._newest + 1
                self._read_all(connection, revision, mark)
            elif revision > self._revision:
                self._settled = False
                self._read_changed(connection, revision, mark)
            elif self._clock() - self._compared >= (COMPARED_IDLE_SECONDS if self._settled else COMPARED_SECONDS):
                self._floor = max(self._floor, self._newest + 1)
                self._know(connection, self._compare(connection), revision, mark)
            self._revision = revision
        except BaseException:
            self._doubtful = True
            raise

    def _read_all(self, connection: Connection, revision: int, mark: int) -> None:
        entries = self._search(connection, _EVERY, _READ)
        self._drop(self._usns.keys() - {_key(entry) for entry in entries})
        self._know(connection, self._taken(entries), revision, mark, whole=True)
        self._since = revision if self._since == NEVER else self._since
        self._compared, self._settled = self._clock(), True

    def _read_changed(self, connection: Connection, revision: int, mark: int) -> None:
        after = max(self._usns.values(), default=NEVER)
        changed = self._taken(self._search(connection, f"(&{_EVERY}({_USN}>={after + 1}))", _READ))
        suffix = connection.read(self._suffix, ["numSubordinates"])
        count = int(suffix.text("numSubordinates", "0")) if suffix else 0
        if count != len(self._usns) or self._clock() - self._compared >= COMPARED_SECONDS:
            changed |= self._compare(connection)
        self._know(connection, changed, revision, mark)

    def _compare(self, connection: Connection) -> dict[str, Held | None]:
        present = {_key(entry): _usn(entry) for entry in self._search(connection, _EVERY, [_USN])}
        self._drop(self._usns.keys() - present.keys())
        other = [dn for dn, usn in present.items() if self._usns.get(dn) != usn]
        if len(other) > _SINGLY:
            changed = self._taken(self._search(connection, _EVERY, _READ))
        else:
            changed = self._taken(filter(None, (connection.read(dn, _READ) for dn in other)))
        self._compared, self._settled = self._clock(), True
        return changed

    def _drop(self, dns: Iterable[str]) -> None:
        for dn in dns:
            del self._usns[dn]
            self._conflicts.discard(dn)
            self._removals.pop(dn, None)
            self._lose(dn)

    def _lose(self, dn: str) -> None:
        """The CA that had this entry has it no more: whether it is gone is to be judged."""
        self._doubted.pop(dn, None)
        if dn in self._entries:
            self._gone[self._entries[dn].authority.id] = dn, self._entries[dn]

    def _search(self, connection: Connection, query: str, attributes: Iterable[str]) -> tuple[Entry, ...]:
        try:
            return connection.search(self._suffix, scope="one", query=query, attributes=list(attributes))
        except NotFound as error:
            raise StoreUnavailable(
                f"the directory has no entry {self._suffix}", hint="is it being filled? else: vouchd directory setup"
            ) from error

    def _taken(self, entries: Iterable[Entry]) -> dict[str, Held | None]:
        """By DN what was read: CAs as they stand there, None for what is none."""
        result: dict[str, Held | None] = {}
        for entry in entries:
            dn = _key(entry)
            self._usns[dn] = _usn(entry)
            self._removals[dn] = readable(entry.all(REMOVAL))
            is_authority = bool(entry.all(AUTHORITY)) and b"vouchdissuingpoint" in {
                value.lower() for value in entry.all("objectClass")
            }
            if entry.is_conflict and entry.all(AUTHORITY):
                self._conflicts.add(dn)
            else:
                self._conflicts.discard(dn)
            result[dn] = Held.stored(entry) if is_authority and not entry.is_conflict else None
        return result

    def _know(
        self, connection: Connection, taken: dict[str, Held | None], revision: int, mark: int, *, whole: bool = False
    ) -> None:
        """Judge what was read, and know what is believed of it."""
        whole = whole or self._judge.wants_all()
        for dn, read in taken.items():
            if dn in self._entries and (read is None or read.is_of_another(self._entries[dn])):
                self._lose(dn)
            elif read is None:
                self._doubted.pop(dn, None)
        present: dict[str, Held] = {**(self._entries if whole else {}), **self._doubted, **self._said_gone(taken)}
        present = {dn: entry for dn, entry in present.items() if entry.authority.id not in self._gone}
        present |= {dn: read for dn, read in taken.items() if read is not None}
        if not (present or whole or self._gone):
            return
        missing = self._gone.keys() - {entry.authority.id for entry in present.values()}
        removals = [one for some in self._removals.values() for one in some]
        judged, former = self._judge.judge(
            connection, list(present.values()), mark, removals, None if whole else missing
        )
        for (dn, entry), one in zip(present.items(), judged, strict=True):
            self._believe(dn, entry, one, revision)
        self._keep(former, present.keys(), revision)

    def _said_gone(self, taken: Iterable[str]) -> dict[str, Held]:
        """The CAs that are said to be gone by what was read."""
        names = {str(one.get("id")) for dn in taken for one in self._removals.get(dn, ())} & self._dns.keys()
        return {self._dns[name]: self._entries[self._dns[name]] for name in names}

    def _keep(self, former: Mapping[str, Authority], present: Collection[str], revision: int) -> None:
        """Of what is gone know the CAs that are believed still, and nothing of all others."""
        before, self._gone = self._gone, {}
        for name, authority in former.items():
            _, last = before.get(name, ("", Held.lost(authority, self._suffix)))
            self._gone[name] = f"{name} is gone", replace(last, authority=authority, doubtful=True, gone=True)
        kept = {key for key, _ in self._gone.values()}
        for key, _ in before.values():
            if key not in kept and key not in present:
                self._put(key, None, revision)
        for key, lost in self._gone.values():
            if self._entries.get(key) != lost:
                self._put(key, lost, revision)

    def _believe(self, dn: str, stored: Held, judged: Held, revision: int) -> None:
        known = self._entries.get(dn)
        if judged.doubtful:
            self._doubted[dn] = stored
        else:
            self._doubted.pop(dn, None)
        if stored.record is None and not judged.believed and known is not None:
            judged = replace(judged, authority=known.authority, believed=True)
        if not judged.believed:
            self._put(dn, None, revision)
        elif known != judged:
            self._put(dn, judged, revision)

    def _put(self, dn: str, new: Held | None, revision: int) -> None:
        """Have the entry be this one, None: no CA any more; note what of its facts is another than before."""
        old = self._entries.pop(dn, None)
        if old is not None:
            _leave(self._by_name, issuer_names(old.authority), dn)
            _leave(self._by_document, old.named(), dn)
            if self._dns.get(old.authority.id) == dn:
                del self._dns[old.authority.id]
        if new is not None:
            self._entries[dn] = new
            self._dns[new.authority.id] = dn
            _enter(self._by_name, issuer_names(new.authority), dn)
            _enter(self._by_document, new.named(), dn)
        before, now = self._facts.pop(dn, {}), _facts(new)
        if now:
            self._facts[dn] = now
        for fact in before.keys() | now.keys():
            if before.get(fact) != now.get(fact):
                self._changed[fact] = max(revision, self._floor)


def _facts(entry: Held | None) -> dict[str | IssuingPointId, Authority | PointFacts]:
    """What the entry says, by what it says it of."""
    if entry is None:
        return {}
    epochs = {epoch.issuing_point: epoch for epoch in entry.current()}
    # Of several that were entry back on different suppliers at one time, the one that came last.
    quarantined = {
        crl.issuing_point: crl for crl in sorted((crl for _, crl in entry.quarantined), key=quarantine_order)
    }
    facts: dict[str | IssuingPointId, Authority | PointFacts] = {entry.authority.id: entry.authority}
    for point in epochs.keys() | quarantined.keys():
        facts[point] = PointFacts(epochs.get(point), quarantined.get(point))
    return facts


def _enter(table: dict[K, set[str]], keys: Iterable[K], dn: str) -> None:
    for key in keys:
        table.setdefault(key, set()).add(dn)


def _leave(table: dict[K, set[str]], keys: Iterable[K], dn: str) -> None:
    for key in keys:
        table[key].discard(dn)
        if not table[key]:
            del table[key]


def _key(entry: Entry) -> str:
    return entry.dn.lower()


def _usn(entry: Entry) -> int:
    return int(entry.text(_USN, "-1"))
