"""The tokens that an instance's key files name, and which keys are on each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vouchd.errors import NotFound
from vouchd.files import read_secret
from vouchd.pkix import certs
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import PrivateKey, checked_key, generate_key, write_key
from vouchd.signing.token.keys import Tokens
from vouchd.signing.token.pool import OPEN_SECONDS
from vouchd.signing.token.reference import (
    HARDWARE,
    KeyReference,
    PublicKey,
    TokenPlace,
    is_reference,
    parse_reference,
)
from vouchd.signing.token.session import Launcher
from vouchd.signing.token_source import TokenSource


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A token with the keys that are said to be there, by the name of their file in `alias/`."""

    place: TokenPlace
    keys: dict[str, KeyReference]

    def public_keys(self) -> Iterator[tuple[str, bytes]]:
        """Name of the file and DER of the public key, of each."""
        for name, reference in self.keys.items():
            yield name, reference.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def named_tokens(layout: Layout) -> tuple[NamedToken, ...]:
    """The tokens that key files in `alias/` name. Raises: SigningError."""
    tokens: dict[TokenPlace, dict[str, KeyReference]] = {}
    for name, reference in _references(layout.alias):
        for place in reference.places:
            tokens.setdefault(place, {})[name] = reference
    return tuple(NamedToken(place, keys) for place, keys in tokens.items())


def named_token(layout: Layout, label: str) -> NamedToken:
    """The token of that label, also as `hardware-LABEL`. Raises: NotFound; SigningError."""
    tokens = named_tokens(layout)
    for token in tokens:
        if token.place.label == label.removeprefix(HARDWARE):
            return token
    known = ", ".join(token.place.label for token in tokens) or "none"
    raise NotFound(f"no key of this instance is on a token {label!r}", hint=f"the tokens with keys of it: {known}")


def is_on_token(path: Path) -> bool:
    """Whether the key file says that its key is on a token. Raises: SigningError."""
    return path.exists() and is_reference(read_secret(path))


def token_label(path: Path) -> str:
    """The label of the token that the key file names first; empty: it holds the key, or is not there."""
    return parse_reference(path, read_secret(path)).places[0].label if is_on_token(path) else ""


def key_on_tokens(layout: Layout, public_key: object, label: str) -> PrivateKey | None:
    """The key of that public key on one of the tokens that are named here, proved; None: none has it.

    Raises: SigningError; TokenUnavailable.
    """
    if not isinstance(public_key, PublicKey):
        return None
    public_der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for token in named_tokens(layout):
        session = Launcher(token.place).open(OPEN_SECONDS)
        try:
            session.find(public_der, time.monotonic() + OPEN_SECONDS)
        except NotFound:
            continue
        return checked_key(Tokens().key(KeyReference(public_key, label, (token.place,))), label)
    return None


def new_key(path: Path, algorithm: str, present: Path | None, password: str | None) -> PrivateKey:
    """A new key in the file `path`: on the token that has the `present` one, where that is on a token.

    Raises: AlreadyExists; SigningError; TokenUnavailable.
    """
    if present is None or not is_on_token(present):
        key = generate_key(algorithm)
        write_key(path, key, password or "")
        return key
    place = parse_reference(present, read_secret(present)).places[0]
    key, discard = TokenSource(place).make(algorithm, path.stem)
    try:
        write_key(path, key, "")
    except BaseException:
        discard()
        raise
    return key


def responders_on_tokens(settings: Settings) -> frozenset[bytes]:
    """Key hash and name (DER) of the signers whose keys are on tokens, as answers name them. Raises: SigningError."""
    signers = [one for one in settings.signers if is_on_token(one.key_file) and one.certificate_file.exists()]
    certificates = [read_certificates(one.certificate_file)[0] for one in signers]
    return frozenset(part for one in certificates for part in (certs.key_hash(one), certs.subject_der(one)))


def _references(alias: Path) -> Iterator[tuple[str, KeyReference]]:
    for path in sorted(alias.glob("*.key")):
        data = read_secret(path)
        if is_reference(data):
            yield path.stem, parse_reference(path, data)
