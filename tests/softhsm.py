"""Tokens for tests: SoftHSM 2 below a folder, and a module in between that fails when it is told to."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vouchd.signing.token.reference import TokenPlace

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "4711-secret"
SO_PIN = "0815-officer"


class SoftHSM:
    """Tokens of SoftHSM below `folder`; who is to reach them has `environment`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = folder / "tokens"
        self.tokens.mkdir(parents=True)
        conf = folder / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.orders = folder / "orders"  # of the module in between
        self.environment = {
            "SOFTHSM2_CONF": str(conf),
            "MEDDLING_MODULE": str(MODULE),
            "MEDDLING_ORDERS": str(self.orders),
        }

    def add(self, label: str, pin: str = PIN) -> None:
        """A new token."""
        self.util("--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", SO_PIN)

    def keep(self, label: str, key, name: str = "ocspSigningCert") -> None:
        """Put a key of ours on that token."""
        path = self.folder / "key.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.util("--import", str(path), "--token", label, "--label", name, "--id", "a1", "--pin", PIN, "--force")
        path.unlink()

    def util(self, *arguments: str) -> str:
        done = subprocess.run(
            ["softhsm2-util", *arguments], env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def order(self, word: str = "") -> None:
        """Have the module in between do that from now on: nothing, or one of these.

        `hang`, `crash`, `wrong`, `locked`, `error`; `slow`: a signature takes 30 ms and more; `late`: no token is there when the module has just been loaded;
        `final`: it says that one more wrong PIN would lock it; `busy`: a key is removed with the second try alone.
        """
        draft = self.orders.with_suffix(".new")
        draft.write_text(word)
        draft.rename(self.orders)

    def place(self, label: str = "ocsp", *, meddling: bool = False, pin: str = PIN) -> TokenPlace:
        """Where that token is, with its PIN in a password.conf."""
        passwords = self.folder / "password.conf"
        if not passwords.exists():
            write_pin(passwords, label, pin)
        return TokenPlace(meddling_module() if meddling else MODULE, label, passwords)


def write_pin(passwords: Path, label: str, pin: str) -> None:
    """The one line of a password.conf."""
    draft = passwords.with_suffix(".new")
    draft.touch(0o600)
    draft.write_text(f"hardware-{label}={pin}\n")
    draft.rename(passwords)


@cache
def meddling_module() -> Path:
    """The module in between, compiled."""
    source = Path(__file__).with_name("meddling_module.c")
    module = Path(mkdtemp(prefix="vouchd-module-")) / "meddling.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(module), str(source), "-ldl"], check=True)
    return module
