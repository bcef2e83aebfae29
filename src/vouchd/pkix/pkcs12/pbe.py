"""Password-based encryption and MAC of PKCS #12 (RFC 7292 appendices B and C, RFC 8018).

Written is only PBES2 with AES-256-CBC and HMAC-SHA-256. Read is also what NSS, the Certificate System and OpenSSL wrote
before: three-key triple DES under the key derivation of PKCS #12.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, cast

from asn1crypto import algos
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from vouchd.errors import SigningError

KDF_ITERATIONS = 100_000  # of what we write
MAX_ITERATIONS = 2_000_000  # of one derivation: NSS writes 600,000
MAX_ALL_ITERATIONS = 20_000_000  # of a whole file
DIGEST = "sha256"
_SALT_BYTES = 16
Random = Callable[[int], bytes]  # that many random bytes; the core has no source of its own
_DIGESTS = {"sha1", "sha224", "sha256", "sha384", "sha512"}
_CIPHERS: dict[str, tuple[Callable[[bytes], BlockCipherAlgorithm], int]] = {
    "aes128_cbc": (algorithms.AES, 16),
    "aes192_cbc": (algorithms.AES, 24),
    "aes256_cbc": (algorithms.AES, 32),
    "tripledes_3key": (TripleDES, 24),
}
_ID_KEY, _ID_IV, _ID_MAC = 1, 2, 3


class _Hash(Protocol):
    block_size: int
    digest_size: int

    def digest(self) -> bytes: ...


class UnknownEncryption(SigningError):
    """An algorithm that is not read here."""


@dataclass(slots=True)
class Secret:
    """A password, and how much work may still be spent on it: the file's author chose the iteration counts.

    A file may hold many keys, each with a derivation of its own, so there is a limit for their sum too.
    """

    password: str
    left: int = MAX_ALL_ITERATIONS

    def spend(self, iterations: int) -> None:
        """Account for one derivation before it is made. Raises: SigningError."""
        if not 1 <= iterations <= MAX_ITERATIONS:
            raise SigningError(f"an iteration count of {iterations} is out of bounds (1 to {MAX_ITERATIONS})")
        self.left -= iterations
        if self.left < 0:
            raise SigningError(f"all iteration counts together are over {MAX_ALL_ITERATIONS}")

    @property
    def bmp(self) -> bytes:
        """As PKCS #12's own key derivation wants it: UTF-16, big endian, with a zero at the end."""
        return self.password.encode("utf-16-be", "surrogatepass") + b"\0\0"

    def forms(self) -> Iterator[bytes]:
        """As PBES2 wants it: UTF-8; and as some older NSS wrote it."""
        yield self.password.encode("utf-8", "surrogateescape")
        yield self.bmp


def derive(secret: Secret, salt: bytes, iterations: int, purpose: int, length: int, digest: str) -> bytes:
    """The key derivation of RFC 7292 appendix B.2; `purpose` is 1 for a key, 2 for an IV, 3 for a MAC key."""
    new = _digest(digest)
    block = new().block_size
    salted = _filled(salt, block) + _filled(secret.bmp, block)
    result = b""
    while len(result) < length:
        secret.spend(iterations)
        piece = bytes([purpose]) * block + salted
        for _ in range(iterations):
            piece = new(piece).digest()
        result += piece
        salted = _stirred(salted, _filled(piece, block), block)
    return result[:length]


def _digest(name: str) -> Callable[..., _Hash]:
    if name not in _DIGESTS:
        raise UnknownEncryption(f"the digest {name} is not supported")
    return cast("Callable[..., _Hash]", getattr(hashlib, name))


