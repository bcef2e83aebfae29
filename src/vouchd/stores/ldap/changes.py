"""Changing an entry that others change too: read, decide, replace the stamp that was read; again when it is another.

The new stamp is the change's own mark. Where the server's answer is lost (it died, or took too long) the change may
have been made all the same: the stamp tells, once the server can be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from vouchd.directory.connection import Change, Connection, Connections
from vouchd.directory.schema import STAMP
from vouchd.errors import AlreadyExists, NotFound, StoreConflict, StoreUnavailable

_ATTEMPTS = 20


class EntryChanged(StoreConflict):
    """The entry is not as it was read; nothing was changed."""


class Unanswered(StoreUnavailable):
    """Nobody said whether a change was made; `was_made` finds out, by reading."""

    def __init__(self, error: StoreUnavailable, was_made: Callable[[Connection], bool]) -> None:
        super().__init__(str(error), hint=error.hint)
        self.was_made = was_made


@contextmanager
def change_step(was_made: Callable[[Connection], bool]) -> Iterator[None]:
    """A step of a change. Raises: Unanswered for StoreUnavailable."""
    try:
        yield
    except StoreUnavailable as error:
        raise Unanswered(error, was_made) from error


def modify(connection: Connection, dn: str, changes: Sequence[Change], *, first: bool = False) -> None:
    """Modify an entry with changes that fail when it is not as it was read; one of them replaces its stamp.

    `first`: more steps follow, so that this one alone is not the change. Raises: EntryChanged, Unanswered.
    """
    new = (one.values or () for one in changes if one.attribute == STAMP and one.kind == "add")
    try:
        with change_step(_never if first else _has_stamp(dn, {stamp for stamps in new for stamp in stamps})):
            connection.modify(dn, changes)
    except StoreConflict as error:
        raise EntryChanged(str(error), hint=error.hint) from error


def add(connection: Connection, dn: str, values: Mapping[str, Sequence[bytes | str]]) -> None:
    """Add an entry with a stamp. Raises: AlreadyExists, Unanswered."""
    with change_step(_has_stamp(dn, {value for value in values[STAMP] if isinstance(value, bytes)})):
        connection.add(dn, values)


def _has_stamp(dn: str, stamps: set[bytes]) -> Callable[[Connection], bool]:
    """Whether the entry has one of them. If not, the change cannot come after another that replaces the old stamp."""

    def was_made(connection: Connection) -> bool:
        entry = connection.read(dn, [STAMP])
        return entry is not None and not stamps.isdisjoint(entry.all(STAMP))

    return was_made


def _never(_: Connection) -> bool:
    return False


def again(
    connections: Connections, change: Callable[[Connection], None], mistrust: Callable[[], None] = lambda: None
) -> None:
    """Do `change`, which reads and then modifies, anew for as long as others are quicker.

    `mistrust` is told whenever what is known of the entries may not be what is there.

    When the answer to it is lost the server is asked whether it was made; if it was not, it is made then. A server that
    gets to the lost one only after it was asked makes the second one fail: it is asked once more. Raises: what `change`
    raises; StoreUnavailable when the server cannot be asked: it may have been made or not.
    """
    lost: Unanswered | None = None
    for attempt in range(_ATTEMPTS):
        try:
            with connections.connection() as connection:
                if lost is None or not lost.was_made(connection):
                    _change_or_find_made(connection, change, lost)
        except EntryChanged:  # what it decides may be another thing now
            mistrust()
            if attempt + 1 == _ATTEMPTS:
                raise
        except Unanswered as error:
            mistrust()
            if lost is not None:
                raise
            lost = error
        else:
            if lost is not None:
                mistrust()
            return


def _change_or_find_made(connection: Connection, change: Callable[[Connection], None], lost: Unanswered | None) -> None:
    try:
        change(connection)
    except (StoreConflict, AlreadyExists, NotFound):
        if lost is None or not lost.was_made(connection):
            raise
