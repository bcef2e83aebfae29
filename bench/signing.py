"""Answers with a nonce, each signed, by one worker, beside what `openssl speed` signs a second on one core.

The load is wrk's: each request carries a nonce of its own, so no answer can come from memory.
wrk needs a core of its own.
"""

from __future__ import annotations

import re
import subprocess
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from bench.figures import Figure

TARGETS = {"EC": ("ECDSA P-256", "ecdsap256", 0.5), "RSA": ("RSA-2048", "rsa2048", 0.85)}
NONCE = b"\xa5" * 32
HEAD = b"POST /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n"

LUA = """
local function octets(hex) return (hex:gsub("..", function(o) return string.char(tonumber(o, 16)) end)) end
local before, after, n = octets("%s"), octets("%s"), 0
request = function() n = n + 1; return before .. string.format("%%032d", n) .. after end
"""


def openssl_signs(algorithm: str, seconds: int) -> float:
    """Signatures a second that OpenSSL makes on one core."""
    command = ["openssl", "speed", "-seconds", str(seconds), algorithm]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(out.strip().splitlines()[-1].split()[-2])


def nonce_request(issuer: x509.Certificate, serial: int) -> bytes:
    """DER of a request with NONCE."""
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(*_hashes(issuer), serial, hashes.SHA1())  # noqa: S303
    return builder.add_extension(x509.OCSPNonce(NONCE), critical=False).build().public_bytes(Encoding.DER)


def _hashes(issuer: x509.Certificate) -> tuple[bytes, bytes]:
    name = hashes.Hash(hashes.SHA1())  # noqa: S303  what most clients send
    name.update(issuer.subject.public_bytes())
    return name.finalize(), x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest


def answers_a_second(port: int, request_der: bytes, seconds: int, connections: int = 64) -> float:
    """Answers a second to `request_der` with ever new nonces on loopback `port`."""
    head = HEAD % len(request_der)
    before, nonce, after = (head + request_der).partition(NONCE)
    if not nonce:
        raise SystemExit("the request has no nonce")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % (before.hex(), after.hex()))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name, f"http://127.0.0.1:{port}/"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(out)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def figure(kind: str, rates: list[float], limits: list[float]) -> Figure:
    """The ratio of the best of both: what the machine could do undisturbed."""
    name, algorithm, target = TARGETS[kind]
    detail = f"{max(rates):.0f}/s, openssl speed {algorithm} {max(limits):.0f}/s"
    return Figure(f"nonce answers, {name}, one worker", max(rates) / max(limits), target, "", detail, at_least=True)
