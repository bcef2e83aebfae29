"""Users as values of one entry: a change of one is a change of all, as what a user may have depends on the others."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

from vouchd.core import records
from vouchd.core.facts import Member, User
from vouchd.core.ports import USER_KIND, Seals
from vouchd.directory.connection import Change, Connection, Connections, Entry
from vouchd.directory.schema import PEOPLE, REMOVAL, STAMP, USER
from vouchd.errors import NotFound, StoreError
from vouchd.stores.ldap.changes import again, modify
from vouchd.stores.ldap.entries import restamped
from vouchd.stores.ldap.removals import added, readable
from vouchd.stores.rules import no_user, require_administrator, require_user_change

_log = logging.getLogger(__name__)


class DirectoryUsers(ABC):
    """Keeps the contract of IdentityStore below `suffix`; `seals` decides what is believed."""

    def __init__(self, connections: Connections, suffix: str, seals: Seals) -> None:
        self._connections = connections
        self._suffix = suffix
        self.seals = seals

    def users(self) -> tuple[User, ...]:
        """See IdentityStore."""
        with self._connections.connection() as connection:
            users = self._users(connection)[1]
        return tuple(users[user_id] for user_id in sorted(users))

    def put_user(self, user: User, replaces: User | None) -> None:
        """See IdentityStore."""
        fact = records.to_json(self.seals.seal(USER_KIND, user.id, records.user_record(user))).encode()

        def put(connection: Connection) -> None:
            people, users = self._users(connection)
            require_user_change(users, user, replaces)
            _change(connection, people, user.id, [Change("add", USER, (fact,))])

        again(self._connections, put)

    def remove_user(self, user_id: str) -> None:
        """See IdentityStore."""
        removal = self.seals.removal(USER_KIND, user_id)

        def remove(connection: Connection) -> None:
            people, users = self._users(connection)
            if user_id not in users and user_id not in _stored(people)[0]:
                raise no_user(user_id)
            require_administrator(users, {name: user for name, user in users.items() if name != user_id})
            _change(connection, people, user_id, added(removal, people.all(REMOVAL)))

        again(self._connections, remove)

    def _users(self, connection: Connection) -> tuple[Entry, dict[str, User]]:
        """Their entry and the users; one that two suppliers changed at one time has only what both changes left it."""
        mark, entry = self.seals.mark(), connection.read(f"{PEOPLE},{self._suffix}", [USER, STAMP, REMOVAL])
        people = entry or Entry(f"{PEOPLE},{self._suffix}", {})
        if entry is None and self.seals.wants_all(USER_KIND):
            raise _no_container(people.dn)
        stored, damaged = _stored(people)
        if damaged:
            _log.error("%s: %d values of %s are damaged", people.dn, len(damaged), USER)
        records_by_user = {user_id: [record for _, record in some] for user_id, some in stored.items()}
        damage = [f"{len(damaged)} values of {people.dn}"] if damaged else []
        believed = self.seals.believe(
            USER_KIND,
            records_by_user,
            mark,
            lambda: self._members(connection),
            damage,
            readable(people.all(REMOVAL)),
        )
        if entry is None and not believed:
            raise _no_container(people.dn)
        users: dict[str, User] = {}
        for user_id, some in believed.items():
            for record in some:
                user = records.from_record(record, records.read_user)
                users[user_id] = _meet(users[user_id], user) if user_id in users else user
        return people, users

    @abstractmethod
    def _members(self, connection: Connection) -> dict[str, Member]:
        """The members of the set as they are believed."""


def _no_container(dn: str) -> NotFound:
    return NotFound(f"no entry {dn}", hint="run `vouchd directory setup`")


def _change(connection: Connection, people: Entry, user_id: str, changes: Sequence[Change]) -> None:
    """Put `changes` in place of the values of one user, and take away those that cannot be read."""
    stored, damaged = _stored(people)
    old = (*(value for value, _ in stored.get(user_id, ())), *damaged)
    modify(
        connection,
        people.dn,
        [*restamped(people.all(STAMP)), *([Change("delete", USER, old)] if old else []), *changes],
    )


def _stored(people: Entry) -> tuple[dict[str, list[tuple[bytes, records.Record]]], list[bytes]]:
    """By user the values with the records in them, and the values that are damaged."""
    stored: dict[str, list[tuple[bytes, records.Record]]] = {}
    damaged = []
    for value in people.all(USER):
        try:
            record = records.from_json(value, dict)
            stored.setdefault(records.from_record(record, records.read_user).id, []).append((value, record))
        except StoreError:
            damaged.append(value)
    return stored, damaged


def _meet(one: User, other: User) -> User:
    return User(
        id=one.id,
        full_name=min(one.full_name, other.full_name),
        groups=one.groups & other.groups,
        certificates=tuple(sorted(set(one.certificates) & set(other.certificates))),
        enabled=one.enabled and other.enabled,
    )
