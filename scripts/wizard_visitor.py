"""A visitor of a set-up wizard without a browser: fills in its forms over HTTPS, as the demo and the tests do."""

from __future__ import annotations

import hashlib
import http.client
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode, urlsplit

_SECONDS = 120.0
_PAUSE_SECONDS = 0.2  # a browser waits two seconds
_FORM = "application/x-www-form-urlencoded"
_OF_THE_PAGE = {"shown", "confirmed"}  # inputs that are no answers


@dataclass
class Page:
    """What came back."""

    path: str
    status: int
    headers: dict[str, str]
    text: str
    body: bytes = field(default=b"", repr=False)

    @property
    def words(self) -> str:
        """Its text, without tags and runs of blanks."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())

    @property
    def panel(self) -> str:
        """The name of the panel that it shows."""
        match = re.search(r"<h1>([^<]*)</h1>", self.text)
        return unescape(match[1]) if match else ""

    @property
    def error(self) -> str:
        """What its alert says; empty without one."""
        match = re.search(r'<div class="alert bad".*?</svg><div>(.*?)</div>', self.text, re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", match[1])).split()) if match else ""

    @property
    def token(self) -> str:
        """The token of its forms; empty without one."""
        match = re.search(r'name="token" value="([0-9a-f]{64})"', self.text)
        return match[1] if match else ""

    def value(self, name: str) -> str:
        """What stands in a field of text."""
        written = name if name in _OF_THE_PAGE else f"answer-{name}"
        match = re.search(rf'name="{written}" value="([^"]*)"', self.text)
        return unescape(match[1]) if match else ""


class Visitor:
    """Goes through the wizard at that URL; its certificate has to have that fingerprint (SHA-256, hex)."""

    def __init__(self, url: str, fingerprint: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 443
        self.login = f"{parts.path}?{parts.query}"
        self.cookie = ""
        self._token = ""  # of the forms: one for as long as the cookie is
        self._fingerprint = fingerprint
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE  # known by its fingerprint

    def enter(self) -> Page:
        """Come in with the PIN of the URL; the panel that is open."""
        self.ask("GET", self.login)
        return self.show("/setup/")

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = _FORM, headers: Mapping[str, str] | None = None
    ) -> Page:
        """One request on a connection of its own."""
        connection = http.client.HTTPSConnection(self.host, self.port, context=self._tls, timeout=_SECONDS)
        try:
            connection.connect()
            certificate = connection.sock.getpeercert(binary_form=True)
            if hashlib.sha256(certificate).hexdigest() != self._fingerprint:
                raise ConnectionError("the certificate is another one")
            cookie = {"Cookie": self.cookie} if self.cookie else {}
            content = {"Content-Type": kind} if body else {}
            connection.request(method, path, body or None, {**cookie, **content, **(headers or {})})
            answer = connection.getresponse()
            data = answer.read()
            page = Page(path, answer.status, dict(answer.getheaders()), data.decode("utf-8", "replace"), data)
        finally:
            connection.close()
        if set_cookie := page.headers.get("Set-Cookie"):
            self.cookie, self._token = set_cookie.partition(";")[0], ""
        self._token = page.token or self._token
        return page

    def show(self, path: str) -> Page:
        """A page, wherever it leads."""
        page = self.ask("GET", path)
        while location := page.headers.get("Location"):
            page = self.ask("GET", location)
        return page

    def send(self, path: str, token: str, values: Mapping[str, object]) -> Page:
        """What a form leads to."""
        page = self.ask("POST", path, urlencode({"token": token, **values}).encode())
        return self.show(page.headers["Location"]) if page.status == http.client.SEE_OTHER else page

    def fill(self, slug: str, **values: object) -> Page:
        """Fill a panel in and go on: the next panel, or the same with what it says."""
        path = f"/setup/{slug}"
        answers = {name if name in _OF_THE_PAGE else f"answer-{name}": value for name, value in values.items()}
        return self.send(path, self._token or self.show(path).token, answers)

    def until_ended(self) -> Page:
        """The last panel, when nothing is under way any more: it is asked for until then."""
        page = self.show("/setup/done")
        while 'http-equiv="refresh"' in page.text:
            time.sleep(_PAUSE_SECONDS)
            page = self.show("/setup/done")
        return page
