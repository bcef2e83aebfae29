"""The CAs and CRLs that a Certificate System OCSP keeps in a directory, taken over: verified as if they were pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vouchd.cloning.needs import MemberServices
from vouchd.core.facts import Authority, Caller, DirectoryServer, Epoch
from vouchd.directory.connection import Connection, Credentials, open_as_manager
from vouchd.directory.foreign import ForeignPoint, foreign_points
from vouchd.errors import ConfigError, CRLStale, StoreUnavailable, VouchdError
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNALDB, read_passwords
from vouchd.settings.reading import read_settings

Take = Callable[[bytes, str], tuple[Epoch, ...]]  # a CRL and its origin -> the epochs that it made


@dataclass(frozen=True, slots=True)
class OtherDirectory:
    """A directory that is only read, and who may."""

    server: DirectoryServer
    bind_dn: str
    password: str = field(repr=False)
    trust_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """An entry that was taken over: how many CRLs it has, and how many were new."""

    authority: Authority
    changes: tuple[str, ...]
    crls: int
    taken: int
    dn: str


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was taken over, what was refused by the DN of its entry, and the epochs that the CRLs made."""

    suffix: str
    adopted: tuple[Adopted, ...]
    failures: tuple[tuple[str, VouchdError], ...]
    epochs: tuple[Epoch, ...]


def adopt(services: MemberServices, other: OtherDirectory | None, take: Take, caller: Caller) -> Adoption:
    """Take over what there is, in `other` or in the instance's own directory; an entry that is refused costs itself.

    Raises: ConfigError where there is no directory; StoreUnavailable; NotFound.
    """
    adopted: list[Adopted] = []
    failures: list[tuple[str, VouchdError]] = []
    epochs: list[Epoch] = []
    with _opened(services.layout, other) as (connection, suffix):
        for point in foreign_points(connection, suffix):
            try:
                adopted.append(_adopt(services, point, take, epochs, caller))
            except StoreUnavailable:
                raise
            except VouchdError as error:
                failures.append((point.dn, error))
    return Adoption(suffix, tuple(adopted), tuple(failures), tuple(epochs))


@contextmanager
def _opened(layout: Layout, other: OtherDirectory | None) -> Iterator[tuple[Connection, str]]:
    """A connection to where it is read from, and the suffix there."""
    if other is not None:
        credentials = Credentials(other.bind_dn, other.password)
        connection, suffix = open_as_manager(other.server, credentials, other.trust_file), other.server.suffix
    else:
        own = read_settings(layout).directory
        if own is None:
            raise ConfigError(
                "the instance keeps its facts in the embedded store, not in a directory",
                hint="name a server with --dir or --url; `vouchd directory create` makes one",
            )
        password = read_passwords(layout.password_conf).get(INTERNALDB, "")
        connection, suffix = (
            Connection(own.server, Credentials(own.bind_dn, password), own.trust_file),
            own.server.suffix,
        )
    try:
        yield connection, suffix
    finally:
        connection.close()


def _adopt(services: MemberServices, point: ForeignPoint, take: Take, epochs: list[Epoch], caller: Caller) -> Adopted:
    """Register the CA of one entry and take its CRLs; what was new goes to `epochs`. Raises: VouchdError."""
    if len(point.certificates) != 1:
        raise ConfigError(
            f"{len(point.certificates)} CA certificates instead of one", hint="add the CA: vouchd authority add"
        )
    effect = services.authorities.add(point.certificates[0], caller)
    taken = 0
    for crl in point.crls:
        try:
            epochs += take(crl, f"adopted from {point.dn}")
        except CRLStale:  # it was taken already, by an earlier adoption, or a newer CRL was
            continue
        taken += 1
    return Adopted(effect.subject, effect.changes, len(point.crls), taken, point.dn)
