"""Everything an instance needs in its directory server, in named steps that may be repeated.

The Directory Manager does them, once; the instance goes on with its own account. On a clone the suffix stays empty:
its entries, the rights to them among these, come from another member when it is initialised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vouchd.core.facts import DirectoryServer
from vouchd.directory import account, replica, suffix
from vouchd.directory.config_entries import REPLICATION_DN, SERVICE_DN
from vouchd.directory.connection import Connection
from vouchd.directory.one_way import require_not_theirs
from vouchd.directory.schema import ensure_containers, ensure_schema
from vouchd.directory.suffix import ensure_indexes


@dataclass(frozen=True, slots=True)
class SetUp:
    """What the instance needs to know afterwards; the passwords are kept nowhere else."""

    bind_dn: str
    password: str = field(repr=False)
    replication_password: str = field(repr=False)
    restart_for: tuple[str, ...]  # what comes into force with the next start of the directory server only


def set_up(
    admin: Connection,
    server: DirectoryServer,
    *,
    clone: bool = False,
    password: str | None = None,
    replication_password: str | None = None,
    domain: str = "vouchd",
    certificate: bytes | None = None,
    step: Callable[[str], None] = lambda _name: None,
) -> SetUp:
    """Prepare the suffix of `server` over `admin`, a connection of its Directory Manager; may be repeated.

    Passwords that are not given are made and set anew; with a `certificate` (DER) the instance's account may bind with
    that. With a `server.replica_id` the server becomes a replica. `step` is told the name of each step before it is
    done. Raises: StoreError; ConfigError, and nothing was changed where the suffix is a Certificate System's.
    """
    require_not_theirs(admin, server.suffix)
    step("schema")
    ensure_schema(admin)
    step("database")
    backend = suffix.ensure_backend(admin, server.suffix)
    step("limits")
    restart_for = suffix.ensure_limits(admin) + suffix.ensure_change_numbers(admin)
    step("indexes")
    ensure_indexes(admin, backend)
    made = SetUp(
        SERVICE_DN,
        password or account.new_password(),
        replication_password or account.new_password(),
        restart_for,
    )
    step("accounts")
    account.ensure_account(admin, SERVICE_DN, made.password)
    account.unlimit(admin)
    account.ensure_account(admin, REPLICATION_DN, made.replication_password)
    if certificate is not None:
        account.ensure_certificate(admin, SERVICE_DN, certificate)
    step("rights")
    account.ensure_replication_rights(admin, server.suffix, backend)
    account.ensure_rotation_right(admin)
    if not clone:
        step("suffix")
        suffix.ensure_suffix_entry(admin, server.suffix)
        account.ensure_data_rights(admin, server.suffix)
        ensure_containers(admin, server.suffix, domain)
    if server.replica_id is not None:
        step("replica")
        replica.enable(admin, server)
    return made
