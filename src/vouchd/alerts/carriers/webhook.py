"""Alerts as JSON, posted to a URL and signed: `X-Vouchd-Signature` is HMAC-SHA256 of `TIMESTAMP.BODY`."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from vouchd import __version__
from vouchd.alerts.notice import Notice
from vouchd.core.records import rfc3339
from vouchd.errors import ClientError, ConfigError
from vouchd.settings.carriers import CarrierSettings
from vouchd.signing.certificates import trusting
from vouchd.sources.attempt import Deadline, Wire, look_up

SIGNATURE, TIMESTAMP = "X-Vouchd-Signature", "X-Vouchd-Timestamp"
_PORTS = {"http": 80, "https": 443}
_TAKEN = range(200, 300)


def signature(key: str, timestamp: str, body: bytes) -> str:
    """What `X-Vouchd-Signature` holds for this body at that time (POSIX seconds)."""
    return "sha256=" + hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookCarrier:
    """A request a notice; any status of 200 to 299 says that it has arrived, and redirects are not followed."""

    def __init__(self, settings: CarrierSettings, passwords: Mapping[str, str], member: str) -> None:  # noqa: ARG002
        """Raises: ConfigError when the URL is none, or there is no key to sign with."""
        self.name, self.severity = settings.name, settings.severity
        line = f"vouchd.alert.{settings.name}.url"
        try:
            self._parts = urlsplit(settings.url)
            self._port = self._parts.port or _PORTS[self._parts.scheme]
        except (ValueError, KeyError):
            raise ConfigError(f"{line} is not an http or https URL") from None
        if not self._parts.hostname or self._parts.username or not settings.url.isascii() or " " in settings.url:
            raise ConfigError(
                f"{line} is not a URL of a host without a user", hint="who asks is proved by the signature"
            )
        self._host = self._parts.hostname
        self.where = f"webhook {self._parts.scheme}://{self._host}:{self._port}{self._parts.path}"
        self._timeout = settings.timeout_seconds
        self._tls = trusting(settings.trust_file) if self._parts.scheme == "https" else None
        self._key = passwords.get(f"alert.{settings.name}", "")
        if not self._key:
            raise ConfigError(
                f"alerts by {settings.name}: no key to sign with",
                hint=f"add a line alert.{settings.name}=KEY to password.conf, and give the receiver the same",
            )

    def send(self, notice: Notice) -> None:
        """See Carrier."""
        deadline = Deadline(self.where.removeprefix("webhook "), self._timeout)
        try:
            wire = Wire(look_up(self._host, self._port, deadline), deadline)
            try:
                if self._tls is not None:
                    wire.start_tls(self._tls, self._host)
                status = self._posted(wire, notice)
            finally:
                wire.close()
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{self.where}: {getattr(error, 'strerror', '') or error}") from None
        if status not in _TAKEN:
            raise ClientError(f"{self.where}: status {status}")

    def _posted(self, wire: Wire, notice: Notice) -> int:
        body, timestamp = body_of(notice), str(int(time.time()))
        host = f"[{self._host}]" if ":" in self._host else self._host
        path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        connection = http.client.HTTPConnection(f"{host}:{self._port}")
        connection.sock = wire
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"vouchd/{__version__}",
            TIMESTAMP: timestamp,
            SIGNATURE: signature(self._key, timestamp, body),
            "Connection": "close",
        }
        connection.request("POST", path, body, headers)
        response = http.client.HTTPResponse(wire, method="POST")  # type: ignore[arg-type]
        response.begin()
        return response.status


def body_of(notice: Notice) -> bytes:
    """The notice as JSON; times as RFC 3339 has them."""
    record = msgspec.to_builtins(notice)
    return msgspec.json.encode({**record, "since": rfc3339(notice.since), "at": rfc3339(notice.at)})
