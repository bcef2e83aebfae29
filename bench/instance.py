"""A real instance in a fresh folder: created, started and fed through the command line, as an operator does it."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import ocsp

from bench.make_crl import make_ca, make_crl
from bench.processes import OwnMemory, private_mib
from vouchd.instance.report import InstanceReport, read_report
from vouchd.settings.layout import Layout

DAY = dt.timedelta(days=1)
PATIENCE_SECONDS = 300
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Run:
    """One command: how long it took, how long a processor worked on it, the most memory it had, all and its own."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    own_mib: float


@dataclass
class Instance:
    """The instance at `root`, its CA and the CA's key."""

    root: Path
    key: rsa.RSAPrivateKey
    ca: x509.Certificate
    crl_number: int = 0

    def vouchd(self, *arguments: str) -> Run:
        """Run one command on this instance to its end."""
        return timed_vouchd(self.root, *arguments)

    def write_crl(self, body: bytes, base: int | None = None) -> Path:
        """A new CRL with `body` as its entries, or a delta CRL over that of number `base`."""
        self.crl_number += 1
        at = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=10) + dt.timedelta(seconds=self.crl_number)
        path = self.root / f"{self.crl_number}.crl"
        path.write_bytes(make_crl(self.key, self.ca, body, self.crl_number, at, base))
        return path

    def report(self) -> InstanceReport:
        """What is served now."""
        report = read_report(Layout(self.root / "instance").serving)
        if report is None:
            raise SystemExit("the instance does not run")
        return report

    def ask(self, serial: int) -> ocsp.OCSPCertStatus:
        """The status of a serial, over a connection of its own."""
        port = self.report().ee[1]
        return ask(port, request(self.ca, serial))

    def wait_for(self, serial: int, status: ocsp.OCSPCertStatus) -> None:
        """Wait until every worker gives `status`: many new connections, spread over the workers by the kernel."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if all(self.ask(serial) is status for _ in range(16 * max(len(self.report().workers), 1))):
                return
        raise SystemExit(f"not every worker answers {status.name}")

    def worker_private_mib(self) -> float:
        """The largest private memory of a worker."""
        return max(private_mib(worker.pid) for worker in self.report().workers)


def timed_vouchd(root: Path, *arguments: str, of_instance: bool = True) -> Run:
    """Run one command to its end, on the instance in that folder where it is of one."""
    named = ["--instance", str(root / "instance")] if of_instance else []
    return timed([sys.executable, "-m", "vouchd.cli.main", *arguments, *named])


def timed(command: list[str]) -> Run:
    """Run a command; its failure ends the benchmark."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with OwnMemory(child.pid) as memory:
        errors = child.stderr.read().decode()
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {errors}")
    return Run(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, memory.most)


def request(issuer: x509.Certificate, serial: int) -> bytes:
    """DER of a request without a nonce."""
    name = hashes.Hash(hashes.SHA256())
    name.update(issuer.subject.public_bytes())
    key = hashes.Hash(hashes.SHA256())
    key.update(issuer.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1))
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name.finalize(), key.finalize(), serial, hashes.SHA256()
    )
    return builder.build().public_bytes(Encoding.DER)


def ask(port: int, request_der: bytes) -> ocsp.OCSPCertStatus:
    """The status in the answer to one POST."""
    post = urllib.request.Request(
        f"http://127.0.0.1:{port}/ocsp", request_der, {"Content-Type": "application/ocsp-request"}
    )
    with urllib.request.urlopen(post, timeout=10) as answer:  # noqa: S310  as above
        response = ocsp.load_der_ocsp_response(answer.read())
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise SystemExit(f"an answer of status {response.response_status.name}")
    return response.certificate_status


def _signer(root: Path, ca_key: rsa.RSAPrivateKey, ca: x509.Certificate, kind: str) -> tuple[Path, Path]:
    """Key and certificate of a delegated signer as files."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Bench signer {kind}")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(ca.subject, name, key.public_key(), 2, now - DAY, now + 30 * DAY)
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.OCSP_SIGNING])
    builder = builder.add_extension(usage, critical=False).add_extension(x509.OCSPNoCheck(), critical=False)
    files = root / "signer.key", root / "signer.pem"
    files[0].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files[0].chmod(0o600)
    files[1].write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return files


@contextmanager
def instance(
    kind: str = "EC",
    workers: int = 0,
    place: Callable[[Path, Path], tuple[str, ...]] | None = None,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Iterator[Instance]:
    """A running instance that holds an empty CRL of its CA; `kind` is the signer's, EC or RSA.

    `place` puts the key file elsewhere and returns the options of `create` that find it there.
    """
    root = Path(tempfile.mkdtemp(prefix="vouchd-bench-"))
    key, ca = make_ca()
    made = Instance(root, key, ca)
    signer_key, signer_certificate = _signer(root, key, ca, kind)
    (root / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    try:
        key_options = place(root, signer_key) if place else ("--signer-key", str(signer_key))
        made.vouchd(
            "create", *key_options, "--signer-cert", str(signer_certificate),
            "--ca-cert", str(root / "ca.pem"), "--listen", "127.0.0.1", "--port", "0", "--health-port", "0",
            "--workers", str(workers),
        )  # fmt: skip
        with (root / "instance" / "CS.cfg").open("a") as lines:
            lines.writelines(f"{name}={value}\n" for name, value in settings.items())
        made.vouchd("crl", "add", str(made.write_crl(b"")))
        made.vouchd("start")
        try:
            yield made
        finally:
            made.vouchd("stop")
    finally:
        shutil.rmtree(root)
