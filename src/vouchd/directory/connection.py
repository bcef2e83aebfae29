"""Speaking LDAP with our own directory server: the one place that imports python-ldap for it, but for reading schemas.

Three transports, the certificate verified and the host name checked in the two that have TLS. What the library raises
leaves here as an error of ours: whoever calls decides by `StoreUnavailable`, `StoreConflict`, `NotFound`.
"""

from __future__ import annotations

import importlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.core.hostnames import qualified
from vouchd.directory.client_certificate import ClientIdentity, known_by
from vouchd.directory.hosts import is_here
from vouchd.directory.plan import check_suffix
from vouchd.errors import AlreadyExists, ConfigError, NotFound, StoreConflict, StoreError, StoreUnavailable
from vouchd.signing.certificates import plain_roots, trusting

# Why TLS with a directory server fails: to libldap a certificate that is not trusted is a server that is away.

_SECONDS = 3.0


def distrust(server: DirectoryServer, trust_file: Path | None) -> str:
    """What is wrong with its certificate, by a handshake on its TLS port; empty: nothing, or nobody answers there.

    `trust_file`: PEM of the CAs of the certificate; without it those of the system.
    """
    try:
        context = trusting(trust_file)
        with (
            socket.create_connection((server.host, server.port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=server.host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:  # ssl.SSLError is one: what answers there may not speak TLS at all
        return ""


# Errors of python-ldap as errors of ours; none holds the request, which may have a password in it.

_UNSAID = {"TIMEOUT": "no answer in time"}  # what the library itself ends without a word


def translated(ldap: Any, error: Exception, where: str, dn: str) -> StoreError | ConfigError:
    """The error of ours that a python-ldap error stands for; it never holds the request, which may have a password."""
    said = _reason(error)
    rows: tuple[tuple[tuple[type[Exception], ...], StoreError | ConfigError], ...] = (
        ((ldap.NO_SUCH_OBJECT,), NotFound(f"{where}: no entry {dn}")),
        ((ldap.ALREADY_EXISTS,), AlreadyExists(f"{where}: {dn} is there already")),
        (
            (ldap.NO_SUCH_ATTRIBUTE, ldap.TYPE_OR_VALUE_EXISTS),
            StoreConflict(f"{where}: {dn} was changed meanwhile", hint="another process was quicker; try again"),
        ),
        (
            (ldap.INVALID_CREDENTIALS,),
            StoreUnavailable(f"{where}: the bind was refused", hint="check the bind DN and its password"),
        ),
        (
            (ldap.INSUFFICIENT_ACCESS,),
            ConfigError(f"{where}: no right to do this to {dn}", hint="run `vouchd directory setup` again"),
        ),
        (
            (ldap.OBJECT_CLASS_VIOLATION, ldap.UNDEFINED_TYPE),
            ConfigError(
                f"{where}: {dn}: the server's schema lacks something: {said}", hint="run `vouchd directory setup`"
            ),
        ),
        ((ldap.CONNECT_ERROR,), tls_failure(where, said)),
        (_temporary(ldap), StoreUnavailable(f"{where}: {said}", hint="is the directory server running?")),
    )
    return next((ours for theirs, ours in rows if isinstance(error, theirs)), StoreError(f"{where}: {dn}: {said}"))


def tls_failure(where: str, why: str) -> StoreUnavailable:
    """The error for a server whose certificate will not do."""
    return StoreUnavailable(
        f"{where}: TLS failed: {why}", hint="check the CA file, and that the certificate has this host name"
    )


def _temporary(ldap: Any) -> tuple[type[Exception], ...]:
    return (
        ldap.SERVER_DOWN,
        ldap.TIMEOUT,
        ldap.BUSY,
        ldap.UNAVAILABLE,
        ldap.UNWILLING_TO_PERFORM,
        ldap.TIMELIMIT_EXCEEDED,
    )


def _reason(error: Exception) -> str:
    """What libldap says: its description and info, never the request."""
    detail = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    words = [str(detail[key]) for key in ("desc", "info") if detail.get(key)]
    return ": ".join(words) or _UNSAID.get(type(error).__name__, type(error).__name__)


TIMEOUT_SECONDS = 10.0  # to connect, and for an operation of ordinary size
LARGE_TIMEOUT_SECONDS = 120.0  # for values of a megabyte
QUICK_SECONDS = (
    5.0  # to read a small entry: who hangs must be told from who is busy before the bound of staleness has passed
)
MAX_ENTRIES = 100_000
MAX_IDLE = 8  # connections kept for the next one who asks

Attributes = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; attribute names are in lower case, without options such as `;binary`."""

    dn: str
    attributes: Attributes

    def all(self, name: str) -> tuple[bytes, ...]:
        """Every value of the attribute, in no order."""
        return tuple(self.attributes.get(name.lower(), ()))

    @property
    def is_conflict(self) -> bool:
        """Whether it lost its name to an entry that another supplier added; hidden from ordinary searches."""
        return b"ldapsubentry" in {value.lower() for value in self.all("objectClass")}

    def text(self, name: str, default: str = "") -> str:
        """The first value as text."""
        values = self.all(name)
        return values[0].decode("utf-8", "replace") if values else default


@dataclass(frozen=True, slots=True)
class Change:
    """One part of a modify operation (RFC 4511 4.6); all parts of one operation are done, or none."""

    kind: str  # add, delete, replace
    attribute: str
    values: tuple[bytes, ...] | None = None  # None, of delete: all values


@dataclass(frozen=True, slots=True)
class Credentials:
    """A simple bind, or with `identities` one by certificate; no password and no key is in a representation of it."""

    bind_dn: str
    password: str = field(default="", repr=False)
    identities: Callable[[], Sequence[ClientIdentity]] | None = field(default=None, repr=False)  # the newest first


def url_of(server: DirectoryServer) -> str:
    """LDAP URL of the server; StartTLS has the scheme of the plain port."""
    scheme = "ldaps" if server.transport is Transport.TLS else "ldap"
    return f"{scheme}://{server.host}:{server.port}"


def open_as_manager(server: DirectoryServer, credentials: Credentials, trust_file: Path | None) -> Connection:
    """A connection of the Directory Manager, whose password never crosses a network in clear.

    Raises: StoreUnavailable; ConfigError, also for a plain connection to another host.
    """
    if server.transport is Transport.PLAIN and not is_here(server.host):
        raise ConfigError(
            f"{url_of(server)}: the password of {credentials.bind_dn} would cross the network in clear",
            hint="use ldaps:// or --starttls, or run this on that host",
        )
    return Connection(server, credentials, trust_file)


class Connection:
    """One LDAP connection, bound; for one thread at a time. Raises: StoreUnavailable, ConfigError."""

    def __init__(
        self,
        server: DirectoryServer,
        credentials: Credentials,
        trust_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        operation_seconds: float = LARGE_TIMEOUT_SECONDS,
    ) -> None:
        """`trust_file`: PEM of the CAs of the server's certificate; without it those of the system.

        `timeout_seconds` are for connecting, TLS and the bind, `operation_seconds` for each operation after it.
        """
        self.ldap = library()
        self._where = url_of(server)
        self._operation_seconds = operation_seconds
        try:
            with self.translating(server.suffix):
                self._open(server, credentials, trust_file, timeout_seconds)
        except StoreUnavailable as error:
            why = distrust(server, trust_file) if server.transport is Transport.TLS else ""
            raise tls_failure(self._where, why) if why else error from error.__cause__

    def _open(
        self, server: DirectoryServer, credentials: Credentials, trust_file: Path | None, timeout_seconds: float
    ) -> None:
        if credentials.identities is None:
            self._bind(server, credentials, trust_file, timeout_seconds, None)
            return
        refused: list[ClientIdentity] = []
        for identity in credentials.identities():
            try:
                self._bind(server, credentials, trust_file, timeout_seconds, identity)
            except (self.ldap.INVALID_CREDENTIALS, self.ldap.AUTH_UNKNOWN):  # not the account's; of no CA it trusts
                refused.append(identity)
                continue
            if refused:
                self._introduce(credentials.bind_dn, (*refused, identity))
            return
        raise StoreUnavailable(
            f"{self._where}: {credentials.bind_dn} was refused with its client certificate",
            hint="the server must trust its CA and map it by certmap.conf; `vouchd directory setup` registers it",
        )

    def _bind(
        self,
        server: DirectoryServer,
        credentials: Credentials,
        trust_file: Path | None,
        timeout_seconds: float,
        identity: ClientIdentity | None,
    ) -> None:
        self.raw = _opened(self.ldap, server, trust_file, timeout_seconds, identity)
        try:
            if server.transport is Transport.STARTTLS:
                self.raw.start_tls_s()
            if identity is None:
                self.raw.simple_bind_s(credentials.bind_dn, credentials.password)
            else:
                self.raw.sasl_external_bind_s()
            self.raw.set_option(self.ldap.OPT_TIMEOUT, self._operation_seconds)
        except BaseException:
            self.close()
            raise

    def _introduce(self, dn: str, identities: Sequence[ClientIdentity]) -> None:
        """After a renewal: have the account know the new certificate. It was let in with the one before."""
        values = known_by(identity.der for identity in identities)
        with suppress(self.ldap.LDAPError):  # the one before does as long as it is valid; then the bind tells
            self.raw.modify_s(dn, [(self.ldap.MOD_REPLACE, name, list(each)) for name, each in values.items()])

    def search(
        self,
        base: str,
        *,
        scope: str = "base",
        query: str = "(objectClass=*)",
        attributes: Sequence[str] = (),
        large: bool = False,
    ) -> tuple[Entry, ...]:
        """Entries at `base` (scope base, one or sub), at most MAX_ENTRIES; `large`: one with values of a megabyte.

        Raises: NotFound when it is not there; StoreUnavailable when the server takes too long.
        """
        scopes = {"base": self.ldap.SCOPE_BASE, "one": self.ldap.SCOPE_ONELEVEL, "sub": self.ldap.SCOPE_SUBTREE}
        quick = scope == "base" and not large
        with self.translating(base):
            results = self.raw.search_ext_s(
                base,
                scopes[scope],
                query,
                list(attributes) or None,
                timeout=min(QUICK_SECONDS, self._operation_seconds) if quick else self._operation_seconds,
                sizelimit=MAX_ENTRIES,
            )
        return tuple(entry_of(dn, values) for dn, values in results if dn is not None)

    def read(self, dn: str, attributes: Sequence[str] = (), *, large: bool = False) -> Entry | None:
        """One entry, None when it is not there; `large`: with values of a megabyte."""
        with suppress(NotFound):
            return next(iter(self.search(dn, attributes=attributes, large=large)), None)
        return None

    def last_usn(self) -> int:
        """The newest update sequence number of any database of the server; rises with replicated changes too."""
        with self.translating("the root DSE"):
            [(_, attributes)] = self.raw.search_ext_s("", self.ldap.SCOPE_BASE, "(objectClass=*)", ["lastusn"])
        return sum(
            int(value) for name, values in attributes.items() if name.lower().startswith("lastusn") for value in values
        )

    def add(self, dn: str, attributes: Mapping[str, Sequence[bytes | str]]) -> None:
        """Add an entry. Raises: AlreadyExists; NotFound when its parent is not there.

        It is looked for first: an addition that fails takes the server's newest update sequence number back by one (389
        DS 2.3), and the next change has a number that another entry has already, so that it would not be noticed.
        """
        if self.read(dn, ["1.1"]) is not None:
            raise AlreadyExists(f"{self._where}: {dn} is there already")
        values = [(name, [_octets(value) for value in each]) for name, each in attributes.items() if each]
        with self.translating(dn):
            self.raw.add_s(dn, values)

    def modify(self, dn: str, changes: Sequence[Change]) -> None:
        """Change one entry, all or nothing.

        Raises: StoreConflict when a value to be deleted is not there, or one to be added is; NotFound.
        """
        kinds = {"add": self.ldap.MOD_ADD, "delete": self.ldap.MOD_DELETE, "replace": self.ldap.MOD_REPLACE}
        parts = [(kinds[one.kind], one.attribute, None if one.values is None else list(one.values)) for one in changes]
        with self.translating(dn):
            self.raw.modify_s(dn, parts)

    def delete(self, dn: str) -> None:
        """Delete a leaf entry. Raises: NotFound."""
        with self.translating(dn):
            self.raw.delete_s(dn)

    def close(self) -> None:
        """Unbind; nothing is raised."""
        with suppress(self.ldap.LDAPError):
            self.raw.unbind_s()

    @contextmanager
    def translating(self, dn: str) -> Iterator[None]:
        """What the library raises in the block, as an error of ours about `dn`."""
        try:
            yield
        except self.ldap.LDAPError as error:
            raise translated(self.ldap, error, self._where, dn) from error


class Connections:
    """Connections to one server for several threads: each takes one for a while, and none is shared."""

    def __init__(self, server: DirectoryServer, credentials: Credentials, trust_file: Path | None = None) -> None:
        self.server = server
        self._credentials = credentials
        self._trust_file = trust_file
        self._idle: list[Connection] = []
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for this thread; after StoreUnavailable the next one is made anew.

        Raises: StoreUnavailable, ConfigError.
        """
        connection = self._take()
        try:
            yield connection
        except StoreUnavailable:
            connection.close()
            self._drop_idle()  # they go to the same server, which is away
            raise
        except BaseException:
            self._give_back(connection)
            raise
        self._give_back(connection)

    def dedicated(self) -> Connection:
        """A connection of the caller's own, which closes it. Raises: StoreUnavailable, ConfigError."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return Connection(self.server, self._credentials, self._trust_file)

    def close(self) -> None:
        """Close what is idle; one that is in use is closed when it is given back."""
        self._closed = True
        self._drop_idle()

    def _take(self) -> Connection:
        while not self._closed:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if _alive(connection):
                return connection
            connection.close()
        return self.dedicated()

    def _give_back(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= MAX_IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


def escaped(value: str) -> str:
    """An attribute value as it stands in a DN (RFC 4514 2.4)."""
    return str(importlib.import_module("ldap.dn").escape_dn_chars(value))


def library() -> Any:
    """python-ldap, which is an optional extra because it needs a compiler to install. Raises: ConfigError."""
    try:
        return importlib.import_module("ldap")
    except ImportError as error:
        raise ConfigError("a directory store needs python-ldap", hint="pip install 'vouchd[ldap]'") from error


def entry_of(dn: str, values: Mapping[str, Sequence[bytes]]) -> Entry:
    """The entry that python-ldap has as `values`."""
    return Entry(dn, {name.split(";", 1)[0].lower(): tuple(each) for name, each in values.items()})


def _opened(
    ldap: Any, server: DirectoryServer, trust_file: Path | None, timeout_seconds: float, identity: ClientIdentity | None
) -> Any:
    raw = ldap.initialize(url_of(server))
    raw.set_option(ldap.OPT_PROTOCOL_VERSION, 3)
    raw.set_option(ldap.OPT_REFERRALS, 0)  # a referral would lead to a server nobody named
    raw.set_option(ldap.OPT_NETWORK_TIMEOUT, timeout_seconds)
    raw.set_option(ldap.OPT_TIMEOUT, timeout_seconds)
    if server.transport is not Transport.PLAIN:
        raw.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        if trust_file is not None:
            raw.set_option(ldap.OPT_X_TLS_CACERTFILE, plain_roots(trust_file))
        with ExitStack() as stack:
            if identity is not None:
                certificate, key = stack.enter_context(identity.files())
                raw.set_option(ldap.OPT_X_TLS_CERTFILE, certificate)
                raw.set_option(ldap.OPT_X_TLS_KEYFILE, key)
            raw.set_option(ldap.OPT_X_TLS_NEWCTX, 0)  # last: it makes the options above count
    return raw


def _alive(connection: Connection) -> bool:
    """Whether the server still answers on it; a restart of the server would cost the next operation otherwise."""
    try:
        return connection.read("", ["vendorVersion"]) is not None
    except StoreError:
        return False


def _octets(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


# Directory servers as people write them: `ldap://host:port/suffix`, or ldaps for TLS from the first octet.

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
