"""The key and certificates of a directory server in its NSS database; passwords go through files, never arguments."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    load_pem_private_key,
    pkcs12,
)

from vouchd.errors import ConfigError, LifecycleError
from vouchd.files import PUBLIC, write_new
from vouchd.pkix.pem import read_bundle

NICKNAME = "Server-Cert"  # what cn=RSA,cn=encryption,cn=config names
_ROOT_NICKNAME = "directory CA"
_TOKEN = "Internal (Software) Token"  # noqa: S105  the name NSS gives its own token
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class TLSIdentity:
    """What a server shows for TLS: its certificate and the ones above it, its key, and whom it trusts in others."""

    certificate_pem: bytes  # the server's first, then those between it and the root
    key_pem: bytes
    roots_pem: bytes
    key_password: bytes | None = None

    def __repr__(self) -> str:
        return "TLSIdentity(…)"


def import_identity(etc: Path, trust: Path, identity: TLSIdentity, host: str) -> None:
    """Make the NSS database in the folder `etc` with the identity; its roots also go to the file `trust`.

    Raises: ConfigError when the certificates, key and host name do not belong together; LifecycleError.
    """
    bundle_password = secrets.token_urlsafe(32)
    bundle, roots = _bundle(identity, host, bundle_password)
    database_password = secrets.token_urlsafe(32)
    _secret(etc / "pwdfile.txt", database_password + "\n")
    _secret(etc / "pin.txt", f"{_TOKEN}:{database_password}\n")
    write_new(trust, b"".join(root.public_bytes(Encoding.PEM) for root in roots), PUBLIC, error=LifecycleError)
    database = ["-d", f"sql:{etc}"]
    password_file = [str(etc / "pwdfile.txt")]
    _run(["certutil", "-N", *database, "-f", *password_file])
    with tempfile.TemporaryDirectory(prefix="identity", dir=etc) as folder:
        for number, root in enumerate(roots):
            certificate = Path(folder) / f"root{number}"
            write_new(certificate, root.public_bytes(Encoding.PEM), error=LifecycleError)
            nickname = _ROOT_NICKNAME if not number else f"{_ROOT_NICKNAME} {number + 1}"
            add = ["certutil", "-A", *database, "-n", nickname, "-t", "CT,,", "-a", "-i", str(certificate)]
            _run([*add, "-f", *password_file])
        _secret(Path(folder) / "bundle", bundle)
        _secret(Path(folder) / "password", bundle_password + "\n")
        take = ["pk12util", "-i", f"{folder}/bundle", *database, "-w", f"{folder}/password", "-k", *password_file]
        _run(take)


def _bundle(identity: TLSIdentity, host: str, password: str) -> tuple[bytes, Sequence[x509.Certificate]]:
    """PKCS #12 of the identity, and its roots."""
    try:
        certificates = read_bundle(identity.certificate_pem).certificates
        roots = read_bundle(identity.roots_pem).certificates
    except ValueError as error:
        raise ConfigError(f"the certificates of the directory server cannot be read: {error}") from error
    try:
        key = load_pem_private_key(identity.key_pem, identity.key_password)
    except (ValueError, TypeError) as error:
        raise ConfigError("the key of the directory server cannot be read: wrong password, or not PEM") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigError("the key of the directory server is neither RSA nor EC, the only ones it can use")
    certificate = next((one for one in certificates if one.public_key() == key.public_key()), None)
    if certificate is None:
        raise ConfigError("the key of the directory server is not the one of its certificate")
    chain = [one for one in certificates if one is not certificate]
    if not _is_for(certificate, host):
        raise ConfigError(
            f"the certificate of the directory server is not for {host}",
            hint=f"its subjectAltName needs DNS:{host}, which the other servers check",
        )
    if not _is_issued_by(certificate, chain, roots):
        raise ConfigError(
            "the certificate of the directory server was not issued by that CA",
            hint="give the certificates between the two in the file of the server's, after it",
        )
    return (
        pkcs12.serialize_key_and_certificates(
            NICKNAME.encode(),
            key,
            certificate,
            chain,
            BestAvailableEncryption(password.encode()),
        ),
        roots,
    )


def _is_issued_by(
    certificate: x509.Certificate, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> bool:
    """Whether a path leads from the certificate to one of the roots; servers that replicate would find out too late."""
    at = certificate
    for _ in range(len(chain) + 1):
        if any(at == root or _signed(at, root) for root in roots):
            return True
        above = next((one for one in chain if one.subject == at.issuer and _signed(at, one)), None)
        if above is None:
            return False
        at = above
    return False


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_for(certificate: x509.Certificate, host: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    wanted = host.lower()
    parent = wanted.partition(".")[2]
    return any(name.lower() in {wanted, f"*.{parent}"} for name in names.get_values_for_type(x509.DNSName))


def _secret(path: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    write_new(path, data, error=LifecycleError)


def _run(command: Sequence[str]) -> None:
    """Run one of the NSS tools. Raises: LifecycleError."""
    try:
        done = subprocess.run(  # noqa: S603  arguments of ours, no shell
            command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise LifecycleError(
            f"{command[0]} is not installed", hint="apt-get install libnss3-tools, or dnf install nss-tools"
        ) from None
    except subprocess.TimeoutExpired:
        raise LifecycleError(f"{command[0]} did not end within {_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise LifecycleError(f"{command[0]} failed: {said[:300]}")
