"""A directory server made ready for an instance: prepared as its manager, its passwords kept, its lines of CS.cfg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vouchd.cloning.directory_account import newest_certificate
from vouchd.cloning.needs import Say
from vouchd.core.facts import Transport
from vouchd.directory.connection import Credentials, open_as_manager
from vouchd.directory.setup import SetUp, set_up
from vouchd.errors import ConfigError
from vouchd.settings import cs_cfg
from vouchd.settings.declared import CLIENT_AUTH, DIRECTORY, DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNALDB, REPLICATIONDB, read_passwords, replace_passwords
from vouchd.settings.reading import read_settings


def replica_id_of(layout: Layout) -> int | None:
    """The replica id that the set has given to this instance's directory server."""
    value = cs_cfg.read(layout.cs_cfg).value("vouchd.directory.replicaId")
    return value if isinstance(value, int) and value else None


def directory_values(directory: DirectorySettings, *, in_use: bool = False) -> dict[str, str]:
    """The lines of CS.cfg that name a directory server; `in_use`: and keep the facts there."""
    server = directory.server
    values = {
        "internaldb.ldapconn.host": server.host,
        "internaldb.ldapconn.port": str(server.port),
        "internaldb.ldapconn.secureConn": _flag(server.transport is Transport.TLS),
        "internaldb.basedn": server.suffix,
        "vouchd.directory.startTLS": _flag(server.transport is Transport.STARTTLS),
        "vouchd.directory.replicaId": str(server.replica_id or 0),
    }
    if directory.trust_file is not None:
        values["vouchd.directory.trust"] = str(directory.trust_file.absolute())
    if directory.bind == CLIENT_AUTH:
        values["internaldb.ldapauth.authtype"] = CLIENT_AUTH
        values["internaldb.ldapauth.clientCertNickname"] = directory.client_certificate
    return values | ({"vouchd.store": DIRECTORY} if in_use else {})


def set_up_as_manager(
    directory: DirectorySettings,
    manager: tuple[str, str],
    known: Mapping[str, str],
    say: Say,
    *,
    clone: bool,
    domain: str,
    certificate: bytes | None = None,
) -> tuple[SetUp, dict[str, str]]:
    """Prepare the directory server as its manager (DN and password); what was made, and the passwords to keep.

    `known` are the passwords there are, by their names in password.conf; `certificate` (DER) is what the instance's
    account may bind with. Raises: StoreError, ConfigError.
    """
    admin = open_as_manager(directory.server, Credentials(*manager), directory.trust_file)
    try:
        made = set_up(
            admin,
            directory.server,
            clone=clone,
            password=known.get(INTERNALDB),
            replication_password=known.get(REPLICATIONDB),
            domain=domain,
            certificate=certificate,
            step=lambda name: say(f"directory: {name}"),
        )
    finally:
        admin.close()
    return made, {INTERNALDB: made.password, REPLICATIONDB: made.replication_password}


def set_up_directory(
    layout: Layout,
    directory: DirectorySettings,
    manager: tuple[str, str],
    say: Say,
    *,
    clone: bool,
    domain: str = "vouchd",
) -> None:
    """Prepare the directory server of an instance, and keep the accounts' passwords with it.

    Where it binds with a certificate, the account is to know the one in use.
    Raises: StoreError; ConfigError when the server has to be restarted first, or there is no such certificate.
    """
    passwords, certificate = read_passwords(layout.password_conf), None
    if directory.bind == CLIENT_AUTH:
        settings = replace(read_settings(layout), directory=directory)
        certificate = newest_certificate(layout, settings, directory.client_certificate)
    made, kept = set_up_as_manager(
        directory, manager, passwords, say, clone=clone, domain=domain, certificate=certificate
    )
    replace_passwords(layout.password_conf, passwords | kept)
    if made.restart_for:
        raise ConfigError(
            f"the directory server has to be restarted for {' and '.join(made.restart_for)}",
            hint="restart it, then run this command again",
        )


def _flag(value: object) -> str:
    return "true" if value else "false"
