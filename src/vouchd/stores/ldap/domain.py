"""The part of the directory store that knows the security domain: an entry for each member, as pkiSubsystem has it.

The facts that are one of a set, the keyring and what waits for approval, are each a value of the domain's entry. Where
two servers take a change at the same moment replication makes the union of their values; every reader takes the same
one of them, and the next change leaves that alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vouchd.core import records
from vouchd.core.approval_facts import Approvals, approvals_record, newest_approvals, read_approvals
from vouchd.core.facts import JoinToken, Member
from vouchd.core.ports import APPROVALS_KIND, KEYRING_KIND, MEMBER_KIND, TOKEN_KIND
from vouchd.core.signer_facts import Keyring, keyring_record, newest, read_keyring
from vouchd.directory.connection import Change, Connection, Entry, escaped
from vouchd.directory.schema import APPROVALS, DOMAIN, KEYRING, MEMBER, MEMBERS, REMOVAL, STAMP, TOKEN
from vouchd.errors import AlreadyExists, NotFound, StoreConflict, StoreError
from vouchd.stores.ldap.changes import again, change_step, modify
from vouchd.stores.ldap.entries import restamped
from vouchd.stores.ldap.removals import added, keep, readable
from vouchd.stores.ldap.users import DirectoryUsers
from vouchd.stores.rules import changed_approvals, changed_keyring, no_member, no_token, require_member_change

_log = logging.getLogger(__name__)
F = TypeVar("F")


class DirectoryDomain(DirectoryUsers):
    """Keeps the contract of DomainStore below the suffix.

    Two servers cannot compare what they are told at the same moment, so the registry asks for ids that differ from the
    start; if two were equal, replication would show it as a conflict in `vouchd directory status`.
    """

    def members(self) -> tuple[Member, ...]:
        """See DomainStore."""
        with self._connections.connection() as connection:
            members = self._members(connection)
        return tuple(members[member_id] for member_id in sorted(members))

    def put_member(self, member: Member, replaces: Member | None) -> None:
        """See DomainStore."""

        def put(connection: Connection) -> None:
            domain = self._domain(connection)  # before the members: a member added since makes the stamp another one
            members, stored = self._registry(connection)
            require_member_change(members, member, replaces)
            _restamp(connection, domain, first=True)
            values = _values(member, self.seals.seal(MEMBER_KIND, member.id, records.member_record(member)))
            with change_step(lambda fresh_connection: self._members(fresh_connection).get(member.id) == member):
                if replaces is None or member.id not in stored:
                    self._add_member(connection, member, values)
                else:
                    self._change_member(connection, member, values, stored.get(member.id, ()))

        again(self._connections, put)

    def _add_member(self, connection: Connection, member: Member, values: Mapping[str, list[str]]) -> None:
        """Add the entry; whoever read the members before may do so at the same moment. Raises: as put_member."""
        dn = self._dn(member.id)
        try:
            connection.add(dn, {"objectClass": _CLASSES, "cn": [member.id], **values})
        except AlreadyExists as error:
            raise _changed(member) from error
        try:
            require_member_change(self._members(connection), member, member)
        except AlreadyExists:  # of two with one replica id the one that looks last sees the other
            connection.delete(dn)
            raise

    def _change_member(
        self, connection: Connection, member: Member, values: Mapping[str, list[str]], before: tuple[bytes, ...]
    ) -> None:
        octets = {name: tuple(value.encode() for value in each) for name, each in values.items()}
        same = [Change("delete", MEMBER, before), Change("add", MEMBER, octets.pop(MEMBER))]
        others = [Change("replace", name, each) for name, each in octets.items()]
        try:
            connection.modify(self._dn(member.id), [*same, *others])
        except (StoreConflict, NotFound) as error:
            raise _changed(member) from error

    def remove_member(self, member_id: str) -> None:
        """See DomainStore."""
        removal = self.seals.removal(MEMBER_KIND, member_id)

        def remove(connection: Connection) -> None:
            members, stored = self._registry(connection)
            if member_id not in members and member_id not in stored:
                raise no_member(member_id)
            with change_step(lambda fresh_connection: member_id not in self._members(fresh_connection)):
                if removal is not None:
                    self._seal_away(connection, member_id, stored.get(member_id, ()), removal)
                with suppress(NotFound):  # another one was quicker, or it was taken out of the directory
                    connection.delete(self._dn(member_id))

        again(self._connections, remove)

    def _seal_away(
        self, connection: Connection, member_id: str, before: tuple[bytes, ...], removal: Mapping[str, Any]
    ) -> None:
        if before:
            changes = [Change("delete", MEMBER, before), *added(removal)]
            with suppress(StoreConflict, NotFound):  # it was changed or deleted meanwhile: the container tells
                connection.modify(self._dn(member_id), changes)
        keep(connection, self._suffix, [removal])

    def put_token(self, token: JoinToken) -> None:
        """See DomainStore."""
        record = self.seals.seal(TOKEN_KIND, token.digest, records.token_record(token))
        fact = records.to_json(record).encode()

        def put(connection: Connection) -> None:
            domain = self._domain(connection)
            old = tuple(
                value
                for value in domain.all(TOKEN)
                if (known := _token(value)) is None
                or known.digest == token.digest
                or known.expires_at <= token.expires_at - _LONGEST_SECONDS
            )
            changes = [Change("delete", TOKEN, old)] if old else []
            _restamp(connection, domain, *changes, Change("add", TOKEN, (fact,)))

        again(self._connections, put)

    def token(self, digest: str) -> JoinToken | None:
        """See DomainStore."""
        with self._connections.connection() as connection:
            return next((token for _, token in self._tokens(connection, self._domain(connection), digest)), None)

    def tokens(self) -> tuple[JoinToken, ...]:
        """See DomainStore."""
        with self._connections.connection() as connection:
            domain = self._domain(connection)
            digests = {token.digest for value in domain.all(TOKEN) if (token := _token(value)) is not None}
            believed = {token for digest in digests for _, token in self._tokens(connection, domain, digest)}
        return tuple(sorted(believed, key=lambda token: (token.expires_at, token.digest)))

    def drop_tokens(self) -> None:
        """See DomainStore."""

        def drop(connection: Connection) -> None:
            _restamp(connection, self._domain(connection), Change("replace", TOKEN, ()))

        again(self._connections, drop)

    def take_token(self, digest: str, at: int) -> JoinToken:
        """See DomainStore."""
        with self._connections.connection() as connection:
            domain = self._domain(connection)
            for value, token in self._tokens(connection, domain, digest):
                if token.expires_at <= at:
                    continue
                with suppress(StoreConflict):  # another one took it
                    connection.modify(domain.dn, [Change("delete", TOKEN, (value,))])
                    return token
        raise no_token()

    def _members(self, connection: Connection) -> dict[str, Member]:
        return self._registry(connection)[0]

    def _registry(self, connection: Connection) -> tuple[dict[str, Member], dict[str, tuple[bytes, ...]]]:
        """The members as they are believed, and the values that stand there, both by id."""
        query, mark = "(|(objectClass=vouchdDomainMember)(objectClass=vouchdRemovals))", self.seals.mark()
        try:
            every, lost = self._below_members(connection, query), None
        except NotFound as error:
            if self.seals.wants_all(MEMBER_KIND):
                raise
            every, lost = (), error
        removals = [one for entry in every for one in readable(entry.all(REMOVAL))]
        entries = [entry for entry in every if _is_member(entry)]
        stored: dict[str, list[records.Record]] = {}
        damaged = []
        for entry in entries:
            try:
                record = records.from_json(entry.text(MEMBER), dict)
                stored[records.from_record(record, records.read_member).id] = [record]
            except StoreError:
                damaged.append(entry.dn)
                _log.error("%s: the record of the member is damaged", entry.dn)
        believed = self.seals.believe(MEMBER_KIND, stored, mark, _nobody, damaged, removals)
        if lost is not None and not believed:
            raise lost
        members = {name: records.from_record(some[0], records.read_member) for name, some in believed.items()}
        return members, {entry.text("cn"): entry.all(MEMBER) for entry in entries}

    def _below_members(self, connection: Connection, query: str) -> tuple[Entry, ...]:
        names = [MEMBER, REMOVAL, "cn", "objectClass"]
        return connection.search(f"{MEMBERS},{self._suffix}", scope="sub", query=query, attributes=names)

    def _domain(self, connection: Connection) -> Entry:
        entry = connection.read(f"{DOMAIN},{self._suffix}", [TOKEN, STAMP])
        if entry is None:
            raise NotFound(f"no entry {DOMAIN},{self._suffix}", hint="run `vouchd directory setup`")
        return entry

    def _tokens(self, connection: Connection, domain: Entry, digest: str) -> list[tuple[bytes, JoinToken]]:
        """Those of that digest that are believed, with the values that hold them."""
        values = [value for value in domain.all(TOKEN) if (token := _token(value)) and token.digest == digest]
        if not values:
            return []
        stored = {digest: [records.from_json(value, dict) for value in values]}
        believed = self.seals.believe(TOKEN_KIND, stored, 0, lambda: self._members(connection)).get(digest, [])
        pairs = ((value, records.from_json(value, dict)) for value in values)
        return [(value, records.read_token(record)) for value, record in pairs if record in believed]

    def _dn(self, member_id: str) -> str:
        return f"cn={escaped(member_id)},{MEMBERS},{self._suffix}"


_CLASSES = ["top", "pkiSubsystem", "vouchdDomainMember"]
# A token that expired so long before another one does is dropped with it.
_LONGEST_SECONDS = 30 * 86400


def _changed(member: Member) -> StoreConflict:
    return StoreConflict(f"member {member.id} was changed meanwhile", hint="another process was quicker; try again")


def _token(value: bytes) -> JoinToken | None:
    """The token of a value; None where that is damaged."""
    try:
        return records.from_json(value, records.read_token)
    except StoreError:
        return None


def _is_member(entry: Entry) -> bool:
    """Whether it is the entry of a member, and of none whose removal is under way."""
    classes = {value.lower() for value in entry.all("objectClass")}
    return b"vouchddomainmember" in classes and bool(entry.all(MEMBER) or not entry.all(REMOVAL))


def _nobody() -> None:
    """The members are what is being read."""


def _restamp(connection: Connection, domain: Entry, *changes: Change, first: bool = False) -> None:
    modify(connection, domain.dn, [*restamped(domain.all(STAMP)), *changes], first=first)


def _values(member: Member, record: Mapping[str, Any]) -> dict[str, list[str]]:
    """The attributes of a member's entry with its record."""
    port = str(member.secure_port)
    return {
        MEMBER: [records.to_json(record)],
        "Host": [member.host],
        "SubsystemName": [member.name],
        "Clone": [_boolean(member.clone)],
        "DomainManager": [_boolean(not member.clone)],
        "SecurePort": [port],
        "SecureAgentPort": [port],
        "SecureAdminPort": [port],
        "UnSecurePort": [str(member.ee_port)],
    }


