"""A TLS server that is known by the SHA-256 of its certificate, which a person has compared, instead of by a CA."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl

from vouchd.errors import ClientError, ConfigError

_HEX_DIGITS = 64


def fingerprint_of(text: str, hint: str) -> str:
    """The fingerprint that was written, colons and capitals aside, in hex. Raises: ConfigError with that hint."""
    digits = text.replace(":", "").strip().lower()
    if len(digits) != _HEX_DIGITS or not all(one in "0123456789abcdef" for one in digits):
        raise ConfigError("a fingerprint is the SHA-256 of a certificate: 64 hex digits", hint=hint)
    return digits


def untraced() -> ssl.SSLContext:
    """TLS of a client that traces the server to no CA: for who compares its certificate before anything is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def shown_fingerprint(host: str, port: int, timeout_seconds: float) -> str:
    """SHA-256 (hex) of the certificate that a server shows now, for who knows it. Raises: ClientError."""
    try:
        with (
            socket.create_connection((host, port), timeout_seconds) as plain,
            untraced().wrap_socket(plain) as tls,
        ):
            return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
    except OSError as error:  # ssl.SSLError is one
        raise ClientError(
            f"https://{host}:{port} does not show a certificate: {error.strerror or error}",
            hint="does it run, and is the port that of its agents?",
        ) from error


class ComparedConnection(http.client.HTTPSConnection):
    """A connection to a server whose certificate has that fingerprint (64 hex digits); nothing is sent to another."""

    def __init__(self, host: str, port: int, fingerprint: str, context: ssl.SSLContext, timeout_seconds: float) -> None:
        super().__init__(host, port, timeout=timeout_seconds, context=context)
        self._fingerprint = fingerprint

    def connect(self) -> None:
        """See HTTPConnection. Raises: ClientError too."""
        super().connect()
        shown = hashlib.sha256(self.sock.getpeercert(binary_form=True) or b"").hexdigest()
        if not hmac.compare_digest(shown, self._fingerprint):
            self.close()
            raise ClientError(
                f"the certificate of https://{self.host}:{self.port} is another one than was said:"
                f" its fingerprint is {shown}",
                hint="compare with what its own host shows; if it differs, something is in between",
            )
