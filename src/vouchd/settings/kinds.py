"""The kinds of value a setting can have: text to value and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from vouchd.service.selftests import Planned, SelfTestName

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")
_OID = re.compile(r"1\.3\.6(\.(0|[1-9][0-9]{0,9}))+")
_LONGEST_OID = 200
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_DIGESTS = {"SHA1": "SHA-1", "SHA256": "SHA-256", "SHA384": "SHA-384", "SHA512": "SHA-512"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What may stand there (for the documentation), how text is read and how a value is written.

    `read` raises ValueError that says what would have been right; `read(write(value))` is `value`.
    """

    about: str
    read: Callable[[str], object]
    write: Callable[[object], str] = str


def integer(low: int, high: int) -> Kind:
    """A decimal integer from `low` to `high`, both included."""

    def read(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"must be an integer from {low} to {high}")
        return int(text)

    return Kind(f"integer, {low} to {high}", read)


def kibibytes(low: int, high: int) -> Kind:
    """A number of bytes, written in KiB from `low` to `high`."""
    count = integer(low, high)

    def read(text: str) -> int:
        return int(str(count.read(text))) << 10

    return Kind(count.about, read, lambda value: str(int(str(value)) >> 10))


def word(words: type[StrEnum]) -> Kind:
    """One of the values of an enumeration."""

    def read(text: str) -> StrEnum:
        try:
            return words(text)
        except ValueError:
            raise ValueError("must be one of " + ", ".join(words)) from None

    return Kind(", ".join(f"`{choice}`" for choice in words), read)


def choice(*choices: str) -> Kind:
    """One of the given texts."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError("must be one of " + ", ".join(choices))
        return text

    return Kind(", ".join(f"`{text}`" for text in choices), read)


def _read_flag(text: str) -> bool:
    lowered = text.lower()
    if lowered not in {"true", "false"}:
        raise ValueError("must be true or false")
    return lowered == "true"


def _read_digests(text: str) -> frozenset[str]:
    wanted = [name.upper().replace("-", "") for name in re.split(r"[,\s]+", text) if name]
    if not set(wanted) <= _DIGESTS.keys():
        raise ValueError("must be a list of " + ", ".join(_DIGESTS.values()))
    return frozenset(_DIGESTS[name] for name in wanted)


def _read_order(text: str) -> tuple[Planned, ...]:
    planned = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, word = item.partition(":")
        if word.strip() not in {"", "critical"} or name.strip() not in set(SelfTestName):
            raise ValueError("must be a list of NAME or NAME:critical; the names are " + ", ".join(SelfTestName))
        planned.append(Planned(SelfTestName(name.strip()), critical=bool(word.strip())))
    if len({one.name for one in planned}) < len(planned):
        raise ValueError("names a self test twice")
    return tuple(planned)


def _read_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(name) for name in re.split(r"[,\s]+", text) if name)
    except ValueError:
        raise ValueError("must be a list of networks such as 192.0.2.0/28 or 2001:db8::/64, or addresses") from None


def _read_paths(text: str) -> tuple[str, ...]:
    paths = tuple(path for path in re.split(r"[,\s]+", text) if path)
    if not all(_PATH.fullmatch(path) for path in paths):
        raise ValueError("must be a list of paths such as /ca/ocsp, of letters, digits and - . _ ~ between slashes")
    return paths


def _read_addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(one for one in re.split(r"[,\s]+", text) if one)
    if not all(_ADDRESS.fullmatch(one) for one in addresses):
        raise ValueError("must be a list of mail addresses such as pki@example.org")
    return addresses


def _read_oid(text: str) -> str:
    if not _OID.fullmatch(text) or len(text) > _LONGEST_OID:
        raise ValueError("must be an object identifier such as 1.3.6.1.4.1.8072.9999.9999")
    return text


INTERNAL_TOKENS = ("", "internal", "Internal Key Storage Token")
HARDWARE = "hardware-"


def _read_token(text: str) -> str:
    if text not in INTERNAL_TOKENS and not text.startswith(HARDWARE):
        raise ValueError(f"must be internal, or {HARDWARE}LABEL")
    return text


def _write_order(value: object) -> str:
    planned = value if isinstance(value, tuple) else ()
    return ", ".join(f"{one.name}:critical" if one.critical else str(one.name) for one in planned)


SELFTESTS = Kind("list of self tests, each `NAME` or `NAME:critical`", _read_order, _write_order)
FLAG = Kind("`true` or `false`", _read_flag, lambda value: "true" if value else "false")
TEXT = Kind("text", str)
TOKEN = Kind("`internal`, or `hardware-LABEL`", _read_token)
FILE = Kind("file, relative to the instance's folder", str)
DIGESTS = Kind(
    "list of " + ", ".join(f"`{name}`" for name in _DIGESTS.values()),
    _read_digests,
    lambda value: ",".join(sorted(value)) if isinstance(value, frozenset) else "",
)
NETWORKS = Kind(
    "list of networks and addresses",
    _read_networks,
    lambda value: ",".join(map(str, value)) if isinstance(value, tuple) else "",
)
PATHS = Kind("list of paths", _read_paths, lambda value: ",".join(value) if isinstance(value, tuple) else "")
ADDRESSES = Kind(
    "list of mail addresses",
    _read_addresses,
    lambda value: ",".join(value) if isinstance(value, tuple) else "",
)
OID = Kind("object identifier", _read_oid)
PORT = integer(0, 65535)
ANYTHING = Kind("anything", str)  # of a key without effect
