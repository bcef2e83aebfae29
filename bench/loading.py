"""Loading many CAs, each with a signer of its own, and their CRLs from folders, as an operator does it."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.figures import Figure
from bench.instance import DAY, timed_vouchd
from vouchd.settings.layout import Layout

SECONDS = {1_000: 60.0, 10_000: 600.0}  # of one folder


class Pki:
    """`count` CAs of one key below `root`: a certificate, a CRL and a signer of each, in a folder each."""

    def __init__(self, root: Path, count: int) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._now = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
        self.cas, self.crls, self.signers = (root / name for name in ("cas", "crls", "signers"))
        for folder in (self.cas, self.crls, self.signers):
            folder.mkdir()
        for number in range(count):
            self._make(number)

    def _make(self, number: int) -> None:
        name, key, now = _name(f"Bench CA {number:05}"), self._key, self._now
        ca = x509.CertificateBuilder(name, name, key.public_key(), number + 1, now - DAY, now + 900 * DAY)
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        _write(self.cas / f"{number:05}.pem", ca.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        crl = x509.CertificateRevocationListBuilder(name, now, now + 30 * DAY)
        crl = crl.add_extension(x509.CRLNumber(1), critical=False)
        crl = crl.add_revoked_certificate(x509.RevokedCertificateBuilder(1000, now - DAY).build())
        _write(self.crls / f"{number:05}.crl", crl.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
        own = ec.generate_private_key(ec.SECP256R1())
        signer = x509.CertificateBuilder(name, _name("Signer"), own.public_key(), 2, now - DAY, now + 90 * DAY)
        usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.OCSP_SIGNING])
        signer = signer.add_extension(usage, critical=False).add_extension(x509.OCSPNoCheck(), critical=False)
        _write(self._file(number, "pem"), signer.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        _write(self._file(number, "key"), own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def _file(self, number: int, suffix: str) -> Path:
        return self.signers / f"s{number:05}.{suffix}"

    def settings(self, count: int) -> str:
        """The lines of CS.cfg for all signers but the first, which the instance is made with."""
        prefixes = [(f"vouchd.signer.s{number:05}", number) for number in range(1, count)]
        return "".join(
            f"{prefix}.key={self._file(number, 'key')}\n{prefix}.certificate={self._file(number, 'pem')}\n"
            for prefix, number in prefixes
        )

    def create(self, root: Path, count: int) -> None:
        """Make an instance of the first CA in `root` that has all signers."""
        timed_vouchd(
            root, "create", "--signer-key", str(self._file(0, "key")), "--signer-cert", str(self._file(0, "pem")),
            "--ca-cert", str(self.cas / "00000.pem"), "--listen", "127.0.0.1", "--port", "0", "--health-port", "0",
        )  # fmt: skip
        with Layout(root / "instance").cs_cfg.open("a", encoding="utf-8") as config:
            config.write(self.settings(count))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def figures(count: int) -> list[Figure]:
    """Loading `count` CAs and their CRLs from folders into an instance that does not run."""
    root = Path(tempfile.mkdtemp(prefix="vouchd-bench-"))
    try:
        pki = Pki(root, count)
        pki.create(root, count)
        loads = {
            "CAs": timed_vouchd(root, "authority", "add", "--from", str(pki.cas)),
            "CRLs": timed_vouchd(root, "crl", "add", str(pki.crls)),
        }
    finally:
        shutil.rmtree(root)
    return [
        Figure(
            f"load {count} {what} from a folder",
            run.seconds,
            SECONDS[count],
            "s",
            f"{count / run.seconds:.0f} a second, {run.peak_mib:.0f} MiB",
        )
        for what, run in loads.items()
    ]
