"""An instance with many CAs, each with a signer of its own: what one more CRL costs manager and worker, and the start.

CAs and CRLs are put into the store by its library, so that the figures are of the running instance; the CRLs that are
measured are taken in as `vouchd crl add` does. The CAs share one key, and so do their signers.

A start is measured twice: the first one of the instance, in which the manager reads of each CRL that another process
of it has verified it, and makes the first manifest, and one more. Seconds are those until the first answers, for the
first 500 CAs, and until it answers for all; processor time, which other work on the machine changes less, is that of
manager, helpers and worker until then.
"""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.figures import Figure
from bench.instance import DAY, timed_vouchd
from bench.processes import cpu_seconds, ended_seconds, family, pss_mib
from vouchd.api.services import Services
from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.instance import lifecycle
from vouchd.pkix import certs
from vouchd.settings.layout import Layout
from vouchd.wiring.services import services

PUSHES = 30
THOUSAND = 1_000
CPU_MS = {THOUSAND: 20.0, 10 * THOUSAND: 50.0}
START_SECONDS = {THOUSAND: 3.0, 10 * THOUSAND: 10.0}
PSS_MIB = (143.0, 77.0)  # of manager and worker, 10,000 CAs
_PATIENCE_SECONDS = 600.0
_LOOK_SECONDS = 0.1
_LOT = 500


@dataclass
class ManyCAs:
    """The instance at `root` and its CAs, which share `key`."""

    root: Path
    key: ec.EllipticCurvePrivateKey
    cas: list[x509.Certificate]

    @property
    def layout(self) -> Layout:
        """Of the instance."""
        return Layout(self.root / "instance")

    def crl(self, number: int, ca: x509.Certificate) -> bytes:
        """A short CRL of that CA."""
        at = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=10) + dt.timedelta(seconds=number)
        builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(at).next_update(at + DAY)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for serial in range(1, 5 + number):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
            )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def push(self, opened: Services, number: int, ca: x509.Certificate) -> None:
        """Take a new CRL of that CA in."""
        with opened.ingest_lock():
            opened.ingesting.accept_crl(self.crl(number, ca), "bench", opened.caller, int(time.time()))


def figures(count: int) -> list[Figure]:
    """All figures of an instance with `count` CAs."""
    with many_cas(count) as made:
        starts = {"first": _started(made)}
        timed_vouchd(made.root, "stop")
        starts["next"] = _started(made)
        pids = _pids(made)
        with services(made.layout) as opened:
            _settle(made, opened)
            costs = _costs(made, opened, pids)
        memory = [pss_mib(pid) for pid in pids]
    names = ("manager", "a worker")
    rows = [
        Figure(f"one more CRL among {count:,} CAs, CPU of {name}", 1000 * cost, CPU_MS[count], "ms", "processor time")
        for name, cost in zip(names, costs, strict=True)
    ]
    for which, moments in starts.items():
        for what, moment in zip(("first answers", "answers for all"), moments, strict=True):
            detail = f"processor time {moment.cpu:.1f} s"
            name = f"{which} start with {count:,} CAs and signers, {what}"
            rows.append(Figure(name, moment.seconds, START_SECONDS[count], "s", detail))
    rows += [
        Figure(f"memory of {name}, {count:,} CAs", mib, target, "MiB", "PSS")
        for name, mib, target in zip(names, memory, PSS_MIB, strict=True)
    ]
    return rows


@dataclass(frozen=True)
class Moment:
    """Of a start: seconds from its begin, and the processor time of all its processes until then."""

    seconds: float
    cpu: float


