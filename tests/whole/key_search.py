"""Looking for a private key in files: in every form that one is written in, in clear or in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_NEEDLE_BYTES = 24  # of a secret: more would miss one that is cut, as a value of a directory entry is


def needles(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> dict[str, bytes]:
    """What is looked for, by name: secret octets, and every base64 that they can stand in."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        secrets = {"scalar": key.private_numbers().private_value.to_bytes(size)}
    else:
        numbers = key.private_numbers()
        secrets = {name: getattr(numbers, name).to_bytes(256).lstrip(b"\0") for name in ("d", "p", "q")}
    secrets["PKCS #8"] = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    found = {}
    for name, secret in secrets.items():
        middle = secret[len(secret) // 2 - _NEEDLE_BYTES // 2 :][:_NEEDLE_BYTES] if name != "scalar" else secret
        found |= {
            name: middle,
            f"{name} in hex": middle.hex().encode(),
            f"{name} in HEX": middle.hex().upper().encode(),
        }
        for shift in range(3):  # base64 of octets depends on where they begin among others
            text = base64.b64encode(bytes(shift) + middle)[4 if shift else 0 :]
            found[f"{name} in base64, {shift}"] = text[:24]
    return found


def places_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *folders: Path) -> list[str]:
    """Every file below the folders that has the key in it, with the form that it is there in."""
    wanted = needles(key)
    return [f"{path}: {name}" for path, data in _files(*folders) for name, needle in wanted.items() if needle in data]


def _files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                yield path, data
                yield path, data.replace(b"\n", b"").replace(b"\r", b"")  # base64 in lines
