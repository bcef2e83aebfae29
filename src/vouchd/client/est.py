"""Having a certificate issued by EST (RFC 7030): simple enrolment and re-enrolment over HTTPS.

The server is known by its TLS certificate; the client by its own, or by HTTP basic. Answers are bounded in bytes, and
a deadline holds for each step of the connection.
"""

from __future__ import annotations

import base64
import http.client
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult

from vouchd.client.transport import https_parts
from vouchd.errors import ClientError, ConfigError, RefusedForNow

_MAX_ANSWER_BYTES = 1 << 20
_REQUEST = "application/pkcs10"
_CERTIFICATES = "application/pkcs7-mime"
_MAX_WORDS = 200


@dataclass(frozen=True, slots=True)
class ESTClient:
    """The EST server at `url`, which ends with `/.well-known/est`, or with a label of the server's below that.

    `tls` brings the client's certificate, where it has one; `basic` are user and password.
    """

    url: str
    tls: ssl.SSLContext
    timeout_seconds: float
    basic: tuple[str, str] | None = None

    def enrol(self, csr_der: bytes, *, again: bool) -> bytes:
        """DER of the PKCS #7 with the certificate for the request; `again`: it follows one of the same subject.

        Raises: RefusedForNow where the server wants to be asked later; ClientError; ConfigError.
        """
        parts = _parts(self.url)
        operation = "simplereenroll" if again else "simpleenroll"
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=self.timeout_seconds, context=self.tls
        )
        try:
            connection.request(
                "POST", f"{parts.path.rstrip('/')}/{operation}", base64.encodebytes(csr_der), self._headers()
            )
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ClientError(
                f"cannot enrol at {self.url}: {reason or type(error).__name__}",
                hint="is the URL right, and the server's CA trusted?",
            ) from error
        finally:
            connection.close()
        return self._certificates(response, body)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": _REQUEST, "Content-Transfer-Encoding": "base64", "Accept": _CERTIFICATES}
        if self.basic is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.basic).encode()).decode()
        return headers

    def _certificates(self, response: http.client.HTTPResponse, body: bytes) -> bytes:
        if response.status == http.client.ACCEPTED:  # RFC 7030 4.2.3: a person decides there
            raise RefusedForNow(f"{self.url} has not decided yet", hint="it is asked again with the same request")
        if response.status != http.client.OK:
            words = body[:_MAX_WORDS].decode("utf-8", "replace").strip()
            raise ClientError(
                f"{self.url} answered {response.status} {response.reason}: {words}",
                hint="the server decides who may enrol; its log says more",
            )
        kind = response.headers.get_content_type()
        if kind != _CERTIFICATES or len(body) > _MAX_ANSWER_BYTES:
            raise ClientError(f"{self.url} answered {kind}, {len(body)} bytes, and no certificates")
        try:
            return base64.b64decode(body)
        except ValueError as error:
            raise ClientError(f"{self.url} answered no base64") from error


def _parts(url: str) -> SplitResult:
    parts = https_parts(url)
    if parts is None:
        raise ConfigError(f"{url[:200]!r} is not the URL of an EST server", hint="https://HOST/.well-known/est")
    return parts
