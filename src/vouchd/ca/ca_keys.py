"""Keys of the certificate manager: which are made, which are certified, and how a CA's key signs."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from vouchd.errors import ConfigError, IssuanceError
from vouchd.files import read_secret, write_new
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS, algorithms_for
from vouchd.signing.keys import PrivateKey

KEY_TYPES: dict[str, Callable[[], PrivateKey]] = {
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA-3072": lambda: rsa.generate_private_key(65537, 3072),
    "RSA-4096": lambda: rsa.generate_private_key(65537, 4096),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
    "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
}
DEFAULT_KEY_TYPE = "P-256"
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192  # beyond 8192 a verification becomes a burden for every client

_HASHES_INSIDE = (
    ed25519.Ed25519PublicKey,
    ed448.Ed448PublicKey,
    mldsa.MLDSA44PublicKey,
    mldsa.MLDSA65PublicKey,
    mldsa.MLDSA87PublicKey,
)


def generate_key(key_type: str) -> PrivateKey:
    """A new private key of one of `KEY_TYPES`, in capitals or not. Raises: IssuanceError."""
    for name, generate in KEY_TYPES.items():
        if name.lower() == key_type.lower():
            return generate()
    raise IssuanceError(f"unknown key type {key_type[:40]!r}", hint=f"one of {', '.join(KEY_TYPES)}")


def check_public_key(key: PublicKeyTypes) -> None:
    """Refuse public keys that are too weak, too large or of a kind not certified here. Raises: IssuanceError."""
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise IssuanceError(
                f"an RSA key of {key.key_size} bits", hint=f"from {MIN_RSA_BITS} to {MAX_RSA_BITS} bits are taken"
            )
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            raise IssuanceError(f"an EC key on curve {key.curve.name}", hint="P-256, P-384 and P-521 are taken")
    elif not isinstance(key, _HASHES_INSIDE):
        raise IssuanceError(
            f"a public key of kind {type(key).__name__.removesuffix('PublicKey')}",
            hint="RSA, EC, Ed25519, Ed448 and ML-DSA keys are taken",
        )


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A CA's private key and how it signs certificates and CRLs."""

    key: PrivateKey
    digest: hashes.HashAlgorithm | None
    rsa_padding: padding.PSS | padding.PKCS1v15 | None

    def sign_certificate(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """The certificate of `builder`, signed."""
        return builder.sign(self.key, self.digest, rsa_padding=self.rsa_padding)  # type: ignore[arg-type]  # its SHA-2

    def sign_crl(self, builder: x509.CertificateRevocationListBuilder) -> x509.CertificateRevocationList:
        """The CRL of `builder`, signed."""
        return builder.sign(self.key, self.digest, rsa_padding=self.rsa_padding)  # type: ignore[arg-type]  # its SHA-2


def signing_key(key: PrivateKey, algorithm: str = "") -> SigningKey:
    """How `key` signs under `algorithm`, a name such as SHA256withRSA/PSS; empty: what suits the key.

    Raises: IssuanceError when the key cannot make it.
    """
    able = algorithms_for(key.public_key())
    name = algorithm or able[0]
    if name not in able:
        raise IssuanceError(f"the CA's key cannot make {name[:40]!r}", hint=f"one of {', '.join(able)}")
    row = ALGORITHMS[name]
    digest = DIGESTS[row.digest] if row.digest else None
    if digest is None or row.key_type != "RSA":
        return SigningKey(key, digest, None)
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return SigningKey(key, digest, pss if name.endswith("/PSS") else padding.PKCS1v15())


def make_password(path: Path) -> str:
    """A new random password, kept at `path` (mode 0600) as `internal=...`."""
    password = secrets.token_urlsafe(32)
    write_new(path, f"internal={password}\n".encode(), 0o600)
    return password


def read_password(path: Path) -> str:
    """The password kept at `path`. Raises: SigningError when absent or open to others, ConfigError when malformed."""
    for line in read_secret(path).decode("utf-8", "replace").splitlines():
        name, separator, value = line.partition("=")
        if name.strip() == "internal" and separator and value.strip():
            return value.strip()
    raise ConfigError(f"{path}: no line 'internal=...'", hint="put the password of the CA's key there")


def clear_key_pem(key: PrivateKey) -> bytes:
    """PKCS #8 PEM of `key`, not encrypted: for the holder of a certificate whose key was made here."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
