"""A client of an instance's REST API: TLS with a client certificate, JSON, and the port's errors as ours."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vouchd import errors
from vouchd.errors import ClientError, ConfigError, VouchdError
from vouchd.files import read_file
from vouchd.signing.certificates import trusting
from vouchd.signing.pkcs12 import read_key_file

JSON = "application/json"
MAX_ANSWER_BYTES = 1 << 30  # a CRL
TIMEOUT_SECONDS = 120.0
_OCTETS_A_SECOND = 1_000_000  # well below what a busy machine takes in of a CRL, checks and sorts
_MAX_PKCS12_BYTES = 1 << 20


class AdminClient:
    """Asks the agent port at `url`, one connection a request.

    `certificate` is a PEM file with the caller's certificate and, where `key` is None, its key; or a PKCS #12 file.
    `password` gives the password of that or of an encrypted key, and is called for these alone. `trust` is a PEM file
    with the CA of the server; without it the system's are trusted.

    Raises: ConfigError.
    """

    def __init__(
        self,
        url: str,
        certificate: Path,
        key: Path | None = None,
        trust: Path | None = None,
        password: Callable[[], str] = str,
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"not a URL: {url}") from error
        if parts.scheme != "https" or not host:
            raise ConfigError(f"not an https URL: {url}", hint="as in https://ocsp.example.org:8443")
        self._url, self._host, self._port = url, host, port
        self._tls = client_tls(certificate, key, trust, password)

    def send(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None = None, media_type: str = ""
    ) -> bytes:
        """The body of the answer. Raises: VouchdError as the port tells it, ClientError."""
        where = f"{path}?{urlencode(query)}" if query else path
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls)
        try:
            connection.request(method, where, body, {"Content-Type": media_type} if media_type else {})
            await_answer(connection, len(body or b""))
            response = connection.getresponse()
            data = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error
        finally:
            connection.close()
        if len(data) > MAX_ANSWER_BYTES:
            raise ClientError(f"the answer of {self._url} is larger than {MAX_ANSWER_BYTES} bytes")
        if "problem+json" in response.headers.get("Content-Type", ""):
            raise error_of(data)
        if response.status >= http.client.BAD_REQUEST:
            raise ClientError(
                f"{self._url} answered {response.status} {response.reason}", hint="is this the agent port of vouchd?"
            )
        return data

    def _failure(self, error: Exception) -> ClientError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ClientError(
                f"the TLS certificate of {self._url} is not trusted: {error.verify_message}",
                hint="name its CA: --trust",
            )
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return ClientError(f"cannot ask {self._url}: {reason}", hint="is the agent port open, and the URL right?")


def await_answer(connection: http.client.HTTPConnection, octets: int) -> None:
    """Have the connection wait for its answer as long as it takes to do something with so many octets that were sent.

    A CRL of ten million entries is taken in and answered from after two minutes on a busy machine; who gave up then
    would call a CRL lost that was taken.
    """
    if connection.sock is not None:
        connection.sock.settimeout(TIMEOUT_SECONDS + octets / _OCTETS_A_SECOND)


def error_of(problem: bytes) -> VouchdError:
    """The error that a problem document tells of, of the same class as it had there."""
    try:
        document = json.loads(problem)
    except (ValueError, RecursionError) as error:
        raise ClientError("an error that cannot be read", hint="is this the agent port of vouchd?") from error
    return error_from(document)


def error_from(document: Mapping[str, Any]) -> VouchdError:
    """The same of a document that was read. Raises: ClientError when it is none."""
    try:
        kind = getattr(errors, document["error"], ClientError)
        title, hint = str(document["title"]), str(document.get("hint", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise ClientError("an error that cannot be read", hint="is this the agent port of vouchd?") from error
    if not (isinstance(kind, type) and issubclass(kind, VouchdError)):
        kind = ClientError
    return kind(title, hint=hint)


def quoted(segment: str) -> str:
    """A segment of a path."""
    return quote(segment, safe="")


def read_answer(data: bytes) -> Any:
    """The JSON value of an answer, None of one without a body. Raises: ClientError."""
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError) as error:
        raise ClientError("an answer that is not JSON", hint="is this the agent port of vouchd?") from error


def client_tls(
    certificate: Path, key: Path | None, trust: Path | None, password: Callable[[], str] = str
) -> ssl.SSLContext:
    """TLS with a client certificate: see AdminClient for the files. Raises: ConfigError, SigningError."""
    context = trusting(trust)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if key is None and _is_pkcs12(certificate):
        _load_pkcs12(context, certificate, password())
        return context
    try:
        # Called for an encrypted key alone; a text would have to be UTF-8.
        context.load_cert_chain(certificate, key, lambda: password().encode("utf-8", "surrogateescape"))
    except (OSError, ValueError) as error:  # SSLError is an OSError; a password may be too long
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{certificate}: no client certificate with its key: {reason}",
            hint="give both as PEM: --cert FILE --key FILE; or a PKCS #12 file; is the password right?",
        ) from error
    return context


def _is_pkcs12(path: Path) -> bool:
    """Whether the file is DER, which a file with a certificate and a key is only as PKCS #12."""
    try:
        return read_file(path, _MAX_PKCS12_BYTES, error=ConfigError, hint="").startswith(b"\x30")
    except (OSError, ConfigError):
        return False  # reading it as PEM tells why


def _load_pkcs12(context: ssl.SSLContext, path: Path, password: str) -> None:
    """Have the only key of the file and its certificate for the handshake; the key is on no disk meanwhile."""
    bag = read_key_file(path, password).only()
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (bag.certificate, *bag.others))
    key = bag.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.memfd_create("client-key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, key + chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{path}: its key cannot be used for TLS: {error.strerror or error}") from error
    finally:
        os.close(descriptor)
