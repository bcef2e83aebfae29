"""The system certificates of an instance: what each is for, which settings name it, which files it has now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.errors import NotFound, SigningError
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.purposes import Purpose
from vouchd.settings.declared import Settings
from vouchd.settings.tcp_ports import KeyFiles
from vouchd.signing.certificates import read_certificates

ADMIN = "admin"
SSLSERVER = "sslserver"
SUBSYSTEM = "subsystem"
AUDIT_SIGNING = "audit_signing"
STAGED = ".next"  # ends the file of a certificate that has come and is not in use yet
# Name, as the Certificate System has it where it has one; purpose; prefix of the settings.
FIXED: dict[str, tuple[Purpose, str]] = {
    SSLSERVER: (Purpose.TLS_SERVER, "vouchd.agent"),
    SUBSYSTEM: (Purpose.SUBSYSTEM, "vouchd.subsystem"),
    AUDIT_SIGNING: (Purpose.AUDIT_SIGNING, "vouchd.auditSigning"),
    ADMIN: (Purpose.ADMINISTRATOR, "vouchd.admin"),
}


@dataclass(frozen=True, slots=True)
class SystemCertificate:
    """One certificate of the instance, or the place of one that has not come yet."""

    name: str  # a signer's nickname, or one of FIXED
    purpose: Purpose
    files: KeyFiles
    prefix: str  # of its keys in CS.cfg
    certificate: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = ()
    problem: str = ""  # why the certificate's file cannot be used

    @property
    def der(self) -> bytes | None:
        """DER of the certificate."""
        return self.certificate.public_bytes(Encoding.DER) if self.certificate else None


def system_certificates(
    settings: Settings, read: Mapping[str, tuple[bytes, ...]] = MappingProxyType({})
) -> tuple[SystemCertificate, ...]:
    """All system certificates: the signers in the order of CS.cfg, then TLS server, subsystem, audit signing, admin.

    What is `read` already of their files, by name in DER, is not read again.
    """
    return tuple(_with_certificate(place, read.get(place.name, ())) for place in _places(settings))


def find(settings: Settings, name: str) -> SystemCertificate:
    """The system certificate of that name. Raises: NotFound."""
    for place in _places(settings):
        if place.name == name:
            return _with_certificate(place)
    names = ", ".join(place.name for place in _places(settings))
    raise NotFound(f"no system certificate {name[:100]!r}", hint=f"one of {names}")


def _places(settings: Settings) -> Iterator[SystemCertificate]:
    for signer in settings.signers:
        if signer.nickname not in FIXED:
            files = KeyFiles(signer.key_file, signer.certificate_file)
            prefix = f"vouchd.signer.{signer.nickname}"
            yield SystemCertificate(signer.nickname, Purpose.OCSP_SIGNING, files, prefix)
    files_of = {
        SSLSERVER: settings.agent.tls,
        SUBSYSTEM: settings.subsystem,
        AUDIT_SIGNING: settings.audit_signing,
        ADMIN: settings.admin,
    }
    for name, (purpose, prefix) in FIXED.items():
        yield SystemCertificate(name, purpose, files_of[name], prefix)


def _with_certificate(place: SystemCertificate, read: tuple[bytes, ...] = ()) -> SystemCertificate:
    if read:
        certificate, *above = map(load_certificate, read)
        return replace(place, certificate=certificate, chain=tuple(above))
    if not place.files.certificate_file.exists():
        return place
    try:
        certificate, *above = read_certificates(place.files.certificate_file)
    except SigningError as error:
        return replace(place, problem=str(error))
    return replace(place, certificate=certificate, chain=tuple(above))


def numbered(alias: Path, name: str, suffix: str) -> tuple[Path, ...]:
    """The files `NAME`, `NAME-2`, `NAME-3` … with that suffix in `alias/`, oldest first."""
    matches = ((_number(path, name), path) for path in alias.glob(f"*{suffix}"))
    return tuple(path for number, path in sorted(matches) if number)


def pending_requests(alias: Path, name: str) -> tuple[Path, ...]:
    """Requests in `alias/` for that name whose certificate has not come, oldest first."""
    return tuple(path for path in numbered(alias, name, ".csr") if not path.with_suffix(".pem").exists())


def staged(alias: Path, name: str) -> tuple[Path, tuple[x509.Certificate, ...]] | None:
    """The file of the certificate to be installed next, and what is in it, itself first. Raises: SigningError."""
    files = numbered(alias, name, STAGED)
    return (files[-1], read_certificates(files[-1])) if files else None


def free_stem(alias: Path, name: str) -> Path:
    """The first of `NAME`, `NAME-2`, `NAME-3` … in `alias/` that no file has with any suffix."""
    taken = {number for path in alias.iterdir() if (number := _number(path, name))}
    number = max(taken, default=0) + 1
    return alias / (name if number == 1 else f"{name}-{number}")


def _number(path: Path, name: str) -> int:
    """Which of a name's files this is, from 1; 0: of another name."""
    match = re.fullmatch(re.escape(name) + r"(?:-([0-9]{1,6}))?", path.stem)
    return int(match[1] or 1) if match else 0
