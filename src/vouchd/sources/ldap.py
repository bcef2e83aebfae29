"""CRLs in a directory, named by an LDAP URL (RFC 4516): `ldap://host/dn?attributes?scope?filter`.

Needs python-ldap (the extra `ldap`). Without attributes in the URL the three of RFC 4523 section 2 are read. StartTLS
is asked for by a setting or by the URL extension 1.3.6.1.4.1.1466.20037.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vouchd.errors import ConfigError, SourceError
from vouchd.service.pulling import Fetched, Validator
from vouchd.signing.certificates import plain_roots
from vouchd.sources.attempt import Deadline, look_up

if TYPE_CHECKING:  # it brings an LDAP library along, which most instances start without
    from vouchd.directory.client_certificate import ClientIdentity

# A base CRL before the delta CRL that needs it.
CRL_ATTRIBUTES = ("certificateRevocationList", "authorityRevocationList", "deltaRevocationList")
Results = list[tuple[str | None, Any]]
_START_TLS = "1.3.6.1.4.1.1466.20037"
_MAX_ENTRIES = 1000


class LDAPSource:
    """Reads the CRL attributes of the entries that one URL names; every value is one CRL.

    LDAP sends a value in one piece: `max_bytes` refuses a larger one after it has come.
    """

    poll_seconds: int | None = None

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: int,
        max_bytes: int,
        trust_file: Path | None = None,
        bind_dn: str = "",
        password: str = "",
        start_tls: bool = False,
        certificate_attribute: str = "",
        identity: Callable[[], ClientIdentity] | None = None,
    ) -> None:
        """Without `bind_dn` the bind is anonymous; with `certificate_attribute` CAs are delivered, too.

        With an `identity`, asked at each attempt, it is by that certificate in TLS. Raises: ConfigError.
        """
        self._ldap, ldapurl = _library()
        try:
            parsed = ldapurl.LDAPUrl(url)
        except ValueError as error:
            raise ConfigError(f"{url}: not an LDAP URL: {error}") from error
        if parsed.urlscheme not in {"ldap", "ldaps"} or not parsed.hostport:
            raise ConfigError(f"{url}: not an LDAP URL with a host", hint="write ldap://host/dn?attribute")
        extensions = parsed.extensions or {}
        self._url = f"{parsed.urlscheme}://{parsed.hostport}/{parsed.dn}"
        self._server = f"{parsed.urlscheme}://{parsed.hostport}"
        address = urlsplit(f"//{parsed.hostport}")
        self.host, self._port = address.hostname or "", address.port or (636 if parsed.urlscheme == "ldaps" else 389)
        self._dn = parsed.dn
        self._attributes = tuple(map(_plain, parsed.attrs or CRL_ATTRIBUTES))
        self._certificate_attribute = _plain(certificate_attribute)
        self._scope = parsed.scope if parsed.scope is not None else self._ldap.SCOPE_BASE
        self._filter = parsed.filterstr or "(objectClass=*)"
        self._start_tls = start_tls or _START_TLS in extensions
        if self._start_tls and parsed.urlscheme == "ldaps":
            raise ConfigError(f"{self._url}: StartTLS over ldaps makes no sense", hint="write ldap://")
        if identity is not None and parsed.urlscheme != "ldaps" and not self._start_tls:
            raise ConfigError(
                f"{self._url}: a client certificate is shown in TLS, which is off",
                hint=f"write ldaps://, or have the URL ask for StartTLS: ????{_START_TLS}",
            )
        self._identity = identity
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._trust_file = trust_file
        self._bind_dn = bind_dn
        self._password = password

    def fetch(self, previous: Validator) -> Fetched | None:
        """The CRLs, None when they are the same as before. Raises: SourceError."""
        deadline = Deadline(self._url, self._timeout_seconds)
        try:
            look_up(self.host, self._port, deadline)  # libldap's own look-up, which follows, has no time limit
            results = self._search(deadline)
        except (self._ldap.LDAPError, OSError) as error:
            deadline.left()
            reason = _reason(error) if isinstance(error, self._ldap.LDAPError) else error.strerror or error
            raise SourceError(f"{self._url}: {reason}") from error
        documents, problem = self._documents(results)
        certificates = tuple(_values(results, self._certificate_attribute)) if self._certificate_attribute else ()
        whole = b"".join(hashlib.sha256(value).digest() for value in (*certificates, *documents))
        mark = hashlib.sha256(whole + problem.encode()).hexdigest()
        return None if mark == previous.etag else Fetched(documents, Validator(etag=mark), certificates, problem)

    def _search(self, deadline: Deadline) -> Results:
        """The entries. At the deadline the connection is cut: TLS and a search that drips know no other end."""
        connection = self._prepared()
        cut = threading.Timer(deadline.left(), _cut, [connection])
        cut.start()
        try:
            if self._start_tls:
                connection.start_tls_s()
            if self._identity is not None:
                connection.sasl_non_interactive_bind_s("EXTERNAL")
            else:
                connection.simple_bind_s(self._bind_dn, self._password)
            return connection.search_ext_s(  # type: ignore[no-any-return]
                self._dn,
                self._scope,
                self._filter,
                list(_spellings((*self._attributes, self._certificate_attribute))),
                timeout=self._timeout_seconds,
                sizelimit=_MAX_ENTRIES,
            )
        finally:
            cut.cancel()
            cut.join()
            connection.unbind_s()

    def _prepared(self) -> Any:
        ldap = self._ldap
        connection = ldap.initialize(self._server)
        connection.set_option(ldap.OPT_PROTOCOL_VERSION, 3)
        connection.set_option(ldap.OPT_REFERRALS, 0)  # a referral would lead to a server nobody named
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, float(self._timeout_seconds))
        connection.set_option(ldap.OPT_TIMEOUT, float(self._timeout_seconds))
        if self._start_tls or self._server.startswith("ldaps:"):
            connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
            if self._trust_file is not None:
                connection.set_option(ldap.OPT_X_TLS_CACERTFILE, plain_roots(self._trust_file))
            with ExitStack() as stack:
                if self._identity is not None:
                    certificate, key = stack.enter_context(self._identity().files())
                    connection.set_option(ldap.OPT_X_TLS_CERTFILE, certificate)
                    connection.set_option(ldap.OPT_X_TLS_KEYFILE, key)
                connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)  # last: it makes the options above count
        return connection

    def _documents(self, results: Results) -> tuple[tuple[bytes, ...], str]:
        """All values, base CRLs first, else in the order of the entries' names, no value twice; and what was left out.

        Raises: SourceError where there is none.
        """
        values = dict.fromkeys(value for wanted in self._attributes for value in _values(results, wanted))
        if not values:
            raise SourceError(f"{self._url}: no {' or '.join(self._attributes)} there")
        fitting = tuple(value for value in values if len(value) <= self._max_bytes)
        problem = f"{self._url}: longer than the limit of {self._max_bytes} bytes"
        if not fitting:
            raise SourceError(problem)
        return fitting, problem if len(fitting) < len(values) else ""


def _values(results: Results, wanted: str) -> Iterator[bytes]:
    """The values of an attribute, with any option or none, in the order of the entries' names.

    A Certificate System has entries whose attributes stand there empty, for others to be filled in.
    """
    entries = sorted((dn, attributes) for dn, attributes in results if dn is not None)  # None: a referral
    for _, attributes in entries:
        for name, contents in attributes.items():
            if _plain(name) == wanted:
                yield from (content for content in contents if content.strip())


def _cut(connection: Any) -> None:
    """End what is under way on a connection, from another thread: its socket is shut down, not closed."""
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def _library() -> tuple[Any, Any]:
    """python-ldap, which is an optional extra because it needs a compiler to install."""
    try:
        return importlib.import_module("ldap"), importlib.import_module("ldapurl")
    except ImportError as error:
        raise ConfigError("a CRL source of kind ldap needs python-ldap", hint="pip install 'vouchd[ldap]'") from error


def _spellings(attributes: Iterable[str]) -> Iterator[str]:
    """What to ask for: RFC 4523 section 2 has certificates and CRLs with `;binary`, a Certificate System has not."""
    for attribute in filter(None, attributes):
        yield from (attribute, f"{attribute};binary")


def _plain(attribute: str) -> str:
    return attribute.split(";", 1)[0].lower()


def _reason(error: Exception) -> str:
    """What libldap says: its description and info, never the request."""
    detail = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    words = [str(detail[key]) for key in ("desc", "info") if detail.get(key)]
    return ": ".join(words) or type(error).__name__
