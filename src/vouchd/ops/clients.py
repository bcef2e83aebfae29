"""How an OCSP client's address is shown in the audit log."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable

from vouchd.core.policy import ClientAddress

_HASH_CHARACTERS = 16


def address_shown(policy: ClientAddress) -> Callable[[str], str]:
    """What is recorded of an address under `policy`; hashes are comparable until the process ends, and not after."""
    if policy is ClientAddress.FULL:
        return str
    if policy is ClientAddress.TRUNCATED:
        return _truncated
    if policy is ClientAddress.NONE:
        return lambda _: "-"
    key = secrets.token_bytes(32)
    return lambda address: hmac.new(key, address.encode(), hashlib.sha256).hexdigest()[:_HASH_CHARACTERS]


def _truncated(address: str) -> str:
    """The network of an address: IPv4 /24, IPv6 /48; one that is mapped into IPv6 is IPv4."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "-"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 48), strict=False))
