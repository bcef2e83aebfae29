"""Changing an entry that others change too: read, decide, replace the stamp that was read; again when it is another.

The new stamp is the change's own mark. Where the server's answer is lost (it died, or took too long) the change may
have been made all the same: the stamp tells, once the server can be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vouchd.directory.connection import Change, Connection, Connections
from vouchd.directory.schema import STAMP
from vouchd.errors import StoreConflict, StoreUnavailable

_ATTEMPTS = 20


class EntryChanged(StoreConflict):
    """The entry is not as it was read; nothing was changed."""


class Unanswered(StoreUnavailable):
    """Nobody said whether the change was made that gives the entry at `dn` the stamps."""

    def __init__(self, error: StoreUnavailable, dn: str, stamps: frozenset[bytes]) -> None:
        super().__init__(str(error), hint=error.hint)
        self.dn = dn
        self.stamps = stamps

    def was_made(self, connection: Connection) -> bool:
        """Whether it was. If not, it cannot come later than a change that replaces the stamp it was to replace."""
        entry = connection.read(self.dn, [STAMP])
        return entry is not None and bool(self.stamps & set(entry.all(STAMP)))


def modify(connection: Connection, dn: str, changes: Sequence[Change]) -> None:
    """Modify an entry with changes that fail when it is not as it was read. Raises: EntryChanged, Unanswered."""
    try:
        connection.modify(dn, changes)
    except StoreConflict as error:
        raise EntryChanged(str(error), hint=error.hint) from error
    except StoreUnavailable as error:
        new = (one.values or () for one in changes if one.attribute == STAMP and one.kind == "add")
        raise Unanswered(error, dn, frozenset(stamp for stamps in new for stamp in stamps)) from error


def add(connection: Connection, dn: str, values: Mapping[str, Sequence[bytes | str]]) -> None:
    """Add an entry with a stamp. Raises: AlreadyExists, Unanswered."""
    try:
        connection.add(dn, values)
    except StoreUnavailable as error:
        raise Unanswered(error, dn, frozenset(value for value in values[STAMP] if isinstance(value, bytes))) from error


def again(connections: Connections, change: Callable[[Connection], None]) -> None:
    """Do `change`, which reads and then modifies, anew for as long as others are quicker.

    When the answer to it is lost the server is asked once whether it was made; if it was not, it is made then. Raises:
    what `change` raises; StoreUnavailable when the server cannot be asked: it may have been made or not.
    """
    lost: Unanswered | None = None
    for attempt in range(_ATTEMPTS):
        try:
            with connections.connection() as connection:
                if lost is None or not lost.was_made(connection):
                    change(connection)
                return
        except EntryChanged:  # what it decides may be another thing now
            if attempt + 1 == _ATTEMPTS:
                raise
        except Unanswered as error:
            if lost is not None:
                raise
            lost = error
