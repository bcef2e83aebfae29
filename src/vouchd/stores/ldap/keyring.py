"""The part of the directory store that knows the signers of the set: one value of the domain's entry.

Where two servers take a change at the same moment replication makes the union of their values; every reader takes the
same one of them, and the next change leaves that alone.
"""

from __future__ import annotations

from vouchd.core import records
from vouchd.core.ports import KEYRING_KIND
from vouchd.core.signer_facts import Keyring, keyring_record, newest, read_keyring
from vouchd.directory.connection import Change, Connection
from vouchd.directory.schema import DOMAIN, KEYRING, STAMP
from vouchd.errors import NotFound, StoreError
from vouchd.stores.ldap.changes import again, modify
from vouchd.stores.ldap.entries import restamped
from vouchd.stores.ldap.users import DirectoryUsers
from vouchd.stores.rules import changed_keyring


class DirectoryKeyring(DirectoryUsers):
    """Keeps the contract of KeyringStore below the suffix."""

    def keyring(self) -> Keyring:
        """See KeyringStore."""
        with self._connections.connection() as connection:
            mark = self.seals.mark()
            entry = connection.read(f"{DOMAIN},{self._suffix}", [KEYRING])
            return self._believed_keyring(connection, entry.all(KEYRING) if entry else (), mark)

    def put_keyring(self, keyring: Keyring, replaces: Keyring) -> None:
        """See KeyringStore."""

        def put(connection: Connection) -> None:
            dn, mark = f"{DOMAIN},{self._suffix}", self.seals.mark()
            entry = connection.read(dn, [KEYRING, STAMP])
            if entry is None:
                raise NotFound(f"no entry {dn}", hint="run `vouchd directory setup`")
            before = entry.all(KEYRING)
            after = changed_keyring(self._believed_keyring(connection, before, mark), keyring, replaces)
            stamps = restamped(entry.all(STAMP))
            gone = [Change("delete", KEYRING, before)] if before else []
            record = self.seals.seal(KEYRING_KIND, KEYRING_KIND, keyring_record(after))
            value = records.to_json(record).encode()
            modify(connection, dn, [*stamps, *gone, Change("add", KEYRING, (value,))])

        again(self._connections, put)

    def _believed_keyring(self, connection: Connection, values: tuple[bytes, ...], mark: int) -> Keyring:
        stored, damaged = _records(values)
        believed = self.seals.believe(
            KEYRING_KIND, {KEYRING_KIND: stored} if stored else {}, mark, lambda: self._members(connection), damaged
        )
        return newest(records.from_record(one, read_keyring) for one in believed.get(KEYRING_KIND, ()))


def _records(values: tuple[bytes, ...]) -> tuple[list[records.Record], list[str]]:
    """The records of the values, and what is said of those that are damaged."""
    good, damaged = [], []
    for value in values:
        try:
            record = records.from_json(value, dict)
            records.from_record(record, read_keyring)
            good.append(record)
        except StoreError:
            damaged.append(f"a value of {KEYRING}")
    return good, damaged
