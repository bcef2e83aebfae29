"""Names under which members reach each other: a name that means another host elsewhere is refused at once.

With `localhost` a set-up elsewhere goes on for ever: the other server would replicate with itself.
"""

from __future__ import annotations

import re

from vouchd.core.facts import Member
from vouchd.core.hostnames import qualified
from vouchd.errors import ConfigError

_HOST = re.compile(r"[A-Za-z0-9.:_-]+")
_LONGEST = 253  # RFC 1035 2.3.4


def require_reachable(member: Member) -> None:
    """Return when the other members can reach the member under its names. Raises: ConfigError.

    Members with embedded stores may all be on one host and call it as they like; directory servers never may.
    """
    if member.directory is not None:
        _require_qualified(member.host)
    elif not member.host or len(member.host) > _LONGEST or not _HOST.fullmatch(member.host):
        raise ConfigError(f"{member.host[:_LONGEST]!r} is not a host name", hint="such as ocsp1.example.org")
    for port in (member.secure_port, member.ee_port, *((member.directory.port,) if member.directory else ())):
        if not 0 < port < 1 << 16:
            raise ConfigError(f"{port} is not a port that others can reach")
    if member.directory is not None:
        _require_qualified(member.directory.host)


def _require_qualified(host: str) -> None:
    if qualified(host) != host.lower():  # members are told apart by their names as they are written
        raise ConfigError(f"{host[:_LONGEST]} ends with a dot", hint="leave it out")
