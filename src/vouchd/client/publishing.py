"""Publishing a CRL to a responder's agent port as a CA of the Certificate System does it (its OCSPPublisher).

Any responder that takes those takes ours: the form fields `crl` and `noui`, a line with `status=` in the answer.
"""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from struct import Struct
from urllib.parse import SplitResult, quote_plus

from vouchd.client.admin import TIMEOUT_SECONDS, await_answer, client_tls
from vouchd.client.transport import https_parts
from vouchd.errors import ClientError, ConfigError, CRLRejected, CRLStale, RefusedForNow
from vouchd.pkix.der import Buffer

PATH = "/ocsp/agent/ocsp/addCRL"
FORM = "application/x-www-form-urlencoded"
MAX_ANSWER_BYTES = 1 << 16

_MARKER = "CERTIFICATE REVOCATION LIST-----"  # the Certificate System's own, not that of PEM
_BEGIN = b"crl=" + quote_plus(f"-----BEGIN {_MARKER}\n").encode()
_END = quote_plus(f"\n-----END {_MARKER}").encode() + b"&noui=true"
_ESCAPED, _LINE_END = (b"+", b"/", b"="), b"%0D%0A"
_LINE_CHARACTERS, _LINE_OCTETS = 76, 57
_PIECE_OCTETS = _LINE_OCTETS << 12
_split = Struct(f"{_LINE_CHARACTERS}s").iter_unpack
STALE = "Sent CRL is older than the current CRL"  # CAs' logs are searched for it
FOR_NOW = "Temporarily unable to take CRLs, publish it again later"  # ours: the original has no such answer
UNSERVED = "served=false"  # a line of ours beside `status=0`: taken, and not answered from yet


class CRLPublisher:
    """Hands CRLs to the agent port at `url`, `https://HOST:PORT`, with a path where it is not the usual one.

    `certificate` is a PEM file with the client certificate and, where `key` is None, its key; `trust` a PEM file with
    the CA of the server, without it the system's are trusted. `password` is as of `client_tls`.

    Raises: ConfigError, SigningError.
    """

    def __init__(
        self,
        url: str,
        certificate: Path,
        key: Path | None = None,
        trust: Path | None = None,
        password: Callable[[], str] = str,
    ) -> None:
        self._url, self._parts = url, _parts(url)
        self._tls = client_tls(certificate, key, trust, password)

    def publish(self, crl_der: Buffer) -> bool:
        """Hand it over; when this returns it was taken. False where the responder says it does not answer from it yet.

        A large one may be a view of a mapped file: no copy of it is made as a whole.

        Raises: CRLStale, CRLRejected, RefusedForNow, ClientError.
        """
        answer = self._post(crl_der).decode("utf-8", "replace")
        _judge(answer, self._url)
        return UNSERVED not in answer.splitlines()

    def _post(self, crl_der: Buffer) -> bytes:
        host, port = self._parts.hostname or "", self._parts.port
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=self._tls)
        try:
            path = self._parts.path if self._parts.path not in {"", "/"} else PATH
            head = {"Content-Type": FORM, "Content-Length": str(form_octets(crl_der)), "Connection": "close"}
            connection.request("POST", path, form(crl_der), head)
            await_answer(connection, len(crl_der))  # a responder answers when the CRL is served
            return connection.getresponse().read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ClientError(
                f"cannot publish to {self._url}: {reason or type(error).__name__}",
                hint="is the agent port open, the URL right and the server's CA trusted?",
            ) from error
        finally:
            connection.close()


def _parts(url: str) -> SplitResult:
    parts = https_parts(url)
    if parts is None:
        raise ConfigError(f"not an https URL: {url}", hint="as in https://ocsp.example.org:8443")
    return parts


def form(crl_der: Buffer) -> Iterator[bytes]:
    """The form that is posted, in pieces: the CRL in base64, lines of 76 characters between markers, urlencoded.

    What is encoded first is sent, and decoded, while the rest is encoded. The signs of base64 that a form escapes are
    few, and replaced as such: an encoder that looks at each octet takes four seconds for a CRL of a million entries.
    """
    piece = _BEGIN
    for text in _base64(crl_der):
        whole = len(text) - len(text) % _LINE_CHARACTERS
        lines = chain(chain.from_iterable(_split(text[:whole])), filter(None, (text[whole:],)))
        escaped = _LINE_END.join(lines) + _LINE_END
        for sign in _ESCAPED:
            escaped = escaped.replace(sign, b"%%%02X" % ord(sign))
        if piece is not _BEGIN:
            yield piece
            piece = b""
        piece += escaped
    yield piece + _END


def form_octets(crl_der: Buffer) -> int:
    """How many octets the form has, which are announced before it is sent."""
    octets = len(_BEGIN) + len(_END)
    for text in _base64(crl_der):
        lines = -(-len(text) // _LINE_CHARACTERS)
        octets += len(text) + lines * len(_LINE_END) + 2 * sum(map(text.count, _ESCAPED))
    return octets


def _base64(octets: Buffer) -> Iterator[bytes]:
    """Base64 in pieces of whole lines."""
    for begin in range(0, len(octets), _PIECE_OCTETS):
        yield base64.b64encode(octets[begin : begin + _PIECE_OCTETS])


def _judge(answer: str, url: str) -> None:
    """Raises what the answer tells; as the original does, the HTTP status is not looked at."""
    outcome = dict(line.split("=", 1) for line in answer.splitlines() if line.startswith(("status=", "error=")))
    match outcome.get("status"):
        case "0":
            return
        case None:
            raise ClientError(
                f"{url} gives no answer to a publisher", hint="is this an agent port, and the user known?"
            )
    error = outcome.get("error", "")
    if error.startswith(STALE):
        raise CRLStale(error, hint="leave --current out to make a newer one")
    if error.startswith(FOR_NOW):
        raise RefusedForNow(
            f"{url}: {error}", hint="the CRL is in order: send it again with `vouchd ca publish --current`"
        )
    raise CRLRejected(f"{url} refused the CRL: {error or 'without a reason'}", hint="its log says more")
