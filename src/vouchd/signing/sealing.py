"""Private keys on their way to another member: sealed by HPKE (RFC 9180), so that only its memory can open them.

The suite is ML-KEM-768 with X25519 (X-Wing), HKDF-SHA256 and AES-256-GCM: what is recorded today stays closed if either
of the two is broken. The recipient's key is made anew by each process and never written down; a sealed key is worthless
once that process has ended.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from vouchd.errors import SigningError
from vouchd.pkix.der import Buffer
from vouchd.signing.keys import PrivateKey, checked_key

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_BYTES, _X25519_BYTES = 1184, 32
_PURPOSE = b"vouchd signer key 1\0"


class SealingKey:
    """The key that this process lets others seal to; it is nowhere but in its memory."""

    def __init__(self) -> None:
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        self._private = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @property
    def recipient(self) -> str:
        """By what a sealed key says that it is for this one."""
        return recipient_of(self.public)

    def open(self, sealed: bytes, context: bytes) -> PrivateKey:
        """The key that was sealed in this `context`. Raises: SigningError when it was not, or not to this key."""
        try:
            der = _SUITE.decrypt(sealed, self._private, info=_PURPOSE + context)
            return checked_key(load_der_private_key(der, None), "a sealed key")
        except (InvalidTag, ValueError) as error:
            raise SigningError("a sealed key cannot be opened: it was sealed to another key, or altered") from error


def recipient_of(public: bytes) -> str:
    """SHA-256 (hex) of a public sealing key."""
    return hashlib.sha256(public).hexdigest()


def seal(key: PrivateKey, public: bytes, context: bytes) -> bytes:
    """`key` sealed to the public sealing key, good in this `context` only. Raises: SigningError."""
    if len(public) != _MLKEM_BYTES + _X25519_BYTES:
        raise SigningError("a sealing key of another kind", hint="is that member of another version of vouchd?")
    try:
        recipient = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_BYTES]),
            X25519PublicKey.from_public_bytes(public[_MLKEM_BYTES:]),
        )
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return _SUITE.encrypt(der, recipient, info=_PURPOSE + context)
    except ValueError as error:
        raise SigningError("a key cannot be sealed to that sealing key") from error


def public_key_hash(key: PrivateKey | x509.Certificate | x509.CertificateSigningRequest) -> str:
    """SHA-256 (hex) of the SubjectPublicKeyInfo of a key, or of whose certificate or request it is."""
    return spki_hash(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def spki_hash(spki_der: Buffer) -> str:
    """SHA-256 (hex) of a SubjectPublicKeyInfo."""
    return hashlib.sha256(spki_der).hexdigest()
