"""An instance of vouchd beside the Dogtag: with its OCSP manager's keys, its CA, its agents, and its CA's publisher."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.commands import run_vouchd
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab

URL = f"http://{plan.HOST}:{plan.BESIDE_HTTP_PORT}"
AGENT_URL = f"https://{plan.HOST}:{plan.BESIDE_HTTPS_PORT}"


@dataclass
class Beside:
    """The commands of that instance, each in a process of its own."""

    lab: Lab
    folder: Path
    notes: str = field(default="", init=False)  # what the last command said beside its result
    said: str = field(default="", init=False)  # what `create` said

    @property
    def instance(self) -> Path:
        return self.folder / "vouchd"

    def run(self, *arguments: object, code: int = 0) -> str:
        """What a command prints; `notes` keeps what it says beside that."""
        environment = {**os.environ, "VOUCHD_INSTANCE": str(self.instance)}
        done = run_vouchd(*arguments, env=environment, cwd=self.folder)
        assert done.returncode == code, done.stderr
        self.notes = done.stderr
        return done.stdout

    def json(self, *arguments: object):
        """The same as JSON."""
        return json.loads(self.run(*arguments, "--json"))

    def status(self, serial: int) -> str:
        """What our own client is told of a serial of the lab's CA."""
        question = ["query", "--url", URL, "--issuer", self.lab.ca_file, "--serial", f"{serial:x}", "--json"]
        environment = {**os.environ, "VOUCHD_INSTANCE": str(self.instance)}
        done = run_vouchd(*question, env=environment, cwd=self.folder)
        answers = json.loads(done.stdout or "{}").get("answers", [])
        return answers[0]["status"] if answers else done.stderr

    def create(self) -> str:
        """Make it of what the OCSP manager hands to a clone; returns what was said."""
        keys = self._private("ocsp.p12")
        password = self._private("password")
        ports = ["--port", plan.BESIDE_HTTP_PORT, "--agent-port", plan.BESIDE_HTTPS_PORT, "--health-port", 0]
        signer = ["--pkcs12", keys, "--password-file", password, "--nickname", "ocsp_signing"]
        authority = ["--ca-cert", self.lab.ca_file]
        place = ["--listen", plan.ADDRESS, "--hostname", plan.HOST, "--workers", 1]
        self.run("create", *signer, *authority, *place, *ports)
        said = self.notes
        self.take_in("sslserver", "caAgentServerCert", f"CN={plan.HOST}", "--name", f"DNS:{plan.HOST}")
        self._add_users()
        return said

    def take_in(self, name: str, profile: str, subject: str, *more: str) -> None:
        """Have the CA certify a system key; its profiles ask for RSA."""
        wanted = ["--subject", subject, "--algorithm", "SHA256withRSA", *more]
        made = self.json("certs", "request", name, *wanted)
        certificate = self.lab.certify((self.instance / made["request"]).read_bytes(), profile=profile)
        file = self.folder / f"{name}.pem"
        file.write_bytes(pem(certificate) + self.lab.ca_file.read_bytes())
        self.run("certs", "install", name, file)

    def _add_users(self) -> None:
        admin = ["--group", "administrators", "--group", "agents", "--group", "auditors"]
        self.run("user", "add", "caadmin", *admin, "--cert", self.lab.file("admin.pem"))
        publisher = self.folder / "publisher.pem"
        publisher.write_bytes(pem(self.lab.publisher))
        name = f"CA-{plan.HOST}-{plan.CA.https_port}"
        self.run("user", "add", name, "--group", "trusted-managers", "--cert", publisher)

    def _private(self, name: str) -> Path:
        """A copy of a file of the lab that nobody else may read."""
        copy = self.folder / name
        shutil.copy(self.lab.file(name), copy)
        copy.chmod(0o600)
        return copy


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)
