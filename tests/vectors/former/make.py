"""Makes a whole backup with the `vouchd` that Python imports, for the versions after it; run it in that version's tree.

    PYTHONPATH=THAT/src:THIS python tests/vectors/former/make.py schema-N.backup

An instance with a CA, its delegated signer, and three CRLs, the last one a delta, all good for ninety years. It runs and is
asked when it is backed up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pki import CA, DAY, HOUR, NOW

PASSWORD = "a password of the tests"
LAST = NOW + 90 * 365 * DAY
PORTS = ("--port", "0", "--health-port", "0", "--workers", "1")
HELD = x509.ReasonFlags.certificate_hold


def main(out: Path) -> None:
    """The backup, in the file `out`."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        ca = CA.create("Former CA", not_after=LAST)
        signer = ca.issue_signer(not_after=LAST)
        secret = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for name, data in (("ca", ca.pem), ("signer", signer.pem), ("key", secret)):
            private(name, data)
        private("password", PASSWORD.encode())
        vouchd("create", "--signer-key", "key", "--signer-cert", "signer", "--ca-cert", "ca", *PORTS)
        first = dict.fromkeys(range(1000, 1010))
        whole = first | dict.fromkeys(range(1010, 1050), HELD)
        crl(ca.crl(first, number=1, this_update=NOW - 3 * HOUR, next_update=LAST))
        crl(ca.crl(whole, number=2, this_update=NOW - 2 * HOUR, next_update=LAST))
        crl(ca.crl({2000: None}, number=3, base=2, next_update=LAST))
        vouchd("start")
        try:
            vouchd("backup", "--all", "--out", str(out), "--password-file", "password")
        finally:
            vouchd("stop")


def private(name: str, data: bytes) -> None:
    """A file for its owner alone."""
    Path(name).write_bytes(data)
    Path(name).chmod(0o600)


def crl(data: bytes) -> None:
    """Bring a CRL."""
    Path("crl").write_bytes(data)
    vouchd("crl", "add", "crl")


def vouchd(*words: str) -> None:
    """A command of that version, on the instance in this folder."""
    subprocess.run([sys.executable, "-m", "vouchd.cli.main", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
