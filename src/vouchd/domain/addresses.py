"""Names under which members reach each other: a name that means another host elsewhere is refused at once.

With `localhost` a set-up elsewhere goes on for ever: the other server would replicate with itself.
"""

from __future__ import annotations

import ipaddress
import re

from vouchd.core.facts import Member
from vouchd.errors import ConfigError

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_QUALIFIED = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_HOST = re.compile(r"[A-Za-z0-9.:_-]+")
_LONGEST = 253  # RFC 1035 2.3.4
_THIS_HOST = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def require_reachable(member: Member) -> None:
    """Return when the other members can reach the member under its names. Raises: ConfigError.

    Members with embedded stores may all be on one host and call it as they like; directory servers never may.
    """
    if member.directory is not None:
        require_qualified(member.host, "the instance")
    elif not member.host or len(member.host) > _LONGEST or not _HOST.fullmatch(member.host):
        raise ConfigError(f"{member.host[:_LONGEST]!r} is not a host name", hint="such as ocsp1.example.org")
    for port in (member.secure_port, member.ee_port, *((member.directory.port,) if member.directory else ())):
        if not 0 < port < 1 << 16:
            raise ConfigError(f"{port} is not a port that others can reach")
    if member.directory is not None:
        require_qualified(member.directory.host, "the directory server")


def require_qualified(host: str, what: str) -> None:
    """Return when `host` is a fully qualified name that means one host everywhere. Raises: ConfigError."""
    if host.lower() in _THIS_HOST or _is_address(host):
        raise ConfigError(
            f"{host!r} will not do for {what}: it means another host elsewhere, or none that a certificate names",
            hint="use the fully qualified host name, such as ocsp2.example.org",
        )
    if not _QUALIFIED.fullmatch(host) or len(host) > _LONGEST:
        raise ConfigError(
            f"{host[:_LONGEST]!r} is not a fully qualified host name", hint="such as ocsp2.example.org, for " + what
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
