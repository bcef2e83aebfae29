"""Keys on tokens, in the shape of the library's private keys: they sign and are compared, and never leave the token."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NoReturn, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vouchd.errors import NotFound, SigningError, TokenUnavailable
from vouchd.pkix.signatures import DIGESTS
from vouchd.signing.token.pool import OPEN_SECONDS, Limits, SessionPool
from vouchd.signing.token.reference import KeyReference, TokenPlace, labels

_NAMES = {digest.name: name.replace("-", "") for name, digest in DIGESTS.items()}
Octets = bytes | bytearray | memoryview


class Tokens:
    """The tokens that this process signs with; each is reached by one pool of sessions, whatever keys it holds.

    `lost` as in `SessionPool`.
    """

    def __init__(self, limits: Limits | None = None, lost: Callable[[], None] | None = None) -> None:
        self._limits = limits or Limits()
        self._lost = lost
        self._pools: dict[TokenPlace, SessionPool] = {}

    def key(self, reference: KeyReference) -> TokenKey:
        """The key, which is looked for when it first signs. Raises: SigningError."""
        pools = []
        for place in reference.places:
            if place not in self._pools:
                self._pools[place] = SessionPool(place, self._limits, self._lost)
            pools.append(self._pools[place])
        for kind, cls in _CLASSES:
            if isinstance(reference.public_key, kind):
                return cls(reference, pools, self._limits.sign_seconds)
        raise SigningError(f"the key {reference.label} is of a type that cannot sign on a token")


class TokenKey:
    """A key that is on one or several tokens: of their `pools` the first that is in use and least busy signs."""

    def __init__(self, reference: KeyReference, pools: Sequence[SessionPool], sign_seconds: float) -> None:
        self.reference = reference
        self.pools = pools
        self._sign_seconds = sign_seconds
        self._public_der = reference.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for pool in pools:
            pool.use(self._public_der)

    @property
    def problems(self) -> dict[str, str]:
        """Why tokens cannot be used now, by label; those that can are not there."""
        return {pool.place.label: str(pool.problem) for pool in self.pools if pool.problem is not None}

    def start(self) -> None:
        """Start what starts sessions, for a process that may start no program later. Raises: TokenUnavailable."""
        for pool in self.pools:
            pool.start()

    def await_sessions(self) -> None:
        """Wait until each of its tokens can sign, or it is known why not, or that takes too long."""
        until = time.monotonic() + OPEN_SECONDS
        for pool in self.pools:
            pool.await_session(max(0.0, until - time.monotonic()))

    def look(self) -> TokenUnavailable | None:
        """Why no token can sign now, as of the last seconds; None: one can, or it is not known yet."""
        for pool in self.pools:
            pool.look()
        problems = [pool.problem for pool in self.pools]
        return problems[0] if all(problems) else None

    @property
    def together(self) -> int:
        """How many signatures are best asked for at once, if so many are wanted."""
        return max((pool.together for pool in self.pools), default=1)

    def make(self, algorithm: str, data: Octets) -> bytes:
        """The signature over `data` with an algorithm of `ALGORITHMS`. Raises: TokenUnavailable."""
        return self.make_all(algorithm, [bytes(data)])[0]

    def make_all(self, algorithm: str, wanted: Sequence[bytes]) -> list[bytes]:
        """The signatures over all that is wanted. Raises: TokenUnavailable.

        A token that fails after some leaves the others to the next one, which has as long for them.
        """
        signatures: list[bytes] = []
        until = time.monotonic() + self._sign_seconds
        pools = sorted(self.pools, key=lambda pool: pool.burden)
        error: SigningError | None = None
        for left, pool in zip(range(len(pools), 0, -1), pools, strict=True):
            now, rest = time.monotonic(), wanted[len(signatures) :]
            try:
                for lot in pool.sign_in_lots(self._public_der, algorithm, rest, now + (until - now) / left):
                    signatures += lot
                    until = time.monotonic() + self._sign_seconds
                return signatures  # noqa: TRY300
            except NotFound as caught:
                error = error or TokenUnavailable(str(caught), hint=caught.hint)
            except TokenUnavailable as caught:
                error = caught
        raise error or TokenUnavailable(f"the key {self.reference.label} is on no token")

    def _stays(self) -> NoReturn:
        raise SigningError(
            f"the key {self.reference.label} is on {labels(self.reference.places)} and does not leave it",
            hint="back it up by the means of the token's maker; a clone that reaches the token needs no file",
        )

    # What the library's private keys have, and a key on a token has not.

    def private_bytes(self, *_: object) -> NoReturn:
        """Raises: SigningError."""
        self._stays()

    def private_numbers(self) -> NoReturn:
        """Raises: SigningError."""
        self._stays()

    def private_bytes_raw(self) -> NoReturn:
        """Raises: SigningError."""
        self._stays()

    def exchange(self, *_: object) -> NoReturn:
        """Raises: SigningError."""
        self._stays()

    def decrypt(self, *_: object) -> NoReturn:
        """Raises: SigningError."""
        self._stays()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


class TokenRSAKey(TokenKey, rsa.RSAPrivateKey):
    """An RSA key on a token."""

    def public_key(self) -> rsa.RSAPublicKey:
        """Its public half."""
        return self.reference.public_key  # type: ignore[return-value]

    @property
    def key_size(self) -> int:
        """The size of the modulus in bits."""
        return self.public_key().key_size

    def sign(
        self,
        data: Octets,
        padding: padding.AsymmetricPadding,
        algorithm: hashes.HashAlgorithm | Prehashed | object,
    ) -> bytes:
        """See `rsa.RSAPrivateKey.sign`. Raises: TokenUnavailable."""
        return self.make(f"{_name(algorithm)}withRSA{'' if _is_plain(padding) else '/PSS'}", data)


class TokenECKey(TokenKey, ec.EllipticCurvePrivateKey):
    """A key on a named curve, on a token; its signatures are made at random, whatever is asked for."""

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public half."""
        return self.reference.public_key  # type: ignore[return-value]

    @property
    def curve(self) -> ec.EllipticCurve:
        """The named curve."""
        return self.public_key().curve

    @property
    def key_size(self) -> int:
        """The size of the curve in bits."""
        return self.curve.key_size

    def sign(self, data: Octets, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """See `ec.EllipticCurvePrivateKey.sign`. Raises: TokenUnavailable."""
        return self.make(f"{_name(signature_algorithm.algorithm)}withEC", data)


class TokenEd25519Key(TokenKey, ed25519.Ed25519PrivateKey):
    """An Ed25519 key on a token."""

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """Its public half."""
        return self.reference.public_key  # type: ignore[return-value]

    def sign(self, data: Octets) -> bytes:
        """See `ed25519.Ed25519PrivateKey.sign`. Raises: TokenUnavailable."""
        return self.make("Ed25519", data)


class TokenEd448Key(TokenKey, ed448.Ed448PrivateKey):
    """An Ed448 key on a token."""

    def public_key(self) -> ed448.Ed448PublicKey:
        """Its public half."""
        return self.reference.public_key  # type: ignore[return-value]

    def sign(self, data: Octets) -> bytes:
        """See `ed448.Ed448PrivateKey.sign`. Raises: TokenUnavailable."""
        return self.make("Ed448", data)


_CLASSES: tuple[tuple[type, type[TokenKey]], ...] = (
    (rsa.RSAPublicKey, TokenRSAKey),
    (ec.EllipticCurvePublicKey, TokenECKey),
    (ed25519.Ed25519PublicKey, TokenEd25519Key),
    (ed448.Ed448PublicKey, TokenEd448Key),
)


def _is_plain(pad: padding.AsymmetricPadding) -> bool:
    return isinstance(pad, padding.PKCS1v15)


def _name(digest: object) -> str:
    if not isinstance(digest, hashes.HashAlgorithm) or digest.name not in _NAMES:
        raise SigningError("a token signs over SHA-256, SHA-384 and SHA-512")
    return _NAMES[digest.name]
