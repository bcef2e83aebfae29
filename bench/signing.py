"""Signed answers of one worker beside the signatures that the library makes by itself, taken in turn in one run.

Three kinds of load, each by wrk with 16 connections: every question new (`cold`), every question new with a nonce, and
one question with ever new nonces (`warm`). No answer can come from memory. The worker's own CPU time for an answer is
named beside: on a machine where other things run it tells more than the rate. The worker has a processor by itself, the
same on which the library signs in turn with it, and wrk has the others.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from bench.figures import Figure
from bench.instance import instance
from bench.make_crl import entries
from bench.processes import Apart, cpu_seconds, going_first
from vouchd.signing.software import SoftwareSigner

CONNECTIONS = 16
CRL_ENTRIES = 10_000
TURNS = 3  # of a round: short ones, since a machine that is shared is quick and slow by turns
PATHS = 40_000  # of GET in one file, more than are asked in a round

NONCE = b"\xa5" * 32
SERIAL = b"A" + b"\xa5" * 15  # positive, of 16 octets
HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n"

# The octets between the holes, and for each hole how its next octets are written. wrk would first try the address with
# a connection that asks nothing, by which `openssl ocsp` is lost: it turns in a circle from then on.
LUA = """
wrk.resolve = function(host, service) wrk.addrs = wrk.lookup(host, service) end
local function octets(hex) return (hex:gsub("..", function(o) return string.char(tonumber(o, 16)) end)) end
local parts, forms, n, serials = {%s}, {%s}, %d, %d
for i = 1, #parts do parts[i] = octets(parts[i]) end
request = function()
  n = n + 1
  local out = parts[1]
  for i = 1, #forms do out = out .. string.format(forms[i], n %% serials) .. parts[i + 1] end
  return out
end
"""

LUA_PATHS = """
local requests, n = {}, 0
init = function() for line in io.lines("%s") do requests[#requests + 1] = wrk.format("GET", line) end end
request = function() n = n + 1; return requests[n] end
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of load and what its rate should be at least, as a share of the library's."""

    what: str
    key: str
    holes: dict[bytes, str] = field(default_factory=dict)  # of its request, in their order: what is new in each
    target: float = 0.0
    get: bool = False


WARM = {NONCE: "%032d"}
COLD = {SERIAL: "A%015d"}

ROWS = (
    Row("cold answers, P-256", "EC", COLD, 0.40),
    Row("cold answers, P-256, GET", "EC", COLD, 0.0, get=True),
    Row("cold answers with a nonce, P-256", "EC", COLD | WARM, 0.50),
    Row("nonce answers, P-256, warm", "EC", WARM, 0.62),
    Row("nonce answers, RSA-2048, warm", "RSA", WARM, 0.95),
)
SPEED = {"EC": "ecdsap256", "RSA": "rsa2048"}
ALGORITHM = {"EC": "SHA256withEC", "RSA": "SHA256withRSA"}


def request(issuer: x509.Certificate, serial: int, nonce: bytes | None = None) -> bytes:
    """DER of a request with a CertID of SHA-1, as most clients send it."""
    name = hashes.Hash(hashes.SHA1())  # noqa: S303
    name.update(issuer.subject.public_bytes())
    key = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name.finalize(), key, serial, hashes.SHA1())  # noqa: S303
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


class Load:
    """The requests of one row, ever new ones, for wrk; where there are no more than `serials` they begin again."""

    def __init__(
        self, row: Row, issuer: x509.Certificate, folder: Path, path: str = "/ocsp", serials: int = 10**15
    ) -> None:
        self._row = row
        self._folder = folder
        self._resource = path.encode()
        self._serials = serials
        self._begun = int(time.time()) % 100_000 * 1_000_000_000  # no run asks what another one has asked
        nonce = NONCE if NONCE in row.holes else None
        self._request_der = request(issuer, int.from_bytes(SERIAL), nonce)

    def script(self) -> Path:
        """A script with requests that no script before has had."""
        self._begun += 10_000_000
        path = self._folder / "load.lua"
        if self._row.get:
            paths = self._folder / "paths"
            paths.write_text("".join(self._path(self._begun + n) for n in range(PATHS)))
            path.write_text(LUA_PATHS % paths)
            return path
        rest, parts = HEAD % (self._resource, len(self._request_der)) + self._request_der, []
        for hole in self._row.holes:
            part, _, rest = rest.partition(hole)
            parts.append(part)
        texts = ", ".join(f'"{part.hex()}"' for part in (*parts, rest))
        forms = ", ".join(f'"{form}"' for form in self._row.holes.values())
        path.write_text(LUA % (texts, forms, self._begun, self._serials))
        return path

    def _path(self, number: int) -> str:
        request_der = self._request_der.replace(SERIAL, b"A%015d" % (number % 10**15))
        return f"/{quote(base64.b64encode(request_der).decode(), safe='')}\n"