def _boolean(value: bool) -> str:  # noqa: FBT001  it is the value itself
    return "TRUE" if value else "FALSE"


@dataclass(frozen=True, slots=True)
class _SetFact(Generic[F]):
    """One kind of such a fact: its attribute, its record, which of several counts, and how it follows another."""

    kind: str
    attribute: str
    record: Callable[[F], Mapping[str, Any]]
    read: Callable[[records.Record], F]
    newest: Callable[[Iterable[F]], F]
    changed: Callable[[F, F, F], F]

    def records(self, values: tuple[bytes, ...]) -> tuple[list[records.Record], list[str]]:
        """The records of the values, and what is said of those that are damaged."""
        good, damaged = [], []
        for value in values:
            try:
                record = records.from_json(value, dict)
                records.from_record(record, self.read)
                good.append(record)
            except StoreError:
                damaged.append(f"a value of {self.attribute}")
        return good, damaged


_KEYRING = _SetFact(KEYRING_KIND, KEYRING, keyring_record, read_keyring, newest, changed_keyring)
_APPROVALS = _SetFact(APPROVALS_KIND, APPROVALS, approvals_record, read_approvals, newest_approvals, changed_approvals)


class DirectorySetFacts(DirectoryUsers):
    """Keeps the contracts of KeyringStore and ApprovalStore below the suffix."""

    def keyring(self) -> Keyring:
        """See KeyringStore."""
        return self._fact(_KEYRING)

    def put_keyring(self, keyring: Keyring, replaces: Keyring) -> None:
        """See KeyringStore."""
        self._put_fact(_KEYRING, keyring, replaces)

    def approvals(self) -> Approvals:
        """See ApprovalStore."""
        return self._fact(_APPROVALS)

    def put_approvals(self, approvals: Approvals, replaces: Approvals) -> None:
        """See ApprovalStore; on the master alone."""
        self._put_fact(_APPROVALS, approvals, replaces)

    def _fact(self, kind: _SetFact[F]) -> F:
        with self._connections.connection() as connection:
            mark = self.seals.mark()
            entry = connection.read(f"{DOMAIN},{self._suffix}", [kind.attribute])
            return self._believed(connection, kind, entry.all(kind.attribute) if entry else (), mark)

    def _put_fact(self, kind: _SetFact[F], fact: F, replaces: F) -> None:
        def put(connection: Connection) -> None:
            dn, mark = f"{DOMAIN},{self._suffix}", self.seals.mark()
            entry = connection.read(dn, [kind.attribute, STAMP])
            if entry is None:
                raise NotFound(f"no entry {dn}", hint="run `vouchd directory setup`")
            before = entry.all(kind.attribute)
            after = kind.changed(self._believed(connection, kind, before, mark), fact, replaces)
            stamps = restamped(entry.all(STAMP))
            gone = [Change("delete", kind.attribute, before)] if before else []
            record = self.seals.seal(kind.kind, kind.kind, kind.record(after))
            value = records.to_json(record).encode()
            modify(connection, dn, [*stamps, *gone, Change("add", kind.attribute, (value,))])

        again(self._connections, put)

    def _believed(self, connection: Connection, kind: _SetFact[F], values: tuple[bytes, ...], mark: int) -> F:
        stored, damaged = kind.records(values)
        believed = self.seals.believe(
            kind.kind, {kind.kind: stored} if stored else {}, mark, lambda: self._members(connection), damaged
        )
        return kind.newest(records.from_record(one, kind.read) for one in believed.get(kind.kind, ()))
