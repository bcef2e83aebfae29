"""A CRL at an http or https URL, fetched with a conditional GET (RFC 9110 section 13).

Blocking, for a thread of its own. Proxies of the environment are honoured, and nothing but http and https is ever
opened, also after a redirect. One deadline ends the whole attempt, redirects included; a redirect does not lead to
this host, its link or its cloud's metadata, unless it stays at the host that was named or a setting lets it.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from vouchd import __version__
from vouchd.errors import ConfigError, SourceError
from vouchd.service.pulling import Fetched, Validator
from vouchd.signing.certificates import trusting
from vouchd.sources.attempt import Deadline, Wire, is_of_this_host, look_up

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


@dataclass(frozen=True, slots=True)
class _Target:
    """Where one request goes: an http or https URL with a host."""

    url: str
    parts: SplitResult

    @classmethod
    def of(cls, url: str) -> _Target:
        """Raises: ValueError when it is none."""
        parts = urlsplit(url)
        if parts.scheme.lower() not in _PORTS or not parts.hostname:
            raise ValueError("not an http or https URL")
        _ = parts.port
        return cls(url, parts)

    @property
    def scheme(self) -> str:
        return self.parts.scheme.lower()

    @property
    def host(self) -> str:
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        return self.parts.port or _PORTS[self.scheme]

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host.encode("idna").decode("ascii")
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        return (self.parts.path or "/") + (f"?{self.parts.query}" if self.parts.query else "")


class HTTPSource:
    """Fetches one URL; a response of status 200 is a CRL, 304 is no change, anything else an error."""

    poll_seconds: int | None = None

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: int,
        max_bytes: int,
        trust_file: Path | None = None,
        local_redirects: bool = False,
    ) -> None:
        """`trust_file` holds roots for https in place of the system's. Raises: ConfigError."""
        try:
            self._target = _Target.of(url)
        except ValueError as error:
            raise ConfigError(f"{url}: not an http or https URL") from error
        if self._target.parts.username is not None:
            raise ConfigError(f"{self._target.scheme}://…@{self._target.host}: a password in a URL is not supported")
        self._url = url
        self.host = self._target.host
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._local_redirects = local_redirects
        self._context = trusting(trust_file)

    def fetch(self, previous: Validator) -> Fetched | None:
        """The CRL, None when the server says that it did not change. Raises: SourceError."""
        deadline = Deadline(self._url, self._timeout_seconds)
        target = self._target
        try:
            for _ in range(1 + _MAX_REDIRECTS):
                with self._response(target, previous, deadline) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        return self._taken(response, previous)
                target = self._redirected(target, location)
        except (OSError, http.client.HTTPException, UnicodeError, ValueError, zlib.error) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or error
            where = self._url if target is self._target else f"{self._url}, redirected to {target.url}"
            raise SourceError(f"{where}: {reason or type(error).__name__}") from error
        raise SourceError(f"{self._url}: more than {_MAX_REDIRECTS} redirects", hint="fetch from where they lead to")

    def _taken(self, response: http.client.HTTPResponse, previous: Validator) -> Fetched | None:
        if response.status == http.client.NOT_MODIFIED:
            if previous.etag or previous.last_modified:
                return None
            raise SourceError(
                f"{self._url}: status 304, though it was not asked whether anything changed",
                hint="the server, or a cache before it, never delivers the CRL",
            )
        if response.status != http.client.OK:
            raise SourceError(f"{self._url}: status {response.status}")
        body = self._body(response)
        if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith(_WEB_PAGE):
            raise SourceError(
                f"{self._url}: a web page ({response.headers.get_content_type()}) instead of a CRL",
                hint="look at it in a browser: a wrong path, a log-in page, or an error page with status 200",
            )
        return Fetched((body,), _validator(response.headers))

    def _redirected(self, source: _Target, location: str) -> _Target:
        """Where a redirect leads to. Raises: SourceError when that is no place to follow it to."""
        url = urljoin(source.url, location)
        scheme = urlsplit(url).scheme.lower()
        if scheme != "https" and (scheme != "http" or source.scheme == "https"):
            raise SourceError(f"{source.url}: redirected to {scheme or 'another'} scheme, which is refused")
        return _Target.of(url)

    @contextmanager
    def _response(self, target: _Target, previous: Validator, deadline: Deadline) -> Iterator[http.client.HTTPResponse]:
        """What is answered there. Raises: OSError, HTTPException, SourceError."""
        proxy = _proxy(target)
        wire = Wire(self._addresses(target, proxy, deadline), deadline)
        try:
            path, headers = target.path, _headers(previous)
            if proxy is not None and target.scheme == "http":
                path, headers = f"http://{target.authority}{target.path}", {**headers, **_credentials(proxy)}
            elif proxy is not None:
                self._tunnel(wire, target, proxy)
            if target.scheme == "https":
                wire.start_tls(self._context, target.host)
            yield _ask(wire, "GET", path, {"Host": target.authority, **headers})
        finally:
            wire.close()

    def _tunnel(self, wire: Wire, target: _Target, proxy: SplitResult) -> None:
        host = f"[{target.host}]" if ":" in target.host else target.host
        to = f"{host}:{target.port}"
        answer = _ask(wire, "CONNECT", to, {"Host": to, **_credentials(proxy)})
        if answer.status != http.client.OK:
            raise SourceError(f"{self._url}: the proxy {proxy.hostname} answers {answer.status}")

    def _addresses(self, target: _Target, proxy: SplitResult | None, deadline: Deadline) -> tuple[tuple[str, int], ...]:
        """Where to connect to; the very addresses that are judged, not those of another look-up."""
        if proxy is None:
            addresses = look_up(target.host, target.port, deadline)
            self._judge(target, [address for address, _ in addresses])
            return addresses
        self._judge(target, _literal(target.host))  # names are the proxy's to look up
        return look_up(proxy.hostname or "", proxy.port or _PORTS["http"], deadline)

    def _judge(self, target: _Target, addresses: Sequence[str]) -> None:
        """Raises: SourceError when a redirect has led to an address that only this host can reach."""
        if target.host == self._target.host or self._local_redirects or not any(map(is_of_this_host, addresses)):
            return
        raise SourceError(
            f"{self._url}: redirected to {target.host}, which is this host, its link or its metadata: refused",
            hint="fetch from there by its own URL, or let this source: localRedirects=true",
        )

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        """The body within the size limit, decoded; a body that ends early is an error."""
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in {"identity", "", "gzip", "x-gzip"}:
            raise SourceError(f"{self._url}: Content-Encoding {coding[:40]!r}, which was not asked for")
        announced = response.headers.get("Content-Length")
        expected = int(announced) if announced is not None and announced.isdigit() else None
        if expected is not None and expected > self._max_bytes:
            raise self._too_long()
        size, body = 0, bytearray()
        unzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if "gzip" in coding else None
        while chunk := response.read1(_CHUNK_BYTES):
            size += len(chunk)
            body += chunk if unzip is None else unzip.decompress(chunk, self._max_bytes + 1 - len(body))
            if len(body) > self._max_bytes:
                raise self._too_long()
        if (expected is not None and size != expected) or (unzip is not None and not unzip.eof):
            raise SourceError(f"{self._url}: ended after {size} of {'more' if expected is None else expected} bytes")
        return bytes(body)

    def _too_long(self) -> SourceError:
        return SourceError(f"{self._url}: longer than the limit of {self._max_bytes} bytes")


