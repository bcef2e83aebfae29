"""Entries in `cn=config`: their names, those of a suffix and of the accounts of a set, and the end of a task."""

from __future__ import annotations

import threading
import time

from vouchd.core.facts import DirectoryServer
from vouchd.directory.connection import Connection, escaped, library
from vouchd.errors import ConfigError, StoreError

ACCOUNTS = "ou=csusers,cn=config"
SERVICE_DN = f"cn=vouchd,{ACCOUNTS}"  # the instance's own account
REPLICATION_DN = f"cn=Replication Manager,{ACCOUNTS}"  # the other servers' account
# The accounts on a server that a Certificate System's server sends its data to: who reads them, who writes them.
READER_DN = f"cn=vouchd reader,{ACCOUNTS}"
SENDER_DN = f"cn=Replication Manager vouchd,{ACCOUNTS}"
LDBM = "cn=ldbm database,cn=plugins,cn=config"
CLEAN_TASKS = "cn=cleanallruv,cn=tasks,cn=config"


def mapping_tree_dn(suffix: str) -> str:
    """The entry that says which database holds the suffix, written as the server itself shows it."""
    plain = suffix.replace("=", "\\3D").replace(",", "\\2C")
    return f"cn={plain},cn=mapping tree,cn=config"


def replica_dn(suffix: str) -> str:
    """The entry that makes the suffix a replica; its agreements stand below it."""
    return f"cn=replica,{mapping_tree_dn(suffix)}"


def database_dn(backend: str) -> str:
    """The entry of a database."""
    return f"cn={backend},{LDBM}"


def changelog_dn(backend: str) -> str:
    """The entry of a database's changelog, there while it is replicated."""
    return f"cn=changelog,{database_dn(backend)}"


def agreement_name(peer: DirectoryServer) -> str:
    """The name of the agreement with that server: ours begin with `vouchd `, all others are left alone."""
    return f"vouchd {peer.host}:{peer.port}"


def agreement_dn(suffix: str, name: str) -> str:
    """The entry of an agreement."""
    return f"cn={escaped(name)},{replica_dn(suffix)}"


def naming_attribute(suffix: str) -> tuple[str, str]:
    """Type (lower case) and value of the first part of the suffix. Raises: ConfigError."""
    try:
        ((attribute, value, _),) = library().dn.str2dn(suffix)[0]
    except (library().LDAPError, ValueError, IndexError) as error:
        raise ConfigError(f"{suffix[:80]!r} is not a suffix", hint="such as o=ocsp.example") from error
    return attribute.lower(), value


def task_exit_code(connection: Connection, dn: str, timeout_seconds: float) -> int:
    """Wait for a task of the server. Raises: StoreError when it takes longer."""
    pause, end = threading.Event(), time.monotonic() + timeout_seconds
    while True:
        entry = connection.read(dn, ["nsTaskExitCode"])
        if entry is None:  # it is over, and was removed after its time to live
            return 0
        if code := entry.text("nsTaskExitCode"):
            return int(code)
        if time.monotonic() > end:
            raise StoreError(f"the directory server's task {dn} does not end", hint="see the server's error log")
        pause.wait(0.05)
