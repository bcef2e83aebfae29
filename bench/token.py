"""Answers with a nonce, each signed on a token of SoftHSM, beside what its module signs in a loop of its own.

Both use one session; the module runs in a process of its own either way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import signing
from bench.figures import Figure
from bench.instance import Instance, instance

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN, LABEL = "bench-pin", "bench"
KINDS = {"EC": ("ECDSA P-256", "SHA256withEC"), "RSA": ("RSA-2048", "SHA256withRSA")}
TARGET = 0.9

ALONE = """
import sys, time
from pathlib import Path
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from vouchd.signing.token.device import Device
module, label, pin, certificate, algorithm, seconds = sys.argv[1:]
key = x509.load_pem_x509_certificate(Path(certificate).read_bytes()).public_key()
device = Device(Path(module), label, pin)
number = device.find(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
data, count, end = b"x" * 300, 0, time.monotonic() + float(seconds)
while time.monotonic() < end:
    device.sign(number, algorithm, data)
    count += 1
print(count / float(seconds))
"""


@contextmanager
def on_token(kind: str) -> Iterator[Instance]:
    """An instance whose signer's key is on a token of SoftHSM, with one session of its one worker."""

    def place(root: Path, key_file: Path) -> tuple[str, ...]:
        (root / "tokens").mkdir()
        conf = root / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {root / 'tokens'}\nobjectstore.backend = file\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        _util("--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", PIN)
        _util("--import", str(key_file), "--token", LABEL, "--label", "bench", "--id", "b1", "--pin", PIN)
        pin = root / "pin"
        pin.touch(0o600)
        pin.write_text(PIN)
        return "--token", LABEL, "--module", str(MODULE), "--pin-file", str(pin)

    with instance(kind, workers=1, place=place, settings={"vouchd.token.sessions": "1"}) as made:
        yield made


def _util(*arguments: str) -> None:
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)


def module_alone(certificate: Path, algorithm: str, seconds: int) -> float:
    """Signatures a second of the module in a loop, through the library."""
    words = [str(MODULE), LABEL, PIN, str(certificate), algorithm, str(seconds)]
    done = subprocess.run([sys.executable, "-c", ALONE, *words], check=True, capture_output=True, text=True)
    return float(done.stdout)


def figures(seconds: int, rounds: int) -> list[Figure]:
    """The ratio for each kind of key, both measured in turn."""
    return [_figure(kind, seconds, rounds) for kind in KINDS]


def _figure(kind: str, seconds: int, rounds: int) -> Figure:
    name, algorithm = KINDS[kind]
    rates, limits = [], []
    with on_token(kind) as made:
        load = signing.Load(signing.Row(name, kind, signing.WARM), made.ca, made.root)
        for _ in range(rounds):
            limits.append(module_alone(made.root / "signer.pem", algorithm, seconds))
            rates.append(signing.wrk(made.report().ee[1], load.script(), seconds, 64)[0])
        _require_all_signed(made)
    detail = f"{max(rates):.0f}/s, SoftHSM by itself {max(limits):.0f}/s"
    return Figure(f"nonce answers, {name} on a token", max(rates) / max(limits), TARGET, "", detail, at_least=True)


def _require_all_signed(made: Instance) -> None:
    """End the benchmark where something was answered tryLater, which costs nothing."""
    host, port = made.report().health
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    late = [line for line in lines if 'status="try_later"' in line and not line.endswith((" 0", " 0.0"))]
    if late:
        raise SystemExit(f"not all were signed: {late}")
