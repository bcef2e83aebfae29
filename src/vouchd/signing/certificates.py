"""The certificates in a file."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from vouchd.errors import SigningError
from vouchd.files import READABLE, read_file


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, or the one of a DER file. Raises: SigningError."""
    try:
        data = read_file(path, error=SigningError)
    except FileNotFoundError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}", hint=READABLE) from error
    try:
        if b"-----BEGIN" in data:
            return tuple(x509.load_pem_x509_certificates(data))
        return (x509.load_der_x509_certificate(data),)
    except (ValueError, x509.InvalidVersion) as error:
        raise SigningError(f"{path}: holds no certificate in PEM or DER") from error