def _ask(wire: Wire, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """The answer to one request, its body unread."""
    connection = http.client.HTTPConnection("unused")  # writes the request, and refuses what would be two
    connection.sock = wire
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = http.client.HTTPResponse(wire, method=method)  # type: ignore[arg-type]
    response.begin()
    return response


def _literal(host: str) -> list[str]:
    """The address that a host is, if it is one."""
    if host == "localhost" or host.endswith(".localhost"):
        return ["127.0.0.1"]
    with suppress(ValueError):
        return [str(ipaddress.ip_address(host.partition("%")[0]))]
    return []


def _proxy(target: _Target) -> SplitResult | None:
    """The proxy that the environment names for a URL, None when there is none. Raises: ValueError."""
    if proxy_bypass(target.host):
        return None
    url = getproxies().get(target.scheme, "")
    if not url:
        return None
    proxy = urlsplit(url if "://" in url else f"http://{url}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError(f"the proxy {proxy.hostname or 'of the environment'} is not one of http://HOST:PORT")
    return proxy


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}


def _headers(previous: Validator) -> dict[str, str]:
    headers = {
        "User-Agent": f"vouchd/{__version__}",
        "Accept": "application/pkix-crl, application/x-pkcs7-crl, */*;q=0.5",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if previous.etag:
        headers["If-None-Match"] = previous.etag
    if previous.last_modified:
        headers["If-Modified-Since"] = previous.last_modified
    return headers


def _validator(headers: Message) -> Validator:
    return Validator(headers.get("ETag", ""), headers.get("Last-Modified", ""))
