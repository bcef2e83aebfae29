"""A signer out of a PKCS #12 file, as the Certificate System, NSS, OpenSSL and Java write it (modern or legacy)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from vouchd.errors import SigningError
from vouchd.signing.files import read_secret
from vouchd.signing.keys import PrivateKey, checked_key


@dataclass(frozen=True, slots=True)
class KeyBag:
    """A key with its certificate, the other certificates of the file and its friendly name (may be empty)."""

    key: PrivateKey
    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]
    friendly_name: str


def read_pkcs12(path: Path, password: str) -> KeyBag:
    """The key and certificates in the file. Raises: SigningError."""
    data = read_secret(path)
    try:
        bag = load_pkcs12(data, password.encode())
    except UnsupportedAlgorithm as error:
        raise SigningError(f"{path}: encrypted in a way that is not supported") from error
    except ValueError as error:
        raise SigningError(
            f"{path}: wrong password, or not a PKCS #12 file", hint=f"try: openssl pkcs12 -info -noout -in {path}"
        ) from error
    if bag.key is None or bag.cert is None:
        raise SigningError(f"{path}: holds no key with its certificate")
    name = bag.cert.friendly_name or b""
    return KeyBag(
        key=checked_key(bag.key, str(path)),
        certificate=bag.cert.certificate,
        others=tuple(extra.certificate for extra in bag.additional_certs),
        friendly_name=name.decode("utf-8", "replace"),
    )
