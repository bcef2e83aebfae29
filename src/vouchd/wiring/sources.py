"""The CRL sources put together: settings -> what fetches CRLs and takes them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from vouchd.api.services import Services
from vouchd.cloning.directory_account import client_identities
from vouchd.core.ports import Clock
from vouchd.service.permission import directory_caller, source_caller
from vouchd.service.pulling import CRLSource, Pulling, Schedule
from vouchd.settings.declared import Settings, SourceKind, SourceSettings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import CERTSYSTEM, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.sources.file import FileSource
from vouchd.sources.http import HTTPSource
from vouchd.sources.ldap import LDAPSource

if TYPE_CHECKING:  # it brings an LDAP library along, which most instances start without
    from vouchd.directory.client_certificate import ClientIdentity


def pulls(
    layout: Layout,
    settings: Settings,
    services: Services,
    clock: Clock,
) -> tuple[Pulling, ...]:
    """One for each source of the settings, ready to be driven by the manager process. Raises: ConfigError."""
    passwords = read_passwords(layout.password_conf)

    def pulling(source: SourceSettings) -> Pulling:
        caller = source_caller(source.name, source.url)

        def accept(crl: bytes) -> int | None:
            with services.ingest_lock():
                epochs = services.ingesting.accept_crl(crl, source.url, caller, clock.now())
            return min((epoch.next_update for epoch in epochs if epoch.next_update is not None), default=None)

        def admit(certificate: bytes) -> None:
            """A CA that one of our signers may answer for; the same again is no news."""
            known = {der for one in services.store.authorities() for der in one.certificates}
            if certificate not in known:
                services.authorities.add(certificate, directory_caller(source.name, source.url))

        schedule = Schedule(interval_seconds=source.interval_seconds)
        fetcher = _crl_source(source, services, passwords)
        return Pulling(source.name, source.url, fetcher, schedule, accept, admit=admit, paused=source.paused)

    return tuple(pulling(source) for source in settings.sources)


def certificate_system(services: Services) -> tuple[Pulling, ...]:
    """What follows the Certificate System that this instance is a clone of, if it is one. Raises: ConfigError."""
    followed = services.settings.certsystem
    if not followed.url:
        return ()
    # Here, because they bring an LDAP library along.
    from vouchd.cloning.certsystem_following import CertificateSystemFollowing  # noqa: PLC0415
    from vouchd.directory.connection import Connections, Credentials, server_of  # noqa: PLC0415

    password = read_passwords(services.layout.password_conf).get(CERTSYSTEM, "")
    server = server_of(followed.url, start_tls=followed.start_tls)
    connections = Connections(server, Credentials(followed.bind_dn, password), followed.trust_file)
    return (
        CertificateSystemFollowing(
            connections, services.store, services.authorities, services.ingesting, services.ingest_lock, services.clock
        ),
    )


def _crl_source(source: SourceSettings, services: Services, passwords: Mapping[str, str]) -> CRLSource:
    if source.kind is SourceKind.FILE:
        return FileSource(_file(source.url, services.layout), max_bytes=source.max_bytes)
    if source.kind is SourceKind.HTTP:
        return HTTPSource(
            source.url,
            timeout_seconds=source.timeout_seconds,
            max_bytes=source.max_bytes,
            trust_file=source.trust_file,
            local_redirects=source.local_redirects,
        )
    return LDAPSource(
        source.url,
        timeout_seconds=source.timeout_seconds,
        max_bytes=source.max_bytes,
        trust_file=source.trust_file,
        bind_dn=source.bind_dn,
        password=passwords.get(f"source.{source.name}", ""),
        certificate_attribute=source.certificate_attribute,
        identity=_identity(source, services) if source.client_certificate else None,
    )


def _identity(source: SourceSettings, services: Services) -> Callable[[], ClientIdentity]:
    """The system certificate that is in use when the source binds; where there is none of the name that one fails."""
    return lambda: client_identities(services.layout, read_settings(services.layout), source.client_certificate)[0]


def _file(url: str, layout: Layout) -> Path:
    """The path that a file URL or a plain path names; a relative one starts at the instance's folder."""
    return layout.root / (unquote(urlsplit(url).path) if url.lower().startswith("file:") else url)
