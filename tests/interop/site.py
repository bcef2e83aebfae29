"""A CA and a running instance made with our commands alone, on today's clock, for foreign clients to ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.commands import run_vouchd
from tests.ports import free_port

DEADLINE_SECONDS = 120


def vouchd(*arguments: object) -> dict:
    """Run one `vouchd` command and give its JSON result."""
    ended = run_vouchd(*arguments, "--json")
    assert ended.returncode == 0, f"{ended.args}: {ended.stderr}"
    return json.loads(ended.stdout)


@dataclass(frozen=True)
class Leaf:
    """A certificate of the CA, and what is known of it."""

    file: Path
    serial: str


class Site:
    """CA and instance in `folder`; three certificates: good, revoked (keyCompromise), and one the CA disowns."""

    def __init__(self, folder: Path, key: str, algorithm: str) -> None:
        self.folder = folder
        self.instance = folder / "instance"
        self.ca_folder = folder / "ca"
        port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{port}/"
        vouchd(
            *("ca", "create", "--ca", self.ca_folder, "--subject", f"CN=Interop {key} CA", "--key", key),
            *("--ocsp-url", self.url),  # NSS goes by the certificate
        )
        self.ca_file = self.ca_folder / "ca.crt"
        self.good, self.revoked, self.unknown = (self._issue(name) for name in ("good", "revoked", "unknown"))
        vouchd("ca", "revoke", self.revoked.serial, "--ca", self.ca_folder, "--reason", "keyCompromise")
        vouchd("ca", "crl", "--ca", self.ca_folder, "--out", folder / "ca.crl")
        vouchd(
            "create",
            *("--instance", self.instance, "--ca", self.ca_folder, "--algorithm", algorithm),
            *("--listen", "127.0.0.1", "--port", port, "--health-port", 0, "--agent-port", 0, "--workers", 1),
        )
        vouchd("crl", "add", folder / "ca.crl", "--instance", self.instance)
        self._disown_unknown()
        vouchd("start", "--instance", self.instance, "--timeout", DEADLINE_SECONDS)

    def _issue(self, name: str) -> Leaf:
        file = self.folder / f"{name}.crt"
        issued = vouchd(
            "ca", "issue", "--ca", self.ca_folder, "--profile", "user", "--subject", f"CN={name}", "--out", file
        )
        return Leaf(file, issued["serial"])

    def _disown_unknown(self) -> None:
        """Give the instance the list of issued serials without one: its certificate is `unknown` from then on."""
        serials = self.folder / "issued.txt"
        serials.write_text(f"{self.good.serial}\n{self.revoked.serial}\n")
        (authority,) = vouchd("ca", "list", "--instance", self.instance)
        vouchd("ca", "set", authority["label"], "--instance", self.instance, "--issued-serials", serials, "--yes")

    def stop(self) -> None:
        """Stop the instance."""
        ended = run_vouchd("stop", "--instance", self.instance)
        assert ended.returncode == 0, ended.stderr
