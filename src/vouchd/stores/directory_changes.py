"""Changing an entry that others change too: read, decide, replace the stamp that was read; again when it is another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from vouchd.directory.connection import Change, Connection, Connections
from vouchd.errors import StoreConflict

T = TypeVar("T")

_ATTEMPTS = 20


class EntryChanged(StoreConflict):
    """The entry is not as it was read; nothing was changed."""


def modify(connection: Connection, dn: str, changes: Sequence[Change]) -> None:
    """Modify an entry with changes that fail when it is not as it was read. Raises: EntryChanged."""
    try:
        connection.modify(dn, changes)
    except StoreConflict as error:
        raise EntryChanged(str(error), hint=error.hint) from error


def again(connections: Connections, change: Callable[[Connection], T]) -> T:
    """Do `change`, which reads and then modifies, anew for as long as others are quicker. Raises: what it raises."""
    with connections.connection() as connection:
        for _ in range(_ATTEMPTS - 1):
            try:
                return change(connection)
            except EntryChanged:  # what it decides may be another thing now
                continue
        return change(connection)
