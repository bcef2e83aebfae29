"""The certificates in a file: in whatever form they come, and as roots that TLS trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.errors import ConfigError, SigningError
from vouchd.files import READABLE, read_file
from vouchd.pkix.pem import PLAIN_LABEL, labels, read_bundle

_MOST = 10_000  # a file of all the roots that a system trusts holds some hundreds
_PLAIN = "write them anew: openssl x509 -in FILE, or of PKCS #7: openssl pkcs7 -print_certs -in FILE"


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a file, in any form that `read_bundle` knows. Raises: SigningError."""
    try:
        return read_bundle(_read(path), _MOST).certificates
    except ValueError as error:
        raise SigningError(f"{path}: holds no certificate: {error}") from error


def trusting(path: Path | None) -> ssl.SSLContext:
    """TLS of a client that trusts the roots in that file, None for the system's. Raises: ConfigError."""
    if path is None:
        return ssl.create_default_context()
    try:
        roots = b"".join(root.public_bytes(Encoding.DER) for root in read_certificates(path))
        return ssl.create_default_context(cadata=roots)
    except (SigningError, ssl.SSLError) as error:
        raise ConfigError(f"no certificates to trust: {error}") from error


def plain_roots(path: Path) -> str:
    """The name of that file, which a library reads itself that knows plain PEM alone. Raises: ConfigError."""
    try:
        read_certificates(path)
    except SigningError as error:
        raise ConfigError(f"no certificates to trust: {error}", hint=_PLAIN) from error
    if labels(_read(path)) != {PLAIN_LABEL}:
        raise ConfigError(f"{path}: the roots of an LDAP server are given in plain PEM", hint=_PLAIN)
    return str(path)


def _read(path: Path) -> bytes:
    try:
        return read_file(path, error=SigningError)
    except FileNotFoundError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}", hint=READABLE) from error
