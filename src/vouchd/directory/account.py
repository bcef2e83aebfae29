"""The two accounts of a set in one directory server, and their rights.

`cn=vouchd` is the instance's own: data below the suffix, the replica of this suffix with its agreements, the task that
cleans up after a removed replica, and the password of the other account; nothing else. `cn=Replication Manager` is what
the other servers bind as.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress

from vouchd.directory.client_certificate import known_by
from vouchd.directory.config_entries import (
    ACCOUNTS,
    CLEAN_TASKS,
    READER_DN,
    REPLICATION_DN,
    SERVICE_DN,
    changelog_dn,
    database_dn,
    mapping_tree_dn,
)
from vouchd.directory.connection import Change, Connection
from vouchd.errors import AlreadyExists, ConfigError, NotFound, StoreConflict

TASKS = "cn=tasks,cn=config"  # the server takes no change of the containers below it
_REPLICA = '(targetfilter="(|(objectClass=nsDS5Replica)(objectClass=nsDS5ReplicationAgreement))")'
_COMPARED = "objectClass || cn || nsDS5ReplicaId || nsds50ruv"
_UNLIMITED = {"nsSizeLimit": "-1", "nsLookThroughLimit": "-1", "nsTimeLimit": "-1", "nsIdleTimeout": "-1"}


def new_password() -> str:
    """A password of 256 random bits."""
    return secrets.token_urlsafe(32)


def ensure_account(connection: Connection, dn: str, password: str) -> None:
    """Make the account, or give it that password."""
    with suppress(AlreadyExists):
        connection.add(ACCOUNTS, {"objectClass": ["top", "organizationalUnit"], "ou": ["csusers"]})
    name = dn.partition(",")[0].partition("=")[2]
    entry = {"objectClass": ["top", "person"], "cn": [name], "sn": [name], "userPassword": [password]}
    try:
        connection.add(dn, entry)
    except AlreadyExists:
        connection.modify(dn, [Change("replace", "userPassword", (password.encode(),))])


def ensure_rotation_right(connection: Connection) -> bool:
    """The right of the instance's account to renew the password of the replication account; whether it was lacking."""
    return _ensure_acis(connection, REPLICATION_DN, [_aci('(targetattr = "userPassword")', "rotation", "write")])


def ensure_certificate(connection: Connection, dn: str, certificate: bytes) -> None:
    """Have the account bind with that certificate (DER), and itself make its next one known by it."""
    classes = [b"top", b"person", b"organizationalPerson", b"inetOrgPerson"]
    values = {"objectClass": classes, **known_by([certificate])}
    connection.modify(dn, [Change("replace", name, tuple(each)) for name, each in values.items()])
    _ensure_acis(connection, dn, [_aci('(targetattr = "userCertificate || seeAlso")', "certificates", "write", dn)])


def let_in(connection: Connection, passwords: Sequence[str]) -> None:
    """Have the replication account take each of these passwords and no other. Raises: ConfigError, StoreError."""
    change = Change("replace", "userPassword", tuple(password.encode() for password in passwords))
    try:
        connection.modify(REPLICATION_DN, [change])
    except ConfigError as error:
        raise ConfigError(
            f"the password of {REPLICATION_DN} cannot be renewed by {SERVICE_DN}: {error}",
            hint="give it the right, once: vouchd directory setup on this member",
        ) from error


def unlimit(connection: Connection, dn: str = SERVICE_DN) -> None:
    """Let an instance's account read the whole store, and listen for changes as long as it likes."""
    connection.modify(dn, [Change("replace", name, (value.encode(),)) for name, value in _UNLIMITED.items()])


def ensure_data_rights(connection: Connection, suffix: str) -> bool:
    """Rights to the data of the suffix; whether they changed. Its entry carries them, so they replicate."""
    return _ensure_acis(connection, suffix, [_aci('(targetattr != "aci")', "data", "all")])


def ensure_replication_rights(connection: Connection, suffix: str, backend: str) -> bool:
    """Rights to this suffix's replica, its agreements and the cleaning task; whether they changed.

    The server can weigh no filter when an entry of its configuration is added, and no name that holds an escaped
    character; so the right to add is bounded by place alone.
    """
    tree = [
        _aci(f'(targetattr != "nsDS5ReplicaCredentials || aci"){_REPLICA}', "status", "read, search, compare"),
        _aci(f'(targetattr != "aci"){_REPLICA}', "replication", "write, delete"),
        _aci('(targetattr != "aci")', "replicas", "add"),
        # What changes a server has (its RUV): members compare theirs.
        _aci(f'(targetattr = "{_COMPARED}"){_REPLICA}', "comparison", "read, search", REPLICATION_DN),
    ]
    task = _aci(f'(target="ldap:///{CLEAN_TASKS}")(targetattr = "*")', "cleaning", "read, search, compare, add")
    changelog = _aci(
        f'(target="ldap:///{changelog_dn(backend)}")(targetattr = "nsslapd-changelogmaxage")', "changelog", "write"
    )
    places = ((mapping_tree_dn(suffix), tree), (TASKS, [task]), (database_dn(backend), [changelog]))
    return sum(_ensure_acis(connection, dn, wanted) for dn, wanted in places) > 0


def ensure_reading_right(connection: Connection, suffix: str) -> bool:
    """Let a clone's account read the CAs and CRLs below a Certificate System's suffix; whether it could not.

    The suffix entry carries the right, so it replicates to the clone's server, the only one that has that account.
    """
    return _ensure_acis(connection, suffix, [_READING])


def drop_reading_right(connection: Connection, suffix: str) -> None:
    """Take that right away again; nothing happens where it is not."""
    with suppress(StoreConflict, NotFound):
        connection.modify(suffix, [Change("delete", "aci", (_READING.encode(),))])


def _aci(target: str, name: str, rights: str, who: str = SERVICE_DN) -> str:
    return f'{target}(version 3.0; acl "vouchd {name}"; allow ({rights}) userdn="ldap:///{who}";)'


_READING = _aci(
    '(targetfilter = "(objectClass=crlIssuingPointRecord)")(targetattr = "*")',
    "reads CAs and CRLs",
    "read, search, compare",
    READER_DN,
)


def _ensure_acis(connection: Connection, dn: str, wanted: list[str]) -> bool:
    """Add the ACIs that the entry lacks; whether there were any."""
    entry = connection.read(dn, ["aci"])
    present = {value.decode("utf-8", "replace") for value in entry.all("aci")} if entry else set()
    lacking = tuple(aci.encode() for aci in wanted if aci not in present)
    if lacking:
        connection.modify(dn, [Change("add", "aci", lacking)])
    return bool(lacking)
