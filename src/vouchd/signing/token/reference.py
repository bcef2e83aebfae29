"""What stands in a key file when the key is on a token: where it is found, and its public key.

    pkcs11:token=ocsp;object=ocspSigningCert;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so
    -----BEGIN PUBLIC KEY-----

One URI (RFC 7512) for each token that holds the key, the preferred first. The key itself is found on the token by the
public key, so neither slot nor handle stands here. Without `pin-source` the PIN is that of `hardware-LABEL` in the
instance's password.conf, where the Certificate System has it; `pin-source=|COMMAND` has a command print it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from vouchd.errors import SigningError
from vouchd.files import write_new

SCHEME = b"pkcs11:"
HARDWARE = "hardware-"  # before a token's label in CS.cfg and password.conf
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

_LABEL = re.compile(r"[ -~]{1,32}")  # CK_TOKEN_INFO.label, and printable
_SAFE = "-._~:[]@!$'()*+,&/"  # of RFC 7512's characters those that need no escape in both halves
_HEADER = "# The private key is on a token (PKCS #11); this says where, and which it is by its public key.\n"


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """A token: the module that reaches it, its label, and where its PIN is.

    `pin_command` prints the PIN; without one it is `hardware-LABEL` in `passwords`, a password.conf. `pin_file` has it
    in its first line while there is no instance yet.
    """

    module: Path
    label: str
    passwords: Path
    pin_command: str = ""
    pin_file: Path | None = None

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.label) or self.label != self.label.strip() or "=" in self.label:
            raise SigningError(
                f"{self.label[:40]!r} is not the label of a token that can be named here",
                hint="at most 32 printable ASCII characters without =, and no space at either end",
            )
        if not self.module.is_absolute():
            raise SigningError(f"{self.module}: the path of a PKCS #11 module has to be absolute")

    @property
    def name(self) -> str:
        """`hardware-LABEL`, as settings and password.conf have it."""
        return f"{HARDWARE}{self.label}"

    def uri(self, key_label: str) -> str:
        """The URI of a key there."""
        path = f"token={_quoted(self.label)};object={_quoted(key_label)};type=private"
        query = f"module-path={_quoted(str(self.module))}"
        if self.pin_command:
            query += f"&pin-source={_quoted('|' + self.pin_command)}"
        return f"pkcs11:{path}?{query}"


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A key on one or several tokens, with its label there."""

    public_key: PublicKey
    label: str
    places: tuple[TokenPlace, ...]


def write_reference(path: Path, reference: KeyReference) -> None:
    """Write a new file, 0600. Raises: AlreadyExists."""
    uris = "".join(f"{place.uri(reference.label)}\n" for place in reference.places)
    pem = reference.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    write_new(path, (_HEADER + uris + pem).encode(), 0o600)


def is_reference(data: bytes) -> bool:
    """Whether a key file says where a key is, instead of holding it."""
    return SCHEME in data and any(line.startswith(SCHEME) for line in data.split(b"\n", 16)[:16])


def parse_reference(path: Path, data: bytes) -> KeyReference:
    """What `data`, the content of the key file at `path` in an instance's `alias/`, says. Raises: SigningError."""
    try:
        lines = data.decode("utf-8").splitlines()
        uris = [line.strip() for line in lines if line.startswith(SCHEME.decode())]
        public_key = load_pem_public_key("\n".join(line for line in lines if line not in uris).encode())
    except (ValueError, UnicodeDecodeError) as error:
        raise SigningError(f"{path}: says where a key is, and holds no public key in PEM") from error
    if not isinstance(public_key, PublicKey):
        raise SigningError(f"{path}: the key is of a type that cannot sign on a token")
    passwords = path.parent.parent / "password.conf"
    parsed = [_parsed(path, uri, passwords) for uri in uris]
    return KeyReference(public_key, parsed[0][1], tuple(place for place, _ in parsed))


def _parsed(path: Path, uri: str, passwords: Path) -> tuple[TokenPlace, str]:
    """The token and the label of the key there."""
    head, _, query = uri.removeprefix(SCHEME.decode()).partition("?")
    attributes = _attributes(head, ";") | _attributes(query, "&")
    for name in ("token", "module-path"):
        if not attributes.get(name):
            raise SigningError(f"{path}: the URI names no {name}", hint=f"{name}=… as in RFC 7512")
    if "pin-value" in attributes:
        raise SigningError(f"{path}: the URI holds a PIN", hint="put it into password.conf, or name a pin-source")
    source = attributes.get("pin-source", "")
    if source and not source.startswith("|"):
        raise SigningError(f"{path}: the pin-source is no command", hint="pin-source=|COMMAND, or none: password.conf")
    place = TokenPlace(Path(attributes["module-path"]), attributes["token"], passwords, source.removeprefix("|"))
    return place, attributes.get("object", "")


def _attributes(text: str, separator: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(separator) if part)
    return {name: unquote(value) for name, _, value in pairs}


def _quoted(text: str) -> str:
    return quote(text, safe=_SAFE.replace("&", ""))


def labels(places: Sequence[TokenPlace]) -> str:
    """The tokens by their names in settings, `hardware-A,hardware-B`."""
    return ",".join(place.name for place in places)
