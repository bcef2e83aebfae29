"""Host names in a set: members and directory servers reach each other by name, which must mean one host alone."""

from __future__ import annotations

import ipaddress
import re

from vouchd.errors import ConfigError

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_MAX_NAME = 253
_HINT = "give the fully qualified name under which the others of the set reach it, as `hostname -f` prints it"


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


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
