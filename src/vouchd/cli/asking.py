"""What the commands that ask a responder share: certificates and serials from the command line, rounds of asking."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.client.ocsp import Question, Reply, send
from vouchd.client.transport import Connection, Method
from vouchd.client.response_acceptance import Terms, Verified
from vouchd.errors import ClientError, ConfigError
from vouchd.clock import SystemClock
from vouchd.signing.files import read_certificates

MAX_SERIAL_OCTETS = 64  # RFC 5280 allows 20; some CAs went above


def certificate_der(path: Path) -> bytes:
    """The first certificate of a PEM or DER file. Raises: SigningError when there is none."""
    return read_certificates(path)[0].public_bytes(Encoding.DER)


def serial_octets(text: str, *, base: int = 16) -> bytes:
    """DER INTEGER content octets of a serial as people write it; `0x` always means hexadecimal.

    Raises: ConfigError.
    """
    digits = text.strip().replace(":", "").lower()
    if digits.startswith("0x"):
        digits, base = digits[2:], 16
    try:
        number = int(digits, base)
    except ValueError:
        number = -1
    if number < 0 or not (digits.isascii() and digits.isalnum()) or number.bit_length() >= 8 * MAX_SERIAL_OCTETS:
        kind = "hexadecimal, as in 0x52a1c7" if base == 16 else "decimal, or hexadecimal as in 0x52a1c7"
        raise ConfigError(f"{text[:80]!r} is not a serial number", hint=kind)
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def tls_context(trust_file: Path | None) -> ssl.SSLContext | None:
    """TLS that trusts the roots of a PEM file, None for the system's. Raises: ConfigError."""
    if trust_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(trust_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{trust_file}: no certificates to trust: {error}") from error


@dataclass(frozen=True, slots=True)
class Rounds:
    """What several askings of the same gave: durations in seconds, and whether all answers were the same bytes."""

    seconds: tuple[float, ...]
    identical: bool

    def percentile(self, share: float) -> float:
        """The duration that `share` (0 to 1) of all askings did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The first reply with what its verification said, and the figures of all rounds."""

    reply: Reply
    verified: Verified | None
    failure: ClientError | None
    rounds: Rounds


def ask_times(
    connection: Connection, questions: Iterable[Question], terms: Terms, method: Method = Method.AUTO
) -> Outcome:
    """Ask each question in turn over one connection and verify every answer; the first that fails ends it.

    Raises: ClientError when there is no OCSP response at all.
    """
    shown: tuple[Reply, Verified | None, ClientError | None] | None = None
    seconds: list[float] = []
    bodies: set[bytes] = set()
    for question in questions:
        reply = send(connection, question, method)
        seconds.append(reply.exchange.seconds)
        bodies.add(reply.exchange.body)
        try:
            verified = reply.verify(SystemClock().now(), terms)
        except ClientError as error:
            shown = (reply, None, error)
            break
        shown = shown or (reply, verified, None)
    if shown is None:
        raise ClientError("nothing to ask for")
    return Outcome(*shown, Rounds(tuple(seconds), len(bodies) == 1))
