"""Host names of directory servers: the other servers of a set reach one by its name, which must mean it alone."""

from __future__ import annotations

import ipaddress
import re
import socket

from vouchd.errors import ConfigError

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_MAX_NAME = 253
_HINT = "give the fully qualified name under which the other servers of the set reach it, as `hostname -f` prints it"


def qualified(host: str) -> str:
    """`host` in lower case, when it is a fully qualified name that does not mean every host's own self.

    Raises: ConfigError for an address, an unqualified name or a name of the loopback interface: with such a name the
    other servers would replicate with themselves, or with nobody, for ever.
    """
    name = host.rstrip(".").lower()
    if not name or len(name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ConfigError(f"{host[:80]!r} is not a host name", hint=_HINT)
    if _is_address(name):
        raise ConfigError(f"{name} is an address, not the name of a host", hint=_HINT)
    labels = name.split(".")
    if labels[0] == "localhost" or labels[-1] in {"localhost", "localdomain"}:
        raise ConfigError(f"{name} is the loopback interface, which is another host on every host", hint=_HINT)
    if len(labels) == 1:
        raise ConfigError(f"{name} is not fully qualified", hint=_HINT)
    return name


def addresses(host: str) -> tuple[str, ...]:
    """What `host` resolves to here, sorted. Raises: ConfigError when it does not resolve."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{host} does not resolve on this host",
            hint="enter it in the DNS, or in /etc/hosts of each host of the set",
        ) from error
    return tuple(sorted({str(entry[4][0]) for entry in found}))


def is_loopback_only(host: str) -> bool:
    """Whether `host` resolves to loopback addresses alone here, so that it may mean another host elsewhere.

    Raises: ConfigError when it does not resolve.
    """
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses(host))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
