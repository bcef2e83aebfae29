"""The CAs and CRLs that a Certificate System OCSP keeps in a directory, taken over: verified as if they were pushed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vouchd.cloning.directory_account import account_credentials
from vouchd.cloning.needs import MemberServices
from vouchd.core.facts import Authority, Caller, DirectoryServer, Epoch
from vouchd.directory.connection import Connection, Credentials, open_as_manager
from vouchd.directory.foreign import ForeignPoint, foreign_points
from vouchd.errors import ConfigError, CRLStale, NoFitSigner, NotFound, StoreUnavailable, VouchdError
from vouchd.pkix.certs import load_certificate
from vouchd.service.authorities import Authorities
from vouchd.service.effects import Effect
from vouchd.settings.layout import Layout
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
    """An entry that was taken over: how many CRLs it has, how many were new, what is doubtful about its signer."""

    authority: Authority
    changes: tuple[str, ...]
    crls: int
    taken: int
    dn: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was taken over, what was refused by the DN of its entry, and the epochs that the CRLs made."""

    suffix: str
    adopted: tuple[Adopted, ...]
    failures: tuple[tuple[str, VouchdError], ...]
    epochs: tuple[Epoch, ...]


def adopt(
    services: MemberServices,
    other: OtherDirectory | None,
    take: Take,
    caller: Caller,
    trusted: Collection[str] = (),
) -> Adoption:
    """Take over what there is, in `other` or in the instance's own directory; an entry that is refused costs itself.

    `trusted` are the subjects of CAs that need not have issued the signer: see `register`.

    Raises: ConfigError where there is no directory; StoreUnavailable; NotFound.
    """
    adopted: list[Adopted] = []
    failures: list[tuple[str, VouchdError]] = []
    epochs: list[Epoch] = []
    with _opened(services.layout, other) as (connection, suffix):
        for point in foreign_points(connection, suffix):
            try:
                adopted.append(adopt_point(services.authorities, point, take, epochs, caller, trusted))
            except StoreUnavailable:
                raise
            except VouchdError as error:
                failures.append((point.dn, error))
    return Adoption(suffix, tuple(adopted), (*failures, *unmet(trusted, adopted)), tuple(epochs))


def unmet(trusted: Collection[str], adopted: Collection[Adopted]) -> Iterator[tuple[str, VouchdError]]:
    """The names of trusted responders that no CA has that was taken over: a slip would go unnoticed."""
    subjects = {_subject(der) for one in adopted for der in one.authority.certificates}
    for name in trusted:
        if name not in subjects:
            yield name, NotFound("no CA of this name was taken over", hint="name it as its certificate does, RFC 4514")


@contextmanager
def _opened(layout: Layout, other: OtherDirectory | None) -> Iterator[tuple[Connection, str]]:
    """A connection to where it is read from, and the suffix there."""
    if other is not None:
        credentials = Credentials(other.bind_dn, other.password)
        connection, suffix = open_as_manager(other.server, credentials, other.trust_file), other.server.suffix
    else:
        settings = read_settings(layout)
        own = settings.directory
        if own is None:
            raise ConfigError(
                "the instance keeps its facts in the embedded store, not in a directory",
                hint="name a server with --dir or --url; `vouchd directory create` makes one",
            )
        credentials = account_credentials(layout, own, lambda: settings)
        connection, suffix = Connection(own.server, credentials, own.trust_file), own.server.suffix
    try:
        yield connection, suffix
    finally:
        connection.close()


def adopt_point(
    authorities: Authorities,
    point: ForeignPoint,
    take: Take,
    epochs: list[Epoch],
    caller: Caller,
    trusted: Collection[str] = (),
) -> Adopted:
    """Register the CA of one entry and take its CRLs; what was new goes to `epochs`. Raises: VouchdError."""
    if not point.certificates:
        raise ConfigError("no certificate of a CA can be read there", hint="add the CA: vouchd authority add")
    changes: tuple[str, ...] = ()
    for certificate in point.certificates:
        effect = register(authorities, certificate, caller, trusted)
        changes += effect.changes
    taken = 0
    for crl in point.crls:
        try:
            epochs += take(crl, f"adopted from {point.dn}")
        except CRLStale:  # it was taken already, by an earlier adoption, or a newer CRL was
            continue
        taken += 1
    return Adopted(effect.subject, changes, len(point.crls), taken, point.dn, authorities.doubts(effect.subject))


def register(
    authorities: Authorities, certificate: bytes, caller: Caller, trusted: Collection[str] = ()
) -> Effect[Authority]:
    """Answer for a CA that another program has answered for, with the signer that there is.

    That program may have one signer for several CAs, of which one has issued it. Clients of the others take its answers
    only when they are set to trust it (RFC 6960 section 4.2.2.2), which is for the operator to say: by the CA's subject
    among `trusted`. Raises: NoFitSigner that offers it; ConfigError, StoreError.
    """
    try:
        return authorities.add(certificate, caller)
    except NoFitSigner as error:
        subject = _subject(certificate)
        if subject not in trusted:
            raise NoFitSigner(
                f"{subject}: {error}",
                hint=f"where its clients are set to trust that signer all the same: --trusted-responder {subject!r}",
            ) from error
    return authorities.add(certificate, caller, trusted_responder=True)


def _subject(certificate_der: bytes) -> str:
    return load_certificate(certificate_der).subject.rfc4514_string()