def _started(made: ManyCAs) -> tuple[Moment, Moment]:
    """Start it; when it answered first, and when for all CAs."""
    begin, first, look = time.monotonic(), None, lifecycle.looks(made.layout)
    command = [sys.executable, "-m", "vouchd.cli.main", "start", "--instance", str(made.layout.root)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as starting:
        while starting.poll() is None:
            report = look().report
            if report is not None and report.acknowledged and first is None:
                first = _moment(begin, report.pid)
            time.sleep(_LOOK_SECONDS)
    if starting.returncode:
        raise SystemExit(f"the instance did not start: see {made.layout.log}")
    every = _moment(begin, _pids(made)[0])
    return first or every, every


def _moment(begin: float, pid: int) -> Moment:
    seconds = time.monotonic() - begin
    return Moment(seconds, ended_seconds(pid) + sum(map(cpu_seconds, family(pid))))


def _pids(made: ManyCAs) -> tuple[int, int]:
    report = lifecycle.status(made.layout).report
    if report is None:
        raise SystemExit("the instance does not run")
    return report.pid, report.workers[0].pid


def _costs(made: ManyCAs, opened: Services, pids: tuple[int, int]) -> list[float]:
    """Processor time of manager and worker for one CRL, what they take at rest taken off."""
    begin, before = time.monotonic(), [cpu_seconds(pid) for pid in pids]
    for number in range(PUSHES):
        made.push(opened, 2, made.cas[number])
        _settle(made, opened)
    seconds, after = time.monotonic() - begin, [cpu_seconds(pid) for pid in pids]
    time.sleep(seconds)
    rest = [cpu_seconds(pid) for pid in pids]
    return [(two - one - (three - two)) / PUSHES for one, two, three in zip(before, after, rest, strict=True)]


def _settle(made: ManyCAs, opened: Services) -> None:
    lifecycle.look_now(made.layout)
    lifecycle.wait_until_caught_up(made.layout, opened.store.revision(), seconds=_PATIENCE_SECONDS)


@contextmanager
def many_cas(count: int) -> Iterator[ManyCAs]:
    """An instance with so many CAs, each with a CRL, not started."""
    root = Path(tempfile.mkdtemp(prefix="vouchd-bench-"))
    made = ManyCAs(root, ec.generate_private_key(ec.SECP256R1()), [])
    try:
        made.cas = [_ca(made.key, number) for number in range(count)]
        _create(made)
        with services(made.layout) as opened:
            for number, ca in enumerate(made.cas):
                der, policy = ca.public_bytes(Encoding.DER), AuthorityPolicy(signer=f"s{number}")
                opened.store.put_authority(Authority(certs.authority_id(ca), der, f"CA {number}", policy))
            with opened.ingest_lock():
                for lot in range(0, count, _LOT):  # one change a lot: a CRL by itself is four times brought to disk
                    crls = [(made.crl(1, ca), "bench") for ca in made.cas[lot : lot + _LOT]]
                    opened.ingesting.accept_all(crls, opened.caller, int(time.time()))
        yield made
    finally:
        if lifecycle.status(made.layout).pid:
            timed_vouchd(root, "stop")
        shutil.rmtree(root)


def _create(made: ManyCAs) -> None:
    """The instance with a signer for each CA."""
    signer_key = ec.generate_private_key(ec.SECP256R1())
    key_file = made.root / "signer.key"
    key_file.write_bytes(signer_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key_file.chmod(0o600)
    lines = []
    for number, ca in enumerate(made.cas):
        path = made.root / f"signer{number}.pem"
        path.write_bytes(_signer(made.key, ca, signer_key).public_bytes(Encoding.PEM))
        lines += [f"vouchd.signer.s{number}.key={key_file}", f"vouchd.signer.s{number}.certificate={path}"]
    (made.root / "ca.pem").write_bytes(made.cas[0].public_bytes(Encoding.PEM))
    timed_vouchd(
        made.root, "create", "--signer-key", str(key_file), "--signer-cert", str(made.root / "signer0.pem"),
        "--ca-cert", str(made.root / "ca.pem"), "--listen", "127.0.0.1", "--port", "0", "--health-port", "0",
        "--workers", "1",
    )  # fmt: skip
    with made.layout.cs_cfg.open("a") as file:
        file.write("\n".join(lines) + "\n")


def _ca(key: ec.EllipticCurvePrivateKey, number: int) -> x509.Certificate:
    name = _name(f"Bench CA {number}")
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), number + 1, now - DAY, now + 300 * DAY)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )


def _signer(
    key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, signer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    name = _name("Bench signer")
    builder = x509.CertificateBuilder(ca.subject, name, signer_key.public_key(), 1 << 32, now - DAY, now + 30 * DAY)
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.OCSP_SIGNING])
    return (
        builder.add_extension(usage, critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .sign(key, hashes.SHA256())
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
