"""The part of the directory store that knows the facts that are one of a set, each a value of the domain's entry.

They are the keyring and what waits for approval. Where two servers take a change at the same moment replication makes
the union of their values; every reader takes the same one of them, and the next change leaves that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vouchd.core import records
from vouchd.core.approval_facts import Approvals, approvals_record, newest_approvals, read_approvals
from vouchd.core.ports import APPROVALS_KIND, KEYRING_KIND
from vouchd.core.signer_facts import Keyring, keyring_record, newest, read_keyring
from vouchd.directory.connection import Change, Connection
from vouchd.directory.schema import APPROVALS, DOMAIN, KEYRING, STAMP
from vouchd.errors import NotFound, StoreError
from vouchd.stores.ldap.changes import again, modify
from vouchd.stores.ldap.entries import restamped
from vouchd.stores.ldap.users import DirectoryUsers
from vouchd.stores.rules import changed_approvals, changed_keyring

F = TypeVar("F")


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
