"""Which entries of CAs are believed: each as it stands there, held against what its record may say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vouchd.core import records
from vouchd.core.facts import Authority
from vouchd.core.ports import CA_KIND, Seals
from vouchd.directory.connection import Connection
from vouchd.stores.ldap.entries import Held, names_of

_log = logging.getLogger(__name__)


class EntryJudge:
    """Judges by `seals`; `members` reads the members of the set."""

    def __init__(self, seals: Seals, members: Callable[[Connection], object]) -> None:
        self._seals = seals
        self._members = members

    def mark(self) -> int:
        """What is believed now, to be taken before entries are read."""
        return self._seals.mark()

    def wants_all(self) -> bool:
        """Whether all entries have to be judged next, not only those that changed."""
        return self._seals.wants_all(CA_KIND)

    def judge(
        self,
        connection: Connection,
        entries: Sequence[Held],
        mark: int,
        removals: Collection[Mapping[str, Any]],
        missing: Collection[str] | None,
    ) -> tuple[list[Held], dict[str, Authority]]:
        """The entries with the CA that is believed in place of the one that stands there; the CAs that are gone so far.

        `missing`: of these CAs there is no entry any more, and `entries` are those that changed, with all that were
        doubtful before; None: they are all.
        """
        stored = {one.authority.id: [one.record] for one in entries if one.record is not None}
        damaged = [one.dn for one in entries if one.record is None]
        believed = self._seals.believe(
            CA_KIND, stored, mark, lambda: self._members(connection), damaged, removals, missing
        )
        former = {name: _authority(some) for name, some in believed.items() if name not in stored}
        judged = [self._judged(one, believed.get(one.authority.id), former.values()) for one in entries]
        known = {one.authority.id for one in judged}
        return judged, {name: one for name, one in former.items() if name not in known}

    def _judged(self, entry: Held, believed: Sequence[records.Record] | None, former: Iterable[Authority]) -> Held:
        for attribute, _ in entry.damaged:
            _log.error("%s: a value of %s is damaged", entry.dn, attribute)
        if entry.record is None:
            _log.error("%s: the record of the CA is damaged", entry.dn)
            # What it was is known by the name of the entry, where all others are known.
            authority = next((one for one in former if not set(names_of(one)).isdisjoint(entry.names)), None)
            return replace(entry, authority=authority or entry.authority, believed=authority is not None, doubtful=True)
        if believed is None:
            return replace(entry, believed=False, doubtful=True)
        if believed[0] == entry.record:
            return entry
        return replace(entry, authority=_authority(believed), doubtful=True)


def _authority(believed: Sequence[records.Record]) -> Authority:
    return records.from_record(believed[0], records.read_authority)
