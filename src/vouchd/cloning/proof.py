"""How a member proves who it is: by its own key, the one of its TLS server certificate, which the registry pins.

All members come to each other's agent ports with the subsystem certificate, whose key they share: it says *of this
set* and no more, and whoever has once had the set's PKCS #12 has it. So each request of a member carries a second
proof, in the header `Vouchd-Member`: the certificate of its TLS server and a signature by that key.

What is signed is the channel binding of the connection (RFC 5929 `tls-unique`: the client's Finished message). Both
ends know it once the handshake is done, it covers the whole handshake with both certificates, and no two connections
have the same. So a proof is good on the connection that it was made for and nowhere else: a member that was sent one
cannot use it at another member, and there is no clock to agree on and no challenge to wait for. A request needs no
signature of its own, since nobody else can write into the connection.

The receiver takes the certificate's SHA-256 for who it is: the member of the registry that has it, or, when it joins,
the one that is to be registered. Nothing else that the caller says of itself counts. A member that was taken out is
in no registry, so its key proves nothing any more, and the keys of the set alone never did.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.errors import BadInput, SigningError
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for, verify
from vouchd.settings.tcp_ports import KeyFiles
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import read_key
from vouchd.signing.software import SoftwareSigner

HEADER = "Vouchd-Member"
BINDING = "tls-unique"
_SPEAKS = b"vouchd member proof 1\0"
_LONGEST = 1 << 14


@dataclass(frozen=True, slots=True)
class MemberKey:
    """The own key of a member."""

    signer: SoftwareSigner

    @classmethod
    def load(cls, files: KeyFiles, password: str | None) -> MemberKey:
        """The key in these files. Raises: SigningError."""
        certificate = read_certificates(files.certificate_file)[0].public_bytes(Encoding.DER)
        return cls(SoftwareSigner("member", read_key(files.key_file, password), certificate))

    @property
    def sha256(self) -> str:
        """By which the registry pins it: hex SHA-256 of the certificate."""
        return hashlib.sha256(self.signer.certificate_der).hexdigest()

    def proof(self, binding: bytes) -> str:
        """The value of the header on the connection with that channel binding. Raises: SigningError."""
        signature = self.sign(_SPEAKS + binding)
        return " ".join(base64.b64encode(part).decode() for part in (self.signer.certificate_der, signature))

    def sign(self, data: bytes) -> bytes:
        """Its signature over `data`, by the algorithm that goes with the key. Raises: SigningError."""
        return self.signer.sign(data, self.signer.algorithms[0])


def proven(value: str, binding: bytes) -> str:
    """SHA-256 (hex) of the certificate whose key made this proof for this connection. Raises: BadInput."""
    try:
        certificate, signature = (base64.b64decode(part, validate=True) for part in value[:_LONGEST].split(" "))
    except ValueError as error:
        raise BadInput(f"{HEADER}: not a certificate and a signature") from error
    if not binding:
        raise BadInput(f"{HEADER}: this connection has no channel binding")
    require_signed(certificate, signature, _SPEAKS + binding)
    return hashlib.sha256(certificate).hexdigest()


def require_signed(certificate_der: bytes, signature: bytes, data: bytes) -> None:
    """Return when the key of the certificate made the signature over `data`. Raises: BadInput."""
    try:
        key = load_certificate(certificate_der).public_key()
        verify(key, ALGORITHMS[algorithms_for(key)[0]].identifier_der, signature, data)
    except (ValueError, SigningError) as error:
        raise BadInput(f"not signed by the key that it names: {error}") from error


def member_keys(alias: Path, files: KeyFiles, password: str | None) -> dict[str, MemberKey]:
    """By SHA-256 of the certificate every TLS server key that this instance has, the one in use first.

    A member whose certificate was renewed is known to the others by the one before, until it has told them.
    """
    pairs = [files, *(KeyFiles(path.with_suffix(".key"), path) for path in sorted(alias.glob("sslserver*.pem")))]
    keys: dict[str, MemberKey] = {}
    for pair in pairs:
        try:
            key = MemberKey.load(pair, password)
        except SigningError:  # a request whose certificate has not come, a key that was taken away
            continue
        keys.setdefault(key.sha256, key)
    return keys


# A renewed certificate: the keys before it say which it is.


def succession(keys: Mapping[str, MemberKey]) -> list[str]:
    """For those who pin an older certificate of this instance: that one, and its key's word for the one in use.

    `keys` are those of `member_keys`.
    """
    newest, *older = keys
    return [
        " ".join(base64.b64encode(part).decode() for part in (one.signer.certificate_der, one.sign(_follows(newest))))
        for one in (keys[sha256] for sha256 in older)
    ]


def succeeds(words: Iterable[str], pinned: str, sha256: str) -> bool:
    """Whether the key that is pinned says that the certificate with `sha256` comes after its own."""
    for word in words:
        try:
            certificate, signature = (base64.b64decode(part, validate=True) for part in word[:_LONGEST].split(" "))
            if hashlib.sha256(certificate).hexdigest() == pinned:
                require_signed(certificate, signature, _follows(sha256))
                return True
        except (ValueError, BadInput):
            continue
    return False


def _follows(sha256: str) -> bytes:
    return b"vouchd succession 1\0" + sha256.encode()
