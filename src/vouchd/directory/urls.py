"""Directory servers as people write them: `ldap://host:port/suffix`, or ldaps for TLS from the first octet."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.core.hostnames import qualified
from vouchd.directory.plan import check_suffix
from vouchd.errors import ConfigError

_PORTS = {"ldap": 389, "ldaps": 636}
_HINT = "write ldap://host.example:389/o=ocsp.example, or ldaps://…"


def server_of(url: str, *, suffix: str = "", start_tls: bool = False, replica_id: int | None = None) -> DirectoryServer:
    """The server that `url` names; `suffix` counts where the URL has none.

    Raises: ConfigError, also for a host name by which other servers could not reach it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{url[:120]!r} is not an LDAP URL", hint=_HINT) from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(f"{url[:120]!r} is not an LDAP URL of a server", hint=_HINT)
    if parts.scheme == "ldaps" and start_tls:
        raise ConfigError(f"{url}: StartTLS over ldaps makes no sense", hint="write ldap://, or leave out --starttls")
    named = unquote(parts.path.removeprefix("/"))
    if named and suffix and named != suffix:
        raise ConfigError(f"{url}: names another suffix than {suffix}", hint="give it once")
    check_suffix(named or suffix)
    plain = Transport.STARTTLS if start_tls else Transport.PLAIN
    transport = Transport.TLS if parts.scheme == "ldaps" else plain
    host = qualified(parts.hostname)
    return DirectoryServer(host, port or _PORTS[parts.scheme], transport, named or suffix, replica_id)
