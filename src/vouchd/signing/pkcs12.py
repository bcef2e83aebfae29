"""PKCS #12 files: read as the Certificate System, NSS, OpenSSL and Java write them, written as browsers read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, load_pkcs12, serialize_key_and_certificates

from vouchd.errors import SigningError
from vouchd.signing.files import read_secret, replace_file
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


_KDF_ROUNDS = 100_000  # NSS takes up to 600,000


def write_pkcs12(path: Path, bag: KeyBag, password: str) -> None:
    """Write `bag` to a file, 0600, in place of one that is there.

    AES-256, PBKDF2 and an HMAC with SHA-256: Firefox, Chromium, OpenSSL 3 and Java read it without a legacy provider.

    Raises: SigningError.
    """
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_KDF_ROUNDS)
        .key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(password.encode())
    )
    try:
        name = bag.friendly_name.encode()
        data = serialize_key_and_certificates(name, bag.key, bag.certificate, bag.others, encryption)  # type: ignore[arg-type]  # its types lack ML-DSA
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path}: a key of this type cannot be put into PKCS #12") from error
    replace_file(path, data, 0o600)
