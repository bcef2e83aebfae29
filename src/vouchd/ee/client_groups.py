"""Which clients share one turn: those of one network, as their address tells, or the trusted proxy in front of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from vouchd.audit.answer_records import VIA

Network = IPv4Network | IPv6Network

MAX_HOPS = 8  # of X-Forwarded-For that are looked at, the nearest first
_HASH_OCTETS = 6


def is_allowed(address: str, networks: Sequence[Network]) -> bool:
    """Whether somebody of that address may ask; everybody may where no networks are set."""
    client = _parsed(address)
    return not networks or (client is not None and any(client in network for network in networks))


class ClientGroups:
    """Groups by the leading bits of an address; `proxies` are believed what they say of whom they ask for."""

    def __init__(self, ipv4_bits: int, ipv6_bits: int, proxies: Sequence[Network] = (), salt: bytes = b"") -> None:
        self._shift = {4: 32 - ipv4_bits, 6: 128 - ipv6_bits}
        self._proxies = tuple(proxies)
        self._salt = salt

    def is_proxy(self, address: str) -> bool:
        """Whether clients are told apart by what this peer says of them."""
        parsed = _parsed(address)
        return parsed is not None and self._trusts(parsed)

    def of(self, address: str, forwarded_for: bytes | None = None) -> str:
        """The group of who asks from `address`; `forwarded_for` is believed as far as trusted proxies wrote it."""
        client = self._client(address, forwarded_for)
        if client is None:  # no Internet socket: all of these are one
            return ""
        return f"{client.version}:{int(client) >> self._shift[client.version]:x}"

    def named(self, address: str, forwarded_for: bytes | None) -> str:
        """The address of who asks; where a trusted proxy asks for it, with the proxy's: `CLIENT via PROXY`."""
        client, proxy = self._client(address, forwarded_for), _parsed(address)
        return address if client is None or client == proxy else f"{client}{VIA}{proxy}"

    def _client(self, address: str, forwarded_for: bytes | None) -> IPv4Address | IPv6Address | None:
        client = _parsed(address)
        if client is None:
            return None
        hops = forwarded_for.rsplit(b",", MAX_HOPS) if forwarded_for else []
        for hop in reversed(hops[-MAX_HOPS:]):
            if not self._trusts(client):
                break
            named = _parsed(hop.strip().decode("latin-1"))
            if named is None:
                break
            client = named
        return client

    def hashed(self, group: str) -> str:
        """What stands for the group where its clients must not be named."""
        return hashlib.blake2b(group.encode(), key=self._salt, digest_size=_HASH_OCTETS).hexdigest()

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address, IPv4 also where it comes in IPv6's clothes."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
