"""The suffix of a set in one directory server: its database with its indexes, its own entry, limits and plug-ins.

All of it is done by the Directory Manager, once, over LDAP; none of it replicates but the suffix entry. A new database
has most of the indexes that searches of the store need.
"""

from __future__ import annotations

import time
from contextlib import suppress

from vouchd.directory.config_entries import LDBM, database_dn, mapping_tree_dn, naming_attribute, task_exit_code
from vouchd.directory.connection import Change, Connection
from vouchd.directory.dse import BACKEND, MAX_BER_BYTES
from vouchd.directory.schema import USER
from vouchd.errors import AlreadyExists, NotFound, StoreError

USN = "cn=USN,cn=plugins,cn=config"
_FACTS = f"(|(objectClass=vouchdIssuingPoint)(objectClass=vouchdDomainMember)(&(objectClass=vouchdPeople)({USER}=*)))"
_CLASSES = {"o": "organization", "ou": "organizationalUnit", "dc": "domain"}
INDEXES = {"cn": ("eq", "pres"), "entryusn": ("eq",), "nsds5ReplConflict": ("eq", "pres"), "nsUniqueId": ("eq",)}
_INDEX_TASKS = "cn=index,cn=tasks,cn=config"
_FILLING_SECONDS = 600.0


def backend_of(connection: Connection, suffix: str) -> str | None:
    """The name of the database that holds `suffix`, None when the server has none for it."""
    entry = connection.read(mapping_tree_dn(suffix), ["nsslapd-backend"])
    return (entry.text("nsslapd-backend") or None) if entry else None


def ensure_backend(connection: Connection, suffix: str) -> str:
    """Give the server a database for `suffix`, unless it has one; returns the database's name."""
    if name := backend_of(connection, suffix):
        return name
    taken = {entry.text("cn").lower() for entry in connection.search(LDBM, scope="one", attributes=["cn"])}
    name = next(
        name for name in (BACKEND, *(f"vouchd{number}" for number in range(1, 1000))) if name.lower() not in taken
    )
    connection.add(
        database_dn(name),
        {"objectClass": ["top", "extensibleObject", "nsBackendInstance"], "cn": [name], "nsslapd-suffix": [suffix]},
    )
    with suppress(AlreadyExists):
        connection.add(
            mapping_tree_dn(suffix),
            {
                "objectClass": ["top", "extensibleObject", "nsMappingTree"],
                "cn": [suffix],
                "nsslapd-state": ["backend"],
                "nsslapd-backend": [name],
            },
        )
    return name


def ensure_suffix_entry(connection: Connection, suffix: str) -> bool:
    """Add the entry of the suffix itself; whether it was missing. Not on a clone: its entry comes from the master."""
    attribute, value = naming_attribute(suffix)
    try:
        connection.add(suffix, {"objectClass": ["top", _CLASSES[attribute]], attribute: [value]})
    except AlreadyExists:
        return False
    return True


def holds_facts(connection: Connection, suffix: str) -> bool:
    """Whether an instance keeps CAs, users or members of its set below the suffix, which need not be there."""
    with suppress(NotFound):
        return bool(connection.search(suffix, scope="sub", query=_FACTS, attributes=["1.1"]))
    return False


def clear_facts(connection: Connection, suffix: str) -> None:
    """Delete CAs, users and members below the suffix; the containers stay."""
    for entry in connection.search(suffix, scope="sub", query=_FACTS, attributes=["objectClass"]):
        if b"vouchdPeople" in entry.all("objectClass"):
            connection.modify(entry.dn, [Change("delete", USER)])
        else:
            connection.delete(entry.dn)


def ensure_limits(connection: Connection) -> tuple[str, ...]:
    """Let large values in; what comes into force with the next start of the server only, empty when nothing."""
    entry = connection.read("cn=config", ["nsslapd-maxbersize"])
    if entry and int(entry.text("nsslapd-maxbersize", "0") or 0) >= MAX_BER_BYTES:
        return ()
    connection.modify("cn=config", [Change("replace", "nsslapd-maxbersize", (str(MAX_BER_BYTES).encode(),))])
    return ("nsslapd-maxbersize",)


def ensure_change_numbers(connection: Connection) -> tuple[str, ...]:
    """Turn the USN plug-in on: `entryusn`, `lastusn`; what comes into force with the next start only."""
    entry = connection.read(USN, ["nsslapd-pluginEnabled"])
    if entry is None:
        raise StoreError("the directory server has no USN plug-in", hint="it must be 389 Directory Server 1.4 or newer")
    if entry.text("nsslapd-pluginEnabled").lower() == "on":
        return ()
    connection.modify(USN, [Change("replace", "nsslapd-pluginEnabled", (b"on",))])
    return ("the USN plug-in",)


def ensure_indexes(connection: Connection, backend: str) -> tuple[str, ...]:
    """Make the indexes that the database lacks and fill them; the attributes they were made for."""
    made = tuple(name for name, kinds in INDEXES.items() if _add_index(connection, backend, name, kinds))
    if made:
        _fill_indexes(connection, backend, made)
    return made


def _add_index(connection: Connection, backend: str, attribute: str, kinds: tuple[str, ...]) -> bool:
    dn = f"cn={attribute},cn=index,{database_dn(backend)}"
    if connection.read(dn, ["cn"]) is not None:
        return False
    entry = {"objectClass": ["top", "nsIndex"], "cn": [attribute], "nsSystemIndex": ["false"], "nsIndexType": kinds}
    try:
        connection.add(dn, entry)
    except AlreadyExists:
        return False
    return True


def _fill_indexes(connection: Connection, backend: str, attributes: tuple[str, ...]) -> None:
    name = f"vouchd {time.time_ns()}"
    dn = f"cn={name},{_INDEX_TASKS}"
    task = {
        "objectClass": ["top", "extensibleObject"],
        "cn": [name],
        "nsInstance": [backend],
        "nsIndexAttribute": attributes,
    }
    connection.add(dn, task)
    if code := task_exit_code(connection, dn, _FILLING_SECONDS):
        raise StoreError(f"the indexes of {backend} were not filled: task ended with {code}", hint="see its error log")
