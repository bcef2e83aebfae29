"""The keys of a clone whose host reaches the token of the set: no file is carried.

The signing keys are on the token, where the clone finds each by the public key of the master's certificate. The other
keys of the set (subsystem, audit signing, signers in files) it asks the member for that it joins by. Who may have them
shows two things: the one-time token of `vouchd clone prepare`, and a signature by the signing key of the set, which
only who reaches the token can make. It signs for this connection (its channel binding), this join token and the sealing
key (HPKE, see signing/sealing.py) that the keys are then sealed to; so what is sent is of use to nobody else, and a
signature to no other connection.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vouchd.cloning.proof import require_signed
from vouchd.cloning.set_info import SetInfo
from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink
from vouchd.errors import BadInput, ConfigError, NotFound, SigningError
from vouchd.instance.certificates.backup import NOT_BACKED_UP
from vouchd.instance.certificates.places import FIXED, system_certificates
from vouchd.pkix.signatures import algorithms_for
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import PrivateKey, checked_key, read_key
from vouchd.signing.pkcs12 import KeyBag, KeyFile
from vouchd.signing.sealing import SealingKey, seal
from vouchd.signing.software import SoftwareSigner
from vouchd.signing.token.keys import TokenKey, Tokens
from vouchd.signing.token.pool import OPEN_SECONDS
from vouchd.signing.token.reference import KeyReference, PublicKey, TokenPlace
from vouchd.signing.token.session import Launcher

_SPEAKS = b"vouchd keys of a set 1\0"


def to_be_signed(token: str, public: bytes, binding: bytes) -> bytes:
    """What the set's signing key signs for who is to have the other keys."""
    return _SPEAKS + hashlib.sha256(token.encode()).digest() + hashlib.sha256(public).digest() + binding


# The member that is joined by.


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The sealing key that the keys are wanted for, the signature for it, and the binding of the connection."""

    public: bytes
    signature: bytes
    binding: bytes


def handed_keys(layout: Layout, audit: AuditSink, caller: Caller, token: str, request: KeyRequest) -> dict[str, bytes]:
    """The keys of the set that are in files here, sealed; `token` was found good.

    Raises: ConfigError when the default signer's key is a file, too; BadInput when it has not signed; SigningError.
    """
    settings = read_settings(layout)
    password = read_passwords(layout.password_conf).get(INTERNAL)
    places = [one for one in system_certificates(settings) if one.certificate is not None]
    shared = {one.name: one for one in places if one.name not in NOT_BACKED_UP}
    keys = {name: read_key(one.files.key_file, password) for name, one in shared.items()}
    default = keys.get(settings.default_signer)
    if not isinstance(default, TokenKey):
        raise ConfigError(
            f"the signing key of this set is a file: {settings.default_signer or 'no signer is named'}",
            hint="carry the PKCS #12 file to the clone: vouchd clone prepare --out FILE",
        )
    if not request.binding:
        raise BadInput("this connection has no channel binding")
    certificate = shared[settings.default_signer].der or b""
    require_signed(certificate, request.signature, to_be_signed(token, request.public, request.binding))
    sealed = {
        name: seal(key, request.public, name.encode()) for name, key in keys.items() if not isinstance(key, TokenKey)
    }
    audit.record("PRIVATE_KEY_EXPORT", caller, "success", certificates=",".join(sealed), file="sealed to a clone")
    return sealed


# The clone.


class TokenKeys:
    """The keys of the set as a host has them that reaches its token; `info` is the set, `place` the token here."""

    def __init__(self, info: SetInfo, place: TokenPlace) -> None:
        self._info = info
        self._place = place
        self._sealing = SealingKey()

    @property
    def public(self) -> bytes:
        """The key that the others are to be sealed to."""
        return self._sealing.public

    def on_token(self) -> dict[str, PrivateKey]:
        """By name the keys that the token has, each proved by a signature. Raises: TokenUnavailable; SigningError."""
        session, tokens, keys = Launcher(self._place).open(OPEN_SECONDS), Tokens(), {}
        for name, der in self._info.certificates.items():
            public_key = x509.load_der_x509_certificate(der).public_key()
            if name in FIXED or not isinstance(public_key, PublicKey):  # TLS takes its keys from files
                continue
            public_der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            try:
                session.find(public_der, time.monotonic() + OPEN_SECONDS)
            except NotFound:
                continue
            keys[name] = checked_key(tokens.key(KeyReference(public_key, name, (self._place,))), name)
        return keys

    def sign(self, key: PrivateKey, nickname: str, token: str, binding: bytes) -> bytes:
        """The signature by the set's signing key that opens the others. Raises: SigningError."""
        signer = SoftwareSigner(nickname, key, self._info.certificates[nickname])
        return signer.sign(to_be_signed(token, self.public, binding), algorithms_for(key.public_key())[0])

    def opened(self, on_token: Mapping[str, PrivateKey], sealed: Mapping[str, bytes], *, whole: bool = True) -> KeyFile:
        """All keys of the set with their certificates, as a PKCS #12 file has them.

        Raises: SigningError, unless it need not be `whole`, when one is missing.
        """
        keys = {name: self._sealing.open(one, name.encode()) for name, one in sealed.items()} | dict(on_token)
        bags = [
            KeyBag(keys[name], x509.load_der_x509_certificate(der), self._chain(name), name)
            for name, der in self._info.certificates.items()
            if name in keys
        ]
        missing = sorted(set(self._info.certificates) - set(keys))
        if missing and whole:
            raise SigningError(
                f"the token {self._place.label} does not have the key of {', '.join(missing)}",
                hint="is it the token of the set? See there: vouchd token list",
            )
        return KeyFile(Path(self._place.name), tuple(bags), ())

    def _chain(self, name: str) -> tuple[x509.Certificate, ...]:
        return tuple(map(x509.load_der_x509_certificate, self._info.chains.get(name, ())))
