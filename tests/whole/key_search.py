"""Looking for a private key in files and on the wire: in every form that one is written in, in clear or in base64."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.keys import PrivateKey, read_key

_NEEDLE_BYTES = 24  # of a secret: more would miss one that is cut, as a value of a directory entry is
_WHOLE_BYTES = 66  # up to which all of it is looked for: a scalar of any curve
# What a file has of zeros beyond these, as most of a database's log is, can be part of no secret.
_LEFT_BYTES = 4 * _WHOLE_BYTES
_EMPTY = re.compile(rb"\0{%d,}" % _LEFT_BYTES)


def needles(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> dict[str, bytes]:
    """What is looked for, by name: secret octets, and every base64 that they can stand in."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        secrets = {"scalar": key.private_numbers().private_value.to_bytes(size)}
    else:
        numbers = key.private_numbers()
        secrets = {name: getattr(numbers, name).to_bytes(key.key_size // 8).lstrip(b"\0") for name in ("d", "p", "q")}
    secrets["PKCS #8"] = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return forms(secrets)


def forms(secrets: Mapping[str, bytes]) -> dict[str, bytes]:
    """The octets as they are, and as text; the middle of those that are long."""
    needles = {}
    for name, secret in secrets.items():
        middle = (
            secret[len(secret) // 2 - _NEEDLE_BYTES // 2 :][:_NEEDLE_BYTES] if len(secret) > _WHOLE_BYTES else secret
        )
        needles |= {
            name: middle,
            f"{name} in hex": middle.hex().encode(),
            f"{name} in HEX": middle.hex().upper().encode(),
        }
        for shift in range(3):  # base64 of octets depends on where they begin among others
            text = base64.b64encode(bytes(shift) + middle)[4 if shift else 0 :]
            needles[f"{name} in base64, {shift}"] = text[:24]
    return needles


def places_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *folders: Path) -> list[str]:
    """Every file below the folders that has the key in it, with the form that it is there in."""
    return places_in(key, files(*folders))


def places_in(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, contents: Iterable[tuple[object, bytes]]
) -> list[str]:
    """The names of those of the contents that have the key in them, each with the form that it is there in."""
    return places(needles(key), contents)


def places(wanted: Mapping[str, bytes], contents: Iterable[tuple[object, bytes]]) -> list[str]:
    """Where any of these octets are, with what they are called."""
    hits = []
    for name, whole in contents:
        data = _EMPTY.sub(bytes(_LEFT_BYTES), whole)
        lines = data.replace(b"\n", b"").replace(b"\r", b"")  # base64 in lines
        hits += [f"{name}: {form}" for form, needle in wanted.items() if needle in data or needle in lines]
    return hits


def keys_in(layout: Layout) -> dict[str, PrivateKey]:
    """All private keys of a member that its own password opens, by file."""
    password = read_passwords(layout.password_conf)[INTERNAL]
    return {path.name: read_key(path, password) for path in layout.alias.glob("*.key")}


def files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below the folders with what is in it."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()
