"""A CRL at an http or https URL, fetched with a conditional GET (RFC 9110 section 13).

Blocking, for a thread of its own. The standard library's client: proxies of the environment are honoured, and nothing
but http and https is ever opened, also after a redirect.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from vouchd import __version__
from vouchd.errors import ConfigError, SourceError
from vouchd.service.pulling import Fetched, Validator

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 5


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none from https to http."""

    max_redirections = _MAX_REDIRECTS
    max_repeats = 2

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme.lower()
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise SourceError(f"{req.full_url}: redirected to {scheme or 'another'} scheme, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class HTTPSource:
    """Fetches one URL; a response of status 200 is a CRL, 304 is no change, anything else an error."""

    poll_seconds: int | None = None

    def __init__(self, url: str, *, timeout_seconds: int, max_bytes: int, trust_file: Path | None = None) -> None:
        """`trust_file` holds PEM roots for https in place of the system's. Raises: ConfigError."""
        parts = urlsplit(url)
        if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"{url}: not an http or https URL")
        if parts.username is not None:
            raise ConfigError(f"{parts.scheme}://…@{parts.hostname}: a password in a URL is not supported")
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._opener = _opener(trust_file)

    def fetch(self, previous: Validator) -> Fetched | None:
        """The CRL, None when the server says that it did not change. Raises: SourceError."""
        deadline = time.monotonic() + self._timeout_seconds
        request = urllib.request.Request(self._url, headers=_headers(previous))  # noqa: S310  scheme checked above
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                if response.status != http.client.OK:
                    raise SourceError(f"{self._url}: status {response.status}")
                return Fetched((self._body(response, deadline),), _validator(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == http.client.NOT_MODIFIED:
                    return None
            raise SourceError(f"{self._url}: status {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SourceError(f"{self._url}: {reason or type(error).__name__}") from error

    def _body(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        """Read the body within the size and time limits; a body that ends early is an error."""
        announced = response.headers.get("Content-Length")
        expected = int(announced) if announced is not None and announced.isdigit() else None
        if expected is not None and expected > self._max_bytes:
            raise self._too_long()
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise self._too_long()
            if time.monotonic() > deadline:
                raise SourceError(f"{self._url}: took longer than {self._timeout_seconds} s")
        if expected is not None and len(body) != expected:
            raise SourceError(f"{self._url}: ended after {len(body)} of {expected} bytes")
        return bytes(body)

    def _too_long(self) -> SourceError:
        return SourceError(f"{self._url}: longer than the limit of {self._max_bytes} bytes")


def _opener(trust_file: Path | None) -> urllib.request.OpenerDirector:
    try:
        context = ssl.create_default_context(cafile=trust_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{trust_file}: not a PEM file of certificates: {error}") from error
    opener = urllib.request.OpenerDirector()
    handlers: tuple[Any, ...] = (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    opener.addheaders = []
    return opener


def _headers(previous: Validator) -> dict[str, str]:
    headers = {
        "User-Agent": f"vouchd/{__version__}",
        "Accept": "application/pkix-crl, application/x-pkcs7-crl, */*;q=0.5",
        "Accept-Encoding": "identity",
    }
    if previous.etag:
        headers["If-None-Match"] = previous.etag
    if previous.last_modified:
        headers["If-Modified-Since"] = previous.last_modified
    return headers


def _validator(headers: Message) -> Validator:
    return Validator(headers.get("ETag", ""), headers.get("Last-Modified", ""))
