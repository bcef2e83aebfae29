"""Private keys: made for an algorithm, kept as encrypted PKCS #8 or on a token, read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from vouchd.errors import SigningError
from vouchd.files import read_secret, write_new
from vouchd.pkix.memo import memo
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.signing.token.keys import TokenKey, Tokens
from vouchd.signing.token.reference import is_reference, parse_reference, write_reference

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)

MINIMUM_RSA_BITS = 2048
_DECRYPTED = 1 << 14
DEFAULT_RSA_BITS = 2048  # a responder signs often, and a signer lives shortly
_CURVES: dict[str, type[ec.EllipticCurve]] = {"SHA-256": ec.SECP256R1, "SHA-384": ec.SECP384R1, "SHA-512": ec.SECP521R1}
_GENERATORS: dict[str, Callable[[], PrivateKey]] = {
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
    "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
}


def generate_key(algorithm: str, *, rsa_bits: int = DEFAULT_RSA_BITS) -> PrivateKey:
    """A new key for a name of `core.signatures.ALGORITHMS`; an EC key's curve goes with the digest.

    Raises: SigningError when the name is not known or the RSA size is under 2048 bits.
    """
    row = ALGORITHMS.get(algorithm)
    if row is None:
        raise SigningError(f"unknown signature algorithm {algorithm}", hint="one of " + ", ".join(ALGORITHMS))
    if row.key_type == "EC":
        return ec.generate_private_key(_CURVES[row.digest]())
    if row.key_type == "RSA":
        if rsa_bits < MINIMUM_RSA_BITS:
            raise SigningError(f"an RSA key of {rsa_bits} bits is too short", hint=f"at least {MINIMUM_RSA_BITS} bits")
        return rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
    return _GENERATORS[row.key_type]()


def write_key(path: Path, key: PrivateKey, password: str) -> None:
    """Write `key` as encrypted PKCS #8 PEM into a new file, 0600; of a key on a token, where it is.

    Raises: AlreadyExists, SigningError.
    """
    if isinstance(key, TokenKey):
        write_reference(path, key.reference)
        return
    if not password:
        raise SigningError(f"{path}: a key is not written without a password")
    encryption = BestAvailableEncryption(password.encode())
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)


def read_key(path: Path, password: str | None, tokens: Tokens | None = None) -> PrivateKey:
    """The key in a PEM or DER file; `password` is used when the key is encrypted.

    Where the file says that the key is on a token, the key signs there: through `tokens`, or sessions of its own.

    Raises: SigningError when the file may be read by others, the password is missing or wrong, or the key's type cannot
    sign.
    """
    data = read_secret(path)
    if is_reference(data):
        return checked_key((tokens or Tokens()).key(parse_reference(path, data)), str(path))
    try:
        key = _decrypted(data, password)
    except TypeError as error:
        raise SigningError(f"{path}: the key is encrypted and no password was given") from error
    except UnsupportedAlgorithm as error:
        raise SigningError(f"{path}: the key is of a type that is not supported") from error
    except ValueError as error:
        reason = "wrong password, or no private key" if password else "no private key"
        raise SigningError(f"{path}: {reason} in PEM or DER") from error
    return checked_key(key, str(path))


@memo(_DECRYPTED)
def _decrypted(data: bytes, password: str | None) -> object:
    """The key in what was read of a file: decrypted once, however many parts of a start look at it."""
    load = load_pem_private_key if b"-----BEGIN" in data else load_der_private_key
    try:
        return load(data, password.encode() if password else None)
    except TypeError:  # a password was given for a key that is not encrypted, or the other way round
        return load(data, None)


def checked_key(key: object, where: str) -> PrivateKey:
    """`key` if it is of a type that signs here and strong enough. Raises: SigningError starting with `where`."""
    if not isinstance(key, PrivateKey):
        raise SigningError(f"{where}: the key is of a type that cannot sign OCSP responses")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MINIMUM_RSA_BITS:
        raise SigningError(
            f"{where}: an RSA key of {key.key_size} bits is too short", hint=f"at least {MINIMUM_RSA_BITS} bits"
        )
    return key
