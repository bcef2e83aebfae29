"""Cached answers of one EE worker: beside nginx with the same bytes, and their memory."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.ports import free_port

from bench import ee_vs_nginx
from bench.figures import Figure
from bench.processes import cpu_seconds, private_mib
from bench.signing import wrk
from vouchd.core.facts import Authority, CRLRecord, Epoch, IssuingPointId
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.ee.port_state import PortState
from vouchd.pkix.certs import authority_id
from vouchd.pkix.reasons import RevocationEntry
from vouchd.pkix.scope import Scope
from vouchd.service.answering import Responder
from vouchd.settings.tcp_ports import EEPort
from vouchd.signing.software import SoftwareSigner

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

CONNECTIONS = (1, 16, 128)
KEPT = 20_000


def beside_nginx(seconds: int, rounds: int) -> list[Figure]:
    """GET and POST of 1,000 cached answers at each number of connections."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ports = {"nginx": free_port(), "get": listener.getsockname()[1], "post": listener.getsockname()[1]}
    made = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        scripts = ee_vs_nginx.prepare(root)
        with ee_vs_nginx.nginx(root, ports["nginx"]) as nginx_pid, ee_vs_nginx.ee(listener) as ee_pid:
            pids = {"nginx": nginx_pid, "get": ee_pid, "post": ee_pid}
            for connections in CONNECTIONS:
                runs: dict[str, list[tuple[float, float, float, float]]] = {kind: [] for kind in ports}
                for _ in range(rounds):
                    for kind, results in runs.items():
                        before = cpu_seconds(pids[kind])
                        load = wrk(ports[kind], scripts[f"{kind}{ee_vs_nginx.MANY}"], seconds, connections)
                        used = (cpu_seconds(pids[kind]) - before) / load.requests * 1e6
                        p50, p99 = (load.latency_ms.get(percent, 0.0) for percent in (50, 99))
                        results.append((load.rate, used, p50, p99))
                made += _compared(runs, connections)
    return made


def _compared(runs: dict[str, list[tuple[float, float, float, float]]], connections: int) -> Iterator[Figure]:
    medians = {kind: [statistics.median(column) for column in zip(*rows, strict=True)] for kind, rows in runs.items()}
    base = medians.pop("nginx")
    for kind, (rate, used, p50, p99) in medians.items():
        detail = (
            f"{rate:.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms, CPU {used:.1f} us each; nginx static {base[0]:.0f}/s, "
            f"p50 {base[2]:.2f} ms, p99 {base[3]:.2f} ms, CPU {base[1]:.1f} us"
        )
        what = f"cached answers, {kind.upper()}, {connections} connection(s)"
        yield Figure(what, rate / base[0], 1.0, "", detail, at_least=True)


class NoEntries:
    """An index that lists nothing."""

    def find(self, serial: bytes) -> RevocationEntry | None:  # noqa: ARG002  as its port says
        """No serial is revoked."""
        return None

    def __len__(self) -> int:
        return 0


class Worker:
    """The responder of a worker with many CAs in memory, each with a CRL that lists nothing; the first one is asked."""

    def __init__(self, cas: int, key: PrivateKey | None = None) -> None:
        """They have one `key`, which signs as well; without it that is of P-256."""
        self.now = int(time.time())
        key = key or ec.generate_private_key(ec.SECP256R1())
        self.certificates = [self._certificate(key, number) for number in range(cas)]
        self.serving = [self._serving(certificate) for certificate in self.certificates]
        self.signer = SoftwareSigner("signer", key, self.certificates[0].public_bytes(Encoding.DER))
        self.version = 1
        self.responder = Responder(self.state(), {"signer": self.signer}, "signer", ResponsePolicy())

    def _certificate(self, key: PrivateKey, number: int) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"CA {number}")])
        begin = dt.datetime.fromtimestamp(self.now, dt.UTC) - dt.timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, key.public_key(), number + 1, begin, begin + dt.timedelta(days=9))
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        return builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())

    def _serving(self, certificate: x509.Certificate) -> ServingAuthority:
        number = authority_id(certificate)
        record = CRLRecord("0" * 64, 1000, self.now - 3600, self.now + 86400, 1)
        epoch = Epoch(IssuingPointId(number), 1, record, self.now - 60)
        authority = Authority(number, certificate.public_bytes(Encoding.DER), "CA")
        return ServingAuthority(authority, (ServingPoint(epoch, NoEntries(), Scope()),))

    def state(self) -> ServingState:
        """What is served now."""
        return ServingState(self.version, tuple(self.serving))

    def requests(self, count: int) -> list[bytes]:
        """Requests for serials of the CA that is asked."""
        made = []
        name = hashes.Hash(hashes.SHA1())  # noqa: S303  what most clients send
        name.update(self.certificates[0].subject.public_bytes())
        key = x509.SubjectKeyIdentifier.from_public_key(self.certificates[0].public_key()).digest
        for number in range(count):
            serial = (1 << 126) + number
            builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
                name.copy().finalize(),
                key,
                serial,
                hashes.SHA1(),  # noqa: S303
            )
            made.append(builder.build().public_bytes(Encoding.DER))
        return made


def in_memory() -> list[Figure]:
    """What a worker's own memory grows by with each cached answer, beside the octets that are sent."""
    context = multiprocessing.get_context("spawn")  # a forked process would copy pages of this one, which count as well
    ours, theirs = context.Pipe()
    child = context.Process(target=_fill, args=(theirs,))
    child.start()
    grown, sent, counted = ours.recv()
    child.join()
    detail = f"{grown:.0f} octets each, {sent:.0f} are sent, {counted:.0f} are counted; {KEPT} answers of P-256"
    return [Figure("memory of a cached answer / what is sent", grown / sent, 2.0, "", detail)]


def _fill(results: Connection) -> None:
    """Have a worker's cache filled; send octets of memory, sent and counted for an answer."""
    worker = Worker(1)
    requests, port = worker.requests(KEPT), PortState(worker.responder, EEPort())
    port.renew(requests[0])
    before = private_mib(os.getpid())
    for request_der in requests:
        port.renew(request_der)
    grown = (private_mib(os.getpid()) - before) * 2**20
    kept = list(port.cache.by_der.values())
    sent = sum(len(entry.wire) for entry in kept)
    results.send((grown / len(kept), sent / len(kept), port.cache.size_bytes / len(kept)))
