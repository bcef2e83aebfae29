"""Certificate requests at a Certificate System's CA, by its REST: submitted, approved as its agent, looked after.

A request waits there for an agent of the CA, unless the profile decides by itself. An agent's approval is two steps,
for what is approved is what was shown, with a nonce. The server is verified; answers are bounded.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from vouchd.client.transport import https_parts
from vouchd.errors import ClientError, ConfigError, NotFound, PermissionDenied, RefusedForNow

_MAX_BYTES = 1 << 20
_MAX_WORDS = 300
_NUMBER = re.compile(r"(?:0x)?[0-9a-f]{1,64}", re.IGNORECASE)
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class CertificateSystemRequests:
    """Those at the CA `url` (https://HOST:8443); `tls` brings a client's certificate, where it has one.

    `basic` are user and password of an agent, where one approves by password.
    """

    url: str
    tls: ssl.SSLContext
    timeout_seconds: float
    basic: tuple[str, str] | None = None

    def require_ca(self) -> None:
        """See that a CA answers there, and change nothing. Raises: ClientError, NotFound, ConfigError."""
        with closing(self._connection()) as connection:
            self._call(connection, "GET", "/ca/rest/info")

    def submit(self, csr_pem: bytes, profile: str) -> str:
        """Submit a request to a profile; its number there. Raises: ClientError, PermissionDenied, ConfigError."""
        attributes = {"cert_request_type": "pkcs10", "cert_request": csr_pem.decode("ascii")}
        entry = {
            "id": "i1",
            "ClassID": "certReqInputImpl",
            "Name": "Certificate Request Input",
            "Attribute": [{"name": name, "Value": value} for name, value in attributes.items()],
        }
        with closing(self._connection()) as connection:
            body = {"ProfileID": profile, "Renewal": False, "Input": [entry]}
            said = self._call(connection, "POST", "/ca/rest/certrequests", body)
        entries = said.get("entries")
        first = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
        number = str(first.get("requestURL") or "").rpartition("/")[2]
        if first.get("operationResult") != "success" or not _NUMBER.fullmatch(number):
            words = str(first.get("errorMessage") or "it tells no number")[:_MAX_WORDS]
            raise ClientError(
                f"{self.url} takes no request by profile {profile}: {words}",
                hint="what the profile asks of key and subject; its debug log says more",
            )
        return number

    def log_in(self) -> None:
        """See that the CA knows who approves, and change nothing. Raises: ClientError, PermissionDenied."""
        with closing(self._connection()) as connection:
            self._session(connection)

    def approve(self, number: str) -> None:
        """Approve a request as an agent of the CA. Raises: ClientError, PermissionDenied."""
        with closing(self._connection()) as connection:
            session = self._session(connection)
            path = f"/ca/rest/agent/certrequests/{number}"
            shown = self._call(connection, "GET", path, None, session)
            self._call(connection, "POST", f"{path}/approve", shown, session)

    def certificate(self, number: str) -> bytes:
        """The certificate that came of a request (PEM), the CAs above it with it.

        Raises: RefusedForNow while nobody has decided; NotFound where none will come; ClientError.
        """
        with closing(self._connection()) as connection:
            said = self._call(connection, "GET", f"/ca/rest/certrequests/{number}")
            state = str(said.get("requestStatus"))
            if state in {"rejected", "canceled"}:
                raise NotFound(f"{self.url}: an agent has {state} request {number}", hint="ask there why")
            serial = str(said.get("certId") or "")
            if state != "complete" or not _NUMBER.fullmatch(serial):
                raise RefusedForNow(
                    f"{self.url} has not decided on request {number} yet", hint="an agent of the CA approves it there"
                )
            issued = self._call(connection, "GET", f"/ca/rest/certs/{serial}")
        chain = issued.get("PKCS7CertChain") or issued.get("Encoded")
        if not isinstance(chain, str):
            raise ClientError(f"{self.url}: certificate {serial} has no octets")
        return chain.encode()

    def _session(self, connection: http.client.HTTPSConnection) -> dict[str, str]:
        headers = {}
        if self.basic is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.basic).encode()).decode()
        cookie = self._send(connection, "GET", "/ca/rest/account/login", None, headers)[1]
        return {"Cookie": cookie.split(";")[0]} if cookie else {}

    def _call(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        text, _ = self._send(connection, method, path, body, headers or {})
        try:
            value = json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise ClientError(f"{self.url}{path}: not JSON", hint="is this the secure port of a CA?") from error
        return value if isinstance(value, dict) else {}

    def _send(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[str, str]:
        """The text of an answer, and its cookie."""
        data = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": _JSON}
        try:
            connection.request(method, path, data, {"Accept": _JSON, **kind, **headers})
            response = connection.getresponse()
            answer = response.read(_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(
                f"cannot ask {self.url}: {error}", hint="its secure port, https://HOST:8443; is its CA trusted?"
            ) from error
        text = answer[:_MAX_BYTES].decode("utf-8", "replace")
        if response.status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            raise PermissionDenied(
                f"{self.url} does not let this user in: HTTP {response.status} for {path}",
                hint="who approves must be an agent of the CA (Certificate Manager Agents)",
            )
        if response.status == http.client.NOT_FOUND:
            raise NotFound(f"{self.url} has no {path}", hint="is this the secure port of a CA?")
        if response.status not in {http.client.OK, http.client.NO_CONTENT} or len(answer) > _MAX_BYTES:
            raise ClientError(f"{self.url}{path}: HTTP {response.status}{_message(text)}")
        return text, response.headers.get("Set-Cookie") or ""

    def _connection(self) -> http.client.HTTPSConnection:
        parts = https_parts(self.url)
        if parts is None or parts.path not in {"", "/"}:
            raise ConfigError(f"{self.url[:200]!r} is not the URL of a CA's secure port", hint="https://HOST:8443")
        return http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, timeout=self.timeout_seconds, context=self.tls
        )


def _message(text: str) -> str:
    try:
        return f": {str(json.loads(text)['Message'])[:_MAX_WORDS]}"
    except (ValueError, KeyError, TypeError):
        return ""
