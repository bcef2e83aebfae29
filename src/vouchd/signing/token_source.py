"""A token as the place for a signing key: found there by the certificate's public key, or made."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from vouchd.errors import SigningError
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.signing.keys import DEFAULT_RSA_BITS, PrivateKey, checked_key
from vouchd.signing.token.keys import Tokens
from vouchd.signing.token.pins import read_pin
from vouchd.signing.token.pool import OPEN_SECONDS
from vouchd.signing.token.reference import KeyReference, PublicKey, TokenPlace
from vouchd.signing.token.session import Launcher

_GENERATE_SECONDS = 120.0  # an RSA key of a small HSM


@dataclass(frozen=True, slots=True)
class TokenSource:
    """The token; `extractable`: a key made there may be wrapped for a backup."""

    place: TokenPlace
    extractable: bool = False

    @property
    def passwords(self) -> dict[str, str]:
        """The line of password.conf with its PIN; none where a command prints it. Raises: SigningError."""
        return {} if self.place.pin_command else {self.place.name: read_pin(self.place)}

    def find(self, certificate: x509.Certificate, label: str) -> PrivateKey:
        """The key of that certificate, proved by a signature. Raises: NotFound; SigningError."""
        reference = self._reference(certificate.public_key(), label)
        Launcher(self.place).open(OPEN_SECONDS).find(_der(reference.public_key), time.monotonic() + OPEN_SECONDS)
        return self._key(reference)

    def make(self, algorithm: str, label: str) -> tuple[PrivateKey, Callable[[], None]]:
        """A new key, and what removes it again when nothing comes of it. Raises: SigningError."""
        if algorithm not in ALGORITHMS:
            raise SigningError(f"unknown signature algorithm {algorithm}", hint="one of " + ", ".join(ALGORITHMS))
        session = Launcher(self.place).open(OPEN_SECONDS, writable=True)
        until = time.monotonic() + _GENERATE_SECONDS
        public_der = session.generate(algorithm, label, DEFAULT_RSA_BITS, until, extractable=self.extractable)
        key = self._key(self._reference(load_der_public_key(public_der), label))
        return key, lambda: session.remove(public_der, time.monotonic() + OPEN_SECONDS)

    def _reference(self, public_key: object, label: str) -> KeyReference:
        if not isinstance(public_key, PublicKey):
            raise SigningError("the certificate's key is of a type that no token holds", hint="RSA, EC or Ed25519")
        return KeyReference(public_key, label, (self.place,))

    def _key(self, reference: KeyReference) -> PrivateKey:
        return checked_key(Tokens().key(reference), f"token {self.place.label}")


def token_source(
    label: str, module: Path | None, pin_file: Path | None, pin_command: str, *, extractable: bool
) -> TokenSource | None:
    """What the options of `vouchd create` say of a token; None: nothing. Raises: SigningError."""
    if not label:
        if module or pin_file or pin_command or extractable:
            raise SigningError("which token is not said", hint="--token LABEL")
        return None
    if module is None:
        raise SigningError(f"which PKCS #11 module reaches the token {label} is not said", hint="--module PATH")
    if (pin_file is None) == (not pin_command):
        raise SigningError(f"the PIN of the token {label} is needed", hint="--pin-file FILE, or --pin-command COMMAND")
    passwords = (pin_file or Path()).absolute()
    place = TokenPlace(module.absolute(), label.removeprefix("hardware-"), passwords, pin_command, pin_file)
    return TokenSource(place, extractable)


def _der(public_key: PublicKey) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
