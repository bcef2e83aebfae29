"""The part of the directory store that knows the signers of the set: one value of the domain's entry.

Where two servers take a change at the same moment replication makes the union of their values; every reader takes the
same one of them, and the next change leaves that alone.
"""

from __future__ import annotations

from vouchd.core import records
from vouchd.core.signer_facts import Keyring, keyring_record, newest, read_keyring
from vouchd.directory.connection import Change, Connection
from vouchd.directory.schema import DOMAIN, KEYRING, STAMP
from vouchd.errors import NotFound
from vouchd.stores.ldap.changes import again, modify
from vouchd.stores.ldap.entries import new_stamp
from vouchd.stores.ldap.users import DirectoryUsers
from vouchd.stores.rules import changed_keyring


class DirectoryKeyring(DirectoryUsers):
    """Keeps the contract of KeyringStore below the suffix."""

    def keyring(self) -> Keyring:
        """See KeyringStore."""
        with self._connections.connection() as connection:
            entry = connection.read(f"{DOMAIN},{self._suffix}", [KEYRING])
        return _newest(entry.all(KEYRING) if entry else ())

    def put_keyring(self, keyring: Keyring, replaces: Keyring) -> None:
        """See KeyringStore."""

        def put(connection: Connection) -> None:
            dn = f"{DOMAIN},{self._suffix}"
            entry = connection.read(dn, [KEYRING, STAMP])
            if entry is None:
                raise NotFound(f"no entry {dn}", hint="run `vouchd directory setup`")
            before = entry.all(KEYRING)
            after = changed_keyring(_newest(before), keyring, replaces)
            stamps = [Change("delete", STAMP, entry.all(STAMP)), Change("add", STAMP, (new_stamp(),))]
            gone = [Change("delete", KEYRING, before)] if before else []
            value = records.to_json(keyring_record(after)).encode()
            modify(connection, dn, [*stamps, *gone, Change("add", KEYRING, (value,))])

        again(self._connections, put)


def _newest(values: tuple[bytes, ...]) -> Keyring:
    return newest(records.from_json(value, read_keyring) for value in values)
