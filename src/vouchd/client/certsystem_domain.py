"""A security domain that a Certificate System's CA hosts, called as its own subsystems call it when they are set up.

Read by anybody; to change it one logs in with a user and a password, fetches an installation token, and shows that. The
server is verified, by a CA or by the fingerprint of its certificate; answers are bounded and taken for what they say,
never run or followed.
"""

from __future__ import annotations

import base64
import html
import http.client
import json
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from vouchd.client.fingerprints import ComparedConnection, fingerprint_of, untraced
from vouchd.client.transport import https_parts
from vouchd.errors import ClientError, PermissionDenied
from vouchd.signing.certificates import trusting

_SECONDS = 60.0
_MAX_BYTES = 1 << 20
_STATUS = re.compile(r"<Status>(\d{1,4})</Status>")
_ERROR = re.compile(r"<Error>(.{0,1000}?)</Error>", re.DOTALL)
_CERTIFICATE = re.compile(r"<Cert>([A-Za-z0-9+/=\s]{1,20000})</Cert>")
OCSP = "OCSP"  # the kind of subsystem that an OCSP manager is
_LIST = "OCSPList"
_RESOLVING = "the name must be one that the CA's host can resolve; its debug log says more"


@dataclass(frozen=True, slots=True)
class DomainHost:
    """One subsystem of a domain."""

    kind: str
    host: str
    secure_port: int
    clone: bool
    name: str


@dataclass(frozen=True, slots=True)
class CertificateSystemDomain:
    """The domain that the CA at `url` hosts (https://HOST:PORT); `password` is that of an administrator of it.

    With a `fingerprint` (SHA-256 of the certificate of that port) the CA is known by that, and traced to no root.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    trust_file: Path | None = None
    fingerprint: str = ""

    def hosts(self) -> tuple[str, tuple[DomainHost, ...]]:
        """The name of the domain, and who is in it. Raises: ClientError."""
        with closing(self._connection()) as connection:
            said = self._json(connection, "/ca/rest/securityDomain/domainInfo")
        try:
            hosts = tuple(
                DomainHost(
                    str(kind["id"]),
                    str(host["Hostname"]),
                    int(host["SecurePort"]),
                    str(host["Clone"]).lower() == "true",
                    str(host["SubsystemName"]),
                )
                for kind in said.get("Subsystem", [])
                for host in kind.get("Host", [])
            )
            return str(said["id"]), hosts
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ClientError(f"{self.url}: what it tells is no security domain") from error

    def log_in(self) -> None:
        """See that the CA knows the user, and change nothing. Raises: ClientError, PermissionDenied."""
        with closing(self._connection()) as connection:
            self._account(connection)

    def admit(self, host: str) -> None:
        """See that the user may enter that host, and change nothing. Raises: ClientError, PermissionDenied."""
        self._token(host)

    def register(self, name: str, host: str, port: int, agent_port: int, *, clone: bool = False) -> None:
        """Enter an OCSP manager, its plain and its agent port. Raises: ClientError, PermissionDenied."""
        is_clone = "true" if clone else "false"
        self._change({"name": name, "httpport": str(port), "dm": "false", "clone": is_clone}, host, agent_port)

    def remove(self, name: str, host: str, agent_port: int) -> None:
        """Take it out again. Raises: ClientError, PermissionDenied."""
        self._change({"name": name, "operation": "remove"}, host, agent_port)

    def add_publisher(self, host: str, agent_port: int, certificate_der: bytes) -> None:
        """Have the CA publish its CRLs there, from its next start on. Raises: ClientError, PermissionDenied.

        `certificate_der` is the subsystem certificate there, which the CA registers as a user of its own.
        """
        form = {
            "ocsp_host": host,
            "ocsp_port": str(agent_port),
            "subsystemCert": base64.b64encode(certificate_der).decode(),
            "sessionID": self._token(host),
        }
        self._post("/ca/ee/ca/updateOCSPConfig", form)

    def publishing_certificate(self) -> bytes:
        """The certificate (DER) that the CA publishes with. Raises: ClientError."""
        with closing(self._connection()) as connection:
            text = self._send(connection, "GET", "/ca/admin/ca/getSubsystemCert")
        match = _CERTIFICATE.search(text)
        if match is None:
            raise ClientError(f"{self.url} does not tell its subsystem certificate")
        return base64.b64decode(match[1])

    def _change(self, more: Mapping[str, str], host: str, agent_port: int) -> None:
        ports = ("sport", "agentsport", "adminsport", "eeclientauthsport")
        form = {"sessionID": self._token(host), "list": _LIST, "type": OCSP, "host": host}
        self._post("/ca/admin/ca/updateDomainXML", {**form, **dict.fromkeys(ports, str(agent_port)), **more})

    def _token(self, host: str) -> str:
        """An installation token for a host, which the CA must be able to resolve."""
        with closing(self._connection()) as connection:
            headers = self._account(connection)
            query = urlencode({"hostname": host, "subsystem": OCSP})
            try:
                said = self._json(connection, f"/ca/rest/securityDomain/installToken?{query}", headers)
            except ClientError as error:
                raise ClientError(f"{error}, asked for {host}", hint=error.hint or _RESOLVING) from error
        token = said.get("token")
        if not isinstance(token, str) or not token:
            raise ClientError(f"{self.url} gives no installation token for {host}", hint=_RESOLVING)
        return token

    def _account(self, connection: http.client.HTTPSConnection) -> dict[str, str]:
        """The headers that say who asks, once the CA has taken them for right."""
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        self._json(connection, "/ca/rest/account/login", headers)
        return headers

    def _post(self, path: str, form: Mapping[str, str]) -> None:
        with closing(self._connection()) as connection:
            text = self._send(
                connection, "POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
            )
        status = _STATUS.search(text)
        if status is None or status[1] != "0":
            error = _ERROR.search(text)
            raise ClientError(f"{self.url}{path}: {html.unescape(error[1]) if error else 'refused'}")

    def _json(
        self, connection: http.client.HTTPSConnection, path: str, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        text = self._send(connection, "GET", path, None, {"Accept": "application/json", **(headers or {})})
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ClientError(f"{self.url}{path}: not JSON", hint="is this the secure port of a CA?") from error
        return value if isinstance(value, dict) else {}

    def _send(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            data = response.read(_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"cannot ask {self.url}: {error}", hint="its secure port, https://HOST:8443?") from error
        if len(data) > _MAX_BYTES:
            raise ClientError(f"{self.url}{path}: an answer of more than {_MAX_BYTES} bytes")
        text = data.decode("utf-8", "replace")
        if response.status in {401, 403}:
            raise PermissionDenied(
                f"{self.url} does not let {self.user or 'anybody'} in",
                hint="a user of the group Enterprise OCSP Administrators there, and its password",
            )
        if response.status != 200 and method == "GET":
            raise ClientError(f"{self.url}{path.partition('?')[0]}: HTTP {response.status}{_message(text)}")
        return text

    def _connection(self) -> http.client.HTTPSConnection:
        parts = https_parts(self.url)
        if parts is None or parts.path not in {"", "/"}:
            raise ClientError(f"not the URL of a CA's secure port: {self.url}", hint="https://HOST:8443")
        host, port = parts.hostname or "", parts.port or 443
        if self.fingerprint:
            known = fingerprint_of(self.fingerprint, "of the certificate that the CA's secure port shows")
            return ComparedConnection(host, port, known, untraced(), _SECONDS)
        context = trusting(self.trust_file)
        return http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context)


def _message(text: str) -> str:
    try:
        return f": {json.loads(text)['Message']}"
    except (ValueError, KeyError, TypeError):
        return ""