def _filled(data: bytes, block: int) -> bytes:
    """`data` repeated up to the next multiple of `block`."""
    wanted = block * -(-len(data) // block)
    return (data * (wanted // len(data) + 1))[:wanted] if data else b""


def _stirred(salted: bytes, piece: bytes, block: int) -> bytes:
    """Each block of `salted` plus `piece` plus one, modulo the block's size."""
    add, modulus = int.from_bytes(piece[:block], "big") + 1, 1 << (8 * block)
    return b"".join(
        ((int.from_bytes(salted[at : at + block], "big") + add) % modulus).to_bytes(block, "big")
        for at in range(0, len(salted), block)
    )


def mac(secret: Secret, data: bytes, salt: bytes, iterations: int, digest: str) -> bytes:
    """The MAC of RFC 7292 appendix A over the authenticated safe. Raises: SigningError."""
    length = _digest(digest)().digest_size
    return hmac.digest(derive(secret, salt, iterations, _ID_MAC, length, digest), data, digest)


def new_mac(secret: Secret, data: bytes, random: Random) -> tuple[bytes, bytes]:
    """The MAC of what we write, and its salt."""
    salt = random(_SALT_BYTES)
    return mac(secret, data, salt, KDF_ITERATIONS, DIGEST), salt


def encrypt(secret: Secret, data: bytes, random: Random) -> tuple[algos.EncryptionAlgorithm, bytes]:
    """PBES2 with PBKDF2, HMAC-SHA-256 and AES-256-CBC: the algorithm with its parameters, and the encrypted bytes."""
    salt, iv = random(_SALT_BYTES), random(16)
    key = hashlib.pbkdf2_hmac(DIGEST, next(secret.forms()), salt, KDF_ITERATIONS, 32)
    pad = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(pad.update(data) + pad.finalize()) + encryptor.finalize()
    kdf = {"salt": algos.Pbkdf2Salt("specified", salt), "iteration_count": KDF_ITERATIONS, "prf": {"algorithm": DIGEST}}
    parameters = {
        "key_derivation_func": {"algorithm": "pbkdf2", "parameters": kdf},
        "encryption_scheme": {"algorithm": "aes256_cbc", "parameters": iv},
    }
    return algos.EncryptionAlgorithm({"algorithm": "pbes2", "parameters": parameters}), encrypted


def decrypt(secret: Secret, algorithm: algos.EncryptionAlgorithm, data: bytes) -> Iterator[bytes]:
    """What `data` may stand for: one reading for each form of the password whose padding comes out right.

    Raises: UnknownEncryption; SigningError for a count out of bounds; ValueError.
    """
    name = algorithm["algorithm"].native
    if name == "pbes2":
        yield from _pbes2(secret, algorithm["parameters"], data)
    elif name == "pkcs12_sha1_tripledes_3key":
        parameters = algorithm["parameters"]
        salt, iterations = parameters["salt"].native, parameters["iterations"].native
        key = derive(secret, salt, iterations, _ID_KEY, 24, "sha1")
        iv = derive(secret, salt, iterations, _ID_IV, 8, "sha1")
        yield from _cbc(TripleDES(key), iv, data)
    else:
        raise UnknownEncryption(f"the encryption {name} is not supported")


def _pbes2(secret: Secret, parameters: algos.Pbes2Params, data: bytes) -> Iterator[bytes]:
    kdf, scheme = parameters["key_derivation_func"], parameters["encryption_scheme"]
    cipher = scheme["algorithm"].native
    if kdf["algorithm"].native != "pbkdf2" or cipher not in _CIPHERS:
        raise UnknownEncryption(f"the encryption {cipher} with {kdf['algorithm'].native} is not supported")
    prf = kdf["parameters"]["prf"]["algorithm"].native
    _digest(prf)
    make, length = _CIPHERS[cipher]
    iterations, salt = kdf["parameters"]["iteration_count"].native, kdf["parameters"]["salt"].native
    for password in secret.forms():
        secret.spend(iterations)
        key = hashlib.pbkdf2_hmac(prf, password, salt, iterations, length)
        yield from _cbc(make(key), scheme["parameters"].native, data)


def _cbc(cipher: BlockCipherAlgorithm, iv: bytes, data: bytes) -> Iterator[bytes]:
    decryptor = Cipher(cipher, modes.CBC(iv)).decryptor()
    unpadder = PKCS7(cipher.block_size).unpadder()
    try:
        yield unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
    except ValueError:  # another password, so another padding
        return
