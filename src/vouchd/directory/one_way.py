"""A Certificate System's data sent to a server of ours, one way: its master sends, ours takes and changes nothing.

Our server is a consumer (389 DS: type 2, id 65535): it takes no replica id, refuses changes by anybody else, and has
nothing to send back: nothing of ours can come into the Certificate System's directory this way. What is written there
is one agreement in `cn=config`, one access rule at the suffix entry, and, where it was no replica, that it is one.
"""

from __future__ import annotations

import re
from contextlib import suppress

from vouchd.core.facts import DirectoryServer
from vouchd.directory import account, replica, suffix
from vouchd.directory.config_entries import READER_DN, SENDER_DN, agreement_name, replica_dn
from vouchd.directory.connection import Change, Connection
from vouchd.directory.schema import ensure_schema
from vouchd.directory.suffix import ensure_indexes
from vouchd.errors import AlreadyExists, ConfigError, NotFound, StoreConflict

CONSUMER_ID = "65535"
_RUV_ID = re.compile(rb"\{replica (\d+)")
_RUV = "(&(objectClass=nsTombstone)(nsUniqueId=ffffffff-ffffffff-ffffffff-ffffffff))"
_ACLS = "(objectClass=CertACLS)"
_ANYTHING = "(&(objectClass=*)(!(objectClass=nsTombstone)))"


def is_certificate_systems(connection: Connection, suffix_dn: str) -> bool:
    """Whether a Certificate System keeps its data below the suffix, which need not be there."""
    with suppress(NotFound):
        return bool(connection.search(suffix_dn, scope="one", query=_ACLS, attributes=["1.1"]))
    return False


def require_not_theirs(connection: Connection, suffix_dn: str) -> None:
    """Return unless the suffix is a Certificate System's. Raises: ConfigError.

    That program takes every entry of class crlIssuingPointRecord for its own, and only of exactly its shape: beside one
    of ours it lists no CA any more.
    """
    if is_certificate_systems(connection, suffix_dn):
        raise ConfigError(
            f"{suffix_dn} is a Certificate System's, which stops when there are entries of another program",
            hint="take a suffix of the instance's own, such as o=vouchd, on the same server or another one",
        )


def is_empty(connection: Connection, suffix_dn: str) -> bool:
    """Whether there is no entry at all."""
    with suppress(NotFound):
        return not connection.search(suffix_dn, scope="base", query=_ANYTHING, attributes=["1.1"])
    return True


def used_replica_ids(connection: Connection, suffix_dn: str) -> frozenset[int]:
    """The ids that servers of this suffix have or had, as far as this one knows."""
    values: list[bytes] = []
    with suppress(NotFound):
        for entry in connection.search(suffix_dn, scope="sub", query=_RUV, attributes=["nsds50ruv"]):
            values += entry.all("nsds50ruv")
    own = replica.replica_id_of(connection, suffix_dn)
    return frozenset(int(match[1]) for value in values if (match := _RUV_ID.search(value))) | ({own} if own else set())


def ensure_supplier(connection: Connection, server: DirectoryServer) -> int:
    """Have the server send changes of the suffix to others; its replica id, a free one where it had none."""
    own = replica.replica_id_of(connection, server.suffix)
    if own is not None:
        return own
    used = used_replica_ids(connection, server.suffix)
    free = next(number for number in range(1, replica.MAX_REPLICA_ID + 1) if number not in used)
    connection.add(
        replica_dn(server.suffix),
        {
            "objectClass": ["top", "nsDS5Replica", "extensibleObject"],
            "cn": ["replica"],
            "nsDS5ReplicaRoot": [server.suffix],
            "nsDS5ReplicaId": [str(free)],
            "nsDS5ReplicaType": ["3"],
            "nsDS5Flags": ["1"],
        },
    )
    return free


def prepare_consumer(
    connection: Connection, server: DirectoryServer, reader_password: str, sender_password: str
) -> tuple[str, ...]:
    """Make our server ready to be filled; what comes into force with its next start only. May be repeated."""
    ensure_schema(connection)
    backend = suffix.ensure_backend(connection, server.suffix)
    restart_for = suffix.ensure_limits(connection) + suffix.ensure_change_numbers(connection)
    ensure_indexes(connection, backend)
    account.ensure_account(connection, READER_DN, reader_password)
    account.unlimit(connection, READER_DN)
    account.ensure_account(connection, SENDER_DN, sender_password)
    entry = {
        "objectClass": ["top", "nsDS5Replica", "extensibleObject"],
        "cn": ["replica"],
        "nsDS5ReplicaRoot": [server.suffix],
        "nsDS5ReplicaId": [CONSUMER_ID],
        "nsDS5ReplicaType": ["2"],
        "nsDS5Flags": ["0"],
        "nsDS5ReplicaBindDN": [SENDER_DN],
    }
    try:
        connection.add(replica_dn(server.suffix), entry)
    except AlreadyExists:
        with suppress(StoreConflict):  # it is in the list
            connection.modify(replica_dn(server.suffix), [Change("add", "nsDS5ReplicaBindDN", (SENDER_DN.encode(),))])
    return restart_for


def send_to(connection: Connection, theirs: DirectoryServer, ours: DirectoryServer, sender_password: str) -> None:
    """Have the Certificate System's server send to ours, and let our reader read what comes."""
    ensure_supplier(connection, theirs)
    account.ensure_reading_right(connection, theirs.suffix)
    replica.agree(connection, theirs.suffix, ours, sender_password, renew=True, bind_dn=SENDER_DN)


def stop_sending(connection: Connection, theirs: DirectoryServer, ours: DirectoryServer) -> None:
    """End that, and take away the right when nobody else is sent to by us."""
    replica.remove(connection, theirs.suffix, agreement_name(ours))
    if not replica.agreements(connection, theirs.suffix):
        account.drop_reading_right(connection, theirs.suffix)
