"""What the host name of a directory server resolves to here."""

from __future__ import annotations

import ipaddress
import socket

from vouchd.errors import ConfigError


def addresses(host: str) -> tuple[str, ...]:
    """What `host` resolves to here, sorted. Raises: ConfigError when it does not resolve."""
    try:
        results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{host} does not resolve on this host",
            hint="enter it in the DNS, or in /etc/hosts of each host of the set",
        ) from error
    return tuple(sorted({str(entry[4][0]) for entry in results}))


def is_loopback_only(host: str) -> bool:
    """Whether `host` resolves to loopback addresses alone here, so that it may mean another host elsewhere.

    Raises: ConfigError when it does not resolve.
    """
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses(host))


def is_here(host: str) -> bool:
    """Whether every address of `host` is one of this host, so that nothing sent there crosses a network.

    Raises: ConfigError when it does not resolve.
    """
    return all(_is_own(address) for address in addresses(host))


def _is_own(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
