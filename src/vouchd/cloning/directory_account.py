"""How an instance binds to its own directory server: with its password there, or with one of its certificates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vouchd.core.facts import Transport
from vouchd.errors import ConfigError, SigningError
from vouchd.instance.certificates.places import find, numbered
from vouchd.instance.configuration import write_values
from vouchd.settings.declared import CLIENT_AUTH, LDAPS, START_TLS, DirectorySettings, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, INTERNALDB, read_passwords
from vouchd.settings.tcp_ports import KeyFiles

if TYPE_CHECKING:  # they bring an LDAP library along, which commands start without
    from vouchd.directory.client_certificate import ClientIdentity
    from vouchd.directory.connection import Credentials


def account_credentials(layout: Layout, directory: DirectorySettings, settings: Callable[[], Settings]) -> Credentials:
    """What the instance binds with; `settings` are those in use, asked at each bind. Raises: ConfigError."""
    from vouchd.directory.connection import Credentials  # noqa: PLC0415

    if directory.bind == CLIENT_AUTH:
        nickname = directory.client_certificate
        return Credentials(directory.bind_dn, identities=lambda: client_identities(layout, settings(), nickname))
    password = read_passwords(layout.password_conf).get(INTERNALDB)
    if not password:
        raise ConfigError(
            f"{layout.password_conf}: no password of {directory.bind_dn}",
            hint=f"add a line {INTERNALDB}=PASSWORD, or run `vouchd directory setup`",
        )
    return Credentials(directory.bind_dn, password)


def client_identities(layout: Layout, settings: Settings, nickname: str) -> tuple[ClientIdentity, ...]:
    """The certificate of that name that is in use, and the one before, by which a server knows it after a renewal.

    Raises: ConfigError, NotFound, SigningError where the one in use cannot be used.
    """
    from vouchd.directory.client_certificate import ClientIdentity  # noqa: PLC0415

    password, in_use = read_passwords(layout.password_conf).get(INTERNAL), find(settings, nickname).files
    identities = [ClientIdentity.load(in_use.certificate_file, in_use.key_file, password)]
    for certificate_file in reversed(numbered(layout.alias, nickname, ".pem")):
        before = KeyFiles(certificate_file.with_suffix(".key"), certificate_file)
        if before == in_use or not before.installed:
            continue
        try:
            identities.append(ClientIdentity.load(before.certificate_file, before.key_file, password))
        except (ConfigError, SigningError):
            continue
        break
    return tuple(identities)


def newest_certificate(layout: Layout, settings: Settings, nickname: str) -> bytes:
    """The certificate (DER) that the account has to know. Raises: ConfigError, also without TLS; SigningError."""
    if settings.directory is not None and settings.directory.server.transport is Transport.PLAIN:
        raise ConfigError(
            "a client certificate is shown in TLS, which is off", hint=f"set {LDAPS.name}=true or {START_TLS.name}=true"
        )
    return client_identities(layout, settings, nickname)[0].der


def require_tls(directory: DirectorySettings) -> None:
    """Return when the server is spoken to as its bind needs it. Raises: ConfigError."""
    if directory.bind == CLIENT_AUTH and directory.server.transport is Transport.PLAIN:
        raise ConfigError(
            "a client certificate is shown in TLS, which is off", hint="speak TLS or StartTLS with the directory server"
        )


def bound_by(directory: DirectorySettings, nickname: str) -> DirectorySettings:
    """The same server, where a name is given bound to with that system certificate. Raises: ConfigError without TLS."""
    if not nickname:
        return directory
    by_certificate = replace(directory, bind=CLIENT_AUTH, client_certificate=nickname)
    require_tls(by_certificate)
    return by_certificate


def bind_with_certificate(layout: Layout, settings: Settings, nickname: str) -> None:
    """Have the instance bind with that certificate from its next start on; it must be let in so now.

    Raises: ConfigError, StoreUnavailable, and it goes on as before.
    """
    from vouchd.directory.connection import Connection  # noqa: PLC0415

    if settings.directory is None:
        raise ConfigError("this instance keeps its facts in a file, not in a directory server")
    directory = replace(settings.directory, bind=CLIENT_AUTH, client_certificate=nickname)
    credentials = account_credentials(layout, directory, lambda: settings)
    Connection(directory.server, credentials, directory.trust_file).close()
    write_values(
        layout, {"internaldb.ldapauth.authtype": CLIENT_AUTH, "internaldb.ldapauth.clientCertNickname": nickname}
    )