@dataclass(frozen=True, slots=True)
class WrkReport:
    """Requests a second, how many that were in all, and the latency in milliseconds by percentile.

    They are more than the rate in the seconds that were wanted: wrk looks ten times a second whether these are over.
    """

    rate: float
    requests: int
    latency_ms: dict[int, float]


def wrk(
    port: int,
    script: Path,
    seconds: int,
    connections: int,
    address: str = "127.0.0.1",
    inside: Iterable[str] = (),
    patience_seconds: int = 2,
) -> WrkReport:
    """What it does to a server for so many seconds; `inside` is the command that runs wrk.

    An answer that takes longer than the patience ends the benchmark.
    """
    command = [
        *inside,
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={patience_seconds}s", "--latency"),
        *("-s", str(script)),
        f"http://{address}:{port}/",
    ]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(out)
    return report(out)


def report(out: str) -> WrkReport:
    """What wrk has printed."""
    rate, requests = re.search(r"Requests/sec:\s+([\d.]+)", out)[1], re.search(r"(\d+) requests in ", out)[1]
    return WrkReport(float(rate), int(requests), latencies(out))


def latencies(out: str) -> dict[int, float]:
    """The latency in milliseconds by percentile, as wrk has printed it."""
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    quantiles = re.findall(r"^ +(50|99)% +([\d.]+)(us|ms|s) *$", out, re.MULTILINE)
    return {int(percent): float(value) * units[unit] for percent, value, unit in quantiles}


def library_signs(key: str, seconds: float) -> tuple[float, float]:
    """Signatures a second that the library makes in a loop, and the CPU time of one in microseconds."""
    private = new_key(key)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signs")])
    now = dt.datetime.now(dt.UTC)
    certificate = x509.CertificateBuilder(name, name, private.public_key(), 1, now, now).sign(private, hashes.SHA256())
    signer = SoftwareSigner("signs", private, certificate.public_bytes(Encoding.DER))
    tbs, algorithm, count = bytes(200), ALGORITHM[key], 0
    begin, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        for _ in range(10):
            signer.sign(tbs, algorithm)
        count += 10
    return count / (time.perf_counter() - begin), (time.process_time() - cpu) / count * 1e6


def new_key(key: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """A key of P-256 (EC) or RSA-2048 (RSA)."""
    return ec.generate_private_key(ec.SECP256R1()) if key == "EC" else rsa.generate_private_key(65537, 2048)


def openssl_signs(key: str, seconds: int) -> float:
    """Signatures a second that the system's OpenSSL makes on one core."""
    command = ["openssl", "speed", "-seconds", str(seconds), SPEED[key]]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(out.strip().splitlines()[-1].split()[-2])


def figures(seconds: int, rounds: int) -> list[Figure]:
    """All rows."""
    made = []
    for key in SPEED:
        speed = openssl_signs(key, 1)
        with instance(key, workers=1) as running, tempfile.TemporaryDirectory() as folder:
            running.vouchd("crl", "add", str(running.write_crl(b"".join(entries(CRL_ENTRIES, "random")))))
            report = running.report()
            port, pid = report.ee[1], report.workers[0].pid
            with going_first(report.pid), Apart(pid, report.pid) as apart:
                for row in (row for row in ROWS if row.key == key):
                    load = Load(row, running.ca, Path(folder))
                    made.append(_measure(row, load, port, pid, apart, speed, seconds, rounds))
    return made


def _measure(
    row: Row, load: Load, port: int, pid: int, apart: Apart, speed: float, seconds: int, rounds: int
) -> Figure:
    rates, limits, shares, latencies = [], [], [], []
    lasting = max(1, seconds // TURNS)
    for _ in range(TURNS * rounds):
        with apart.in_its_place():
            limit, sign_us = library_signs(row.key, lasting)  # as long as the worker: the best of shorter is better
        before = cpu_seconds(pid)
        under_load = wrk(port, load.script(), lasting, CONNECTIONS)
        answer_us = (cpu_seconds(pid) - before) / under_load.requests * 1e6
        rates.append(under_load.rate)
        limits.append(limit)
        shares.append((sign_us, answer_us))
        latencies.append(under_load.latency_ms)
    sign_us, answer_us = (statistics.median(column) for column in zip(*shares, strict=True))
    p50, p99 = (statistics.median(one.get(percent, 0.0) for one in latencies) for percent in (50, 99))
    detail = (
        f"{max(rates):.0f}/s, the library signs {max(limits):.0f}/s (openssl speed {speed:.0f}/s); "
        f"CPU {answer_us:.0f} us each, {sign_us:.0f} us of it the signature: {sign_us / answer_us:.2f}; "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    what = f"{row.what}, {CONNECTIONS} connections"
    return Figure(what, max(rates) / max(limits), row.target, "", detail, at_least=True)
