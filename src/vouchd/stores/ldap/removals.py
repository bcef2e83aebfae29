"""Removals in a directory: which facts are gone, as members have sealed it; see cloning/seals.

A user is a value of one entry, which takes the removal in the same modify. A CA and a member have entries of their own:
the modify that takes the record out of the entry puts the removal into it, then the container above keeps it, and then
the entry is deleted. So whoever looks, at any moment, sees the record or the removal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vouchd.core import records
from vouchd.core.ports import CA_KIND, MEMBER_KIND, USER_KIND
from vouchd.directory.connection import Change, Connection
from vouchd.directory.schema import HIGH_WATERS, MEMBERS, PEOPLE, REMOVAL
from vouchd.errors import NotFound, StoreConflict, StoreError
from vouchd.stores.ldap.changes import EntryChanged

Removal = dict[str, Any]

CONTAINERS = {CA_KIND: HIGH_WATERS, MEMBER_KIND: MEMBERS, USER_KIND: PEOPLE}
_CLASS = b"vouchdRemovals"


def readable(values: Iterable[bytes]) -> tuple[Removal, ...]:
    """The removals that the values of an attribute hold; a damaged one says nothing."""
    return tuple(removal for _, removal in _read(values))


def added(removal: Mapping[str, Any] | None, present: Iterable[bytes] = ()) -> list[Change]:
    """The changes that put the removal, if there is one, into an entry in place of those of the same fact."""
    if removal is None:
        return []
    value = records.to_json(removal).encode()
    old = tuple(one for one, other in _read(present) if _fact(other) == _fact(removal) and one != value)
    changes = [Change("delete", REMOVAL, old)] if old else []
    return changes if value in present else [*changes, Change("add", REMOVAL, (value,))]


def keep(connection: Connection, suffix: str, removals: Iterable[Mapping[str, Any]]) -> None:
    """Have the container of their kind keep the removals. Raises: EntryChanged, StoreError."""
    for removal in removals:
        dn = f"{CONTAINERS[removal['kind']]},{suffix}"
        entry = connection.read(dn, ["objectClass", REMOVAL])
        if entry is None:
            raise NotFound(f"no entry {dn}", hint="run `vouchd directory setup`")
        changes = added(removal, entry.all(REMOVAL))
        if not changes:
            continue
        if removal["kind"] != USER_KIND and _CLASS.lower() not in {one.lower() for one in entry.all("objectClass")}:
            changes = [Change("add", "objectClass", (_CLASS,)), *changes]
        try:
            connection.modify(dn, changes)
        except StoreConflict as error:
            raise EntryChanged(str(error), hint=error.hint) from error


def kept(connection: Connection, suffix: str) -> tuple[Removal, ...]:
    """All that the containers keep."""
    entries = (connection.read(f"{container},{suffix}", [REMOVAL]) for container in CONTAINERS.values())
    return tuple(removal for entry in entries if entry is not None for removal in readable(entry.all(REMOVAL)))


def _read(values: Iterable[bytes]) -> Iterator[tuple[bytes, Removal]]:
    for value in values:
        try:
            removal = records.from_json(value, dict)
        except StoreError:
            continue
        if removal.get("kind") in CONTAINERS:
            yield value, removal


def _fact(removal: Mapping[str, Any]) -> tuple[object, object]:
    return removal["kind"], removal.get("id")
