"""The indexes that searches of the store need; a new database has most of them, and they do not replicate."""

from __future__ import annotations

import time

from vouchd.directory.config_entries import database_dn, task_exit_code
from vouchd.directory.connection import Connection
from vouchd.errors import AlreadyExists, StoreError

INDEXES = {"cn": ("eq", "pres"), "entryusn": ("eq",), "nsds5ReplConflict": ("eq", "pres"), "nsUniqueId": ("eq",)}
_TASKS = "cn=index,cn=tasks,cn=config"
_SECONDS = 600.0


def ensure_indexes(connection: Connection, backend: str) -> tuple[str, ...]:
    """Make the indexes that the database lacks and fill them; the attributes they were made for."""
    made = tuple(name for name, kinds in INDEXES.items() if _added(connection, backend, name, kinds))
    if made:
        _fill(connection, backend, made)
    return made


def _added(connection: Connection, backend: str, attribute: str, kinds: tuple[str, ...]) -> bool:
    dn = f"cn={attribute},cn=index,{database_dn(backend)}"
    if connection.read(dn, ["cn"]) is not None:
        return False
    entry = {"objectClass": ["top", "nsIndex"], "cn": [attribute], "nsSystemIndex": ["false"], "nsIndexType": kinds}
    try:
        connection.add(dn, entry)
    except AlreadyExists:
        return False
    return True


def _fill(connection: Connection, backend: str, attributes: tuple[str, ...]) -> None:
    name = f"vouchd {time.time_ns()}"
    dn = f"cn={name},{_TASKS}"
    task = {
        "objectClass": ["top", "extensibleObject"],
        "cn": [name],
        "nsInstance": [backend],
        "nsIndexAttribute": attributes,
    }
    connection.add(dn, task)
    if code := task_exit_code(connection, dn, _SECONDS):
        raise StoreError(f"the indexes of {backend} were not filled: task ended with {code}", hint="see its error log")
