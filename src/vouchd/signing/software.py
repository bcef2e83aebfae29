"""Signing with a key: one in this process's memory, or one on a token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from vouchd.errors import SigningError
from vouchd.pkix.certs import der_of, load_certificate
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS, algorithms_for
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import PrivateKey, read_key
from vouchd.signing.token.keys import TokenKey, Tokens

_Sign = Callable[[bytes], bytes]

_QUICK_RSA_BITS = 2048
_NONE: Mapping[str, _Sign] = {}


class SoftwareSigner:
    """A `core.ports.Signer` over a private key; `algorithm` (may be empty) is put first of what the key can make.

    `chain` are DER certificates between the signer's and the CA's. Raises: SigningError when key and certificate do not
    belong together or the key cannot make `algorithm`.

    ML-DSA and RSASSA-PSS signatures differ from one signing to the next, and those of ECDSA on a token: made with fresh
    randomness.
    """

    # There may be ten thousand of them.
    __slots__ = ("_algorithms", "_certificate_der", "_chain_der", "_is_slow", "_key", "_nickname", "_sign")

    def __init__(
        self,
        nickname: str,
        key: PrivateKey,
        certificate_der: bytes,
        chain_der: tuple[bytes, ...] = (),
        algorithm: str = "",
    ) -> None:
        certificate = load_certificate(certificate_der)
        public_key = key.public_key()
        if certificate.public_key() != public_key:
            raise SigningError(f"signer {nickname}: the key does not belong to the certificate")
        able = algorithms_for(public_key)
        if algorithm and algorithm not in able:
            raise SigningError(
                f"signer {nickname}: its key cannot make {algorithm}", hint="it can make " + ", ".join(able)
            )
        self._nickname = nickname
        self._certificate_der = certificate_der
        self._chain_der = chain_der
        self._key: PrivateKey | None = key  # None once it was let go
        self._is_slow = _is_slow(key)
        self._algorithms = _ordered(able, algorithm)
        self._sign: Mapping[str, _Sign] = _NONE  # those that were wanted

    @classmethod
    def load(
        cls,
        nickname: str,
        key_file: Path,
        certificate_file: Path,
        password: str | None,
        *,
        chain_file: Path | None = None,
        algorithm: str = "",
        tokens: Tokens | None = None,
    ) -> SoftwareSigner:
        """The signer in these files: key in encrypted PKCS #8 or on one of `tokens`, certificates in PEM.

        Raises: SigningError.
        """
        certificates = [*read_certificates(certificate_file), *(read_certificates(chain_file) if chain_file else ())]
        leaf, *chain = map(der_of, certificates)
        return cls(nickname, read_key(key_file, password, tokens), leaf, tuple(chain), algorithm)

    @property
    def nickname(self) -> str:
        """The name in settings."""
        return self._nickname

    @property
    def certificate_der(self) -> bytes:
        """The signer's certificate."""
        return self._certificate_der

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """Certificates between the signer's and the CA's."""
        return self._chain_der

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What the key can make, the default first."""
        return self._algorithms

    @property
    def token(self) -> TokenKey | None:
        """The key when it is on a token: a signature takes long, and may fail for a while."""
        return self._key if isinstance(self._key, TokenKey) else None

    def let_key_go(self) -> None:
        """Keep no key in this process's memory, and sign nothing any more; one on a token is not here."""
        if self.token is None:
            self._key, self._sign = None, _NONE

    def start(self) -> None:
        """Start what a key on a token needs, while this process still may. Raises: TokenUnavailable."""
        if self.token is not None:
            self.token.start()

    def token_problem(self) -> SigningError | None:
        """Why the token cannot sign now, as of the last seconds; None: it can, or the key is in a file."""
        return self.token.look() if self.token is not None else None

    @property
    def tokens(self) -> tuple[str, ...]:
        """The labels of the tokens that have the key; none: it is in a file."""
        return tuple(place.label for place in self.token.reference.places) if self.token else ()

    @property
    def is_slow(self) -> bool:
        """Whether a signature takes a millisecond or more."""
        return self._is_slow

    def repeats(self, algorithm: str) -> bool:
        """Whether it makes the same signature over the same data each time: RFC 6979 is not for tokens."""
        row = ALGORITHMS[algorithm]
        return row.deterministic and not (self.token is not None and row.key_type == "EC")

    @property
    def together(self) -> int:
        """How many signatures are best asked for at once, where so many are wanted."""
        return self.token.together if self.token is not None else 1

    def sign_all(self, wanted: Sequence[bytes], algorithm: str) -> list[bytes]:
        """Signature octets over each that is wanted. Raises: as `sign`."""
        if self.token is None:
            return [self.sign(tbs, algorithm) for tbs in wanted]
        self._signing(algorithm)
        return self.token.make_all(algorithm, wanted)

    def sign(self, tbs: bytes, algorithm: str) -> bytes:
        """Signature octets over `tbs`. Raises: SigningError; TokenUnavailable, for now."""
        try:
            return (self._sign.get(algorithm) or self._signing(algorithm))(tbs)
        except ValueError as error:
            raise SigningError(f"signer {self._nickname}: signing failed") from error

    def _signing(self, algorithm: str) -> _Sign:
        """What makes such signatures. Raises: SigningError."""
        if algorithm not in self._algorithms:
            raise SigningError(f"signer {self._nickname}: its key cannot make {algorithm}")
        if self._key is None:
            raise SigningError(f"signer {self._nickname}: this process has let its key go")
        made = _sign_with(self._key, algorithm)
        self._sign = {**self._sign, algorithm: made}
        return made


@lru_cache(maxsize=1 << 6)
def _ordered(able: tuple[str, ...], algorithm: str) -> tuple[str, ...]:
    """The algorithms that a key can make, that one first; keys of one kind share them."""
    return tuple(sorted(able, key=lambda name: name != algorithm)) if algorithm else able


def _is_slow(key: PrivateKey) -> bool:
    """ECDSA, EdDSA and RSA up to 2048 bits are quick; larger RSA keys, ML-DSA and keys on tokens are not."""
    if isinstance(key, TokenKey):
        return True
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size > _QUICK_RSA_BITS
    return not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)


@lru_cache(maxsize=1 << 4)
def _ecdsa(digest: str) -> ec.ECDSA:
    return ec.ECDSA(DIGESTS[digest], deterministic_signing=True)


def _sign_with(key: PrivateKey, algorithm: str) -> _Sign:
    """The signing of one algorithm with all its objects made beforehand: this is the hot path."""
    row = ALGORITHMS[algorithm]
    if isinstance(key, rsa.RSAPrivateKey):
        digest = DIGESTS[row.digest]
        pad: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm.endswith("/PSS"):
            pad = padding.PSS(padding.MGF1(digest), digest.digest_size)
        rsa_sign = key.sign
        return lambda tbs: rsa_sign(tbs, pad, digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        scheme, ec_sign = _ecdsa(row.digest), key.sign
        return lambda tbs: ec_sign(tbs, scheme)
    return key.sign
