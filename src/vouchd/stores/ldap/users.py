"""Users as values of one entry: a change of one is a change of all, as what a user may have depends on the others."""

from __future__ import annotations

from collections.abc import Sequence

from vouchd.core import records
from vouchd.core.facts import User
from vouchd.directory.connection import Change, Connection, Connections, Entry
from vouchd.directory.schema import PEOPLE, STAMP, USER
from vouchd.errors import NotFound
from vouchd.stores.ldap.changes import again, modify
from vouchd.stores.ldap.entries import new_stamp
from vouchd.stores.rules import no_user, require_administrator, require_user_change


class DirectoryUsers:
    """Keeps the contract of IdentityStore below `suffix`."""

    def __init__(self, connections: Connections, suffix: str) -> None:
        self._connections = connections
        self._suffix = suffix

    def users(self) -> tuple[User, ...]:
        """See IdentityStore."""
        with self._connections.connection() as connection:
            users = _by_id(self._people(connection))
        return tuple(users[user_id] for user_id in sorted(users))

    def put_user(self, user: User, replaces: User | None) -> None:
        """See IdentityStore."""
        fact = records.to_json(records.user_record(user)).encode()

        def put(connection: Connection) -> None:
            people = self._people(connection)
            require_user_change(_by_id(people), user, replaces)
            _change(connection, people, user.id, [Change("add", USER, (fact,))])

        again(self._connections, put)

    def remove_user(self, user_id: str) -> None:
        """See IdentityStore."""

        def remove(connection: Connection) -> None:
            people = self._people(connection)
            users = _by_id(people)
            if user_id not in users:
                raise no_user(user_id)
            require_administrator(users, {name: user for name, user in users.items() if name != user_id})
            _change(connection, people, user_id, [])

        again(self._connections, remove)

    def _people(self, connection: Connection) -> Entry:
        entry = connection.read(f"{PEOPLE},{self._suffix}", [USER, STAMP])
        if entry is None:
            raise NotFound(f"no entry {PEOPLE},{self._suffix}", hint="run `vouchd directory setup`")
        return entry


def _change(connection: Connection, people: Entry, user_id: str, changes: Sequence[Change]) -> None:
    """Put `changes` in place of the values of one user."""
    old = tuple(value for value in people.all(USER) if records.from_json(value, records.read_user).id == user_id)
    stamps = [Change("delete", STAMP, people.all(STAMP)), Change("add", STAMP, (new_stamp(),))]
    modify(connection, people.dn, [*stamps, *([Change("delete", USER, old)] if old else []), *changes])


def _by_id(people: Entry) -> dict[str, User]:
    """The users; one that was changed on two suppliers at one time has only what both changes left it."""
    users: dict[str, User] = {}
    for value in people.all(USER):
        user = records.from_json(value, records.read_user)
        users[user.id] = _meet(users[user.id], user) if user.id in users else user
    return users


def _meet(one: User, other: User) -> User:
    return User(
        id=one.id,
        full_name=min(one.full_name, other.full_name),
        groups=one.groups & other.groups,
        certificates=tuple(sorted(set(one.certificates) & set(other.certificates))),
        enabled=one.enabled and other.enabled,
    )
