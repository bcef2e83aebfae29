"""A master of our own CA and what is asked of it and its clones; every command is a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.commands import run_vouchd, words
from tests.pki import CA
from tests.ports import free_port
from tests.processes.running import DEADLINE_SECONDS, eventually

from vouchd.client.transport import Connection, Method
from vouchd.instance.configuration import write_values
from vouchd.instance.lifecycle import status
from vouchd.instance.pidfile import running_pid
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.keys import read_key
from vouchd.wiring import services as wiring

PASSWORD = "a password for the keys"
KINDS = ("port", "agent-port", "health-port")


Set = TypeVar("Set", bound="CloneSet")


class CloneSet:
    """`folder` holds the CA `lab`, its certificates, and an instance folder for each member."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {}
        self.hosts = {}
        self.prepared = {}
        shutil.copytree(_lab().name, folder, dirs_exist_ok=True)
        self.write("keys.password", PASSWORD)

    @property
    def lab(self) -> CA:
        """The CA, to issue what our certificate manager would not."""
        folder = self.folder / "lab"
        key = read_key(folder / "ca.key", read_passwords(folder / "password.conf")[INTERNAL])
        return CA(x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()), key)

    def write(self, name: str, text: str) -> str:
        """A file that only its owner may read; returns its path."""
        path = self.folder / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return str(path)

    def run(self, *arguments: str, code: int = 0, under: Sequence[str] = ()) -> str:
        """What the command prints."""
        return self.done(*arguments, code=code, under=under).stdout

    def refused(self, *arguments: str, under: Sequence[str] = ()) -> str:
        """What the command says when it refuses."""
        done = self.done(*arguments, code=None, under=under)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def done(self, *arguments: str, code: int | None = 0, under: Sequence[str] = ()) -> subprocess.CompletedProcess:
        """The command after it ended; `under` is a program that runs it, such as faketime."""
        if under:
            command = [*under, *words(*arguments)]
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        else:
            done = run_vouchd(*arguments, cwd=self.folder)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str):
        return json.loads(self.run(*arguments, "--json"))

    def layout(self, name: str) -> Layout:
        return Layout(self.folder / name)

    def host(self, name: str) -> tuple[str, str]:
        """Name and address of a member's host; the address of this host for those not said."""
        return self.hosts.get(name, ("127.0.0.1", "127.0.0.1"))

    def ports_of(self, name: str) -> list[str]:
        """The options for the ports of a member, always the same."""
        _, address = self.host(name)
        if name not in self.ports:
            self.ports[name] = [free_port(address) for _ in KINDS]
        pairs = zip(KINDS, self.ports[name], strict=True)
        return [part for kind, port in pairs for part in (f"--{kind}", str(port))]

    def make_master(self, name: str = "m", *more: str, start: bool = True) -> None:
        """A running master whose CA has published a CRL."""
        host, address = self.host(name)
        self.run(
            *("create", "--instance", name, "--ca", "lab", "--listen", address, "--hostname", host, "--workers", "1"),
            *self.ports_of(name),
            *more,
        )
        self.publish(name)
        if start:
            self.run("start", "--instance", name)

    def make_prepared(self, *, running: bool = False, **settings: object) -> None:
        """A running master that revokes `bad`, ready to be cloned, with these lines `vouchd.clone.…` in its CS.cfg.

        A master that is `running` restarts when it is prepared, which costs more than all else.
        """
        self.make_master(start=running)
        self.revoke("bad")
        self.publish("m")
        write_values(self.layout("m"), {f"vouchd.clone.{name}": str(value) for name, value in settings.items()})
        self.prepare()
        if not running:
            self.run("start", "--instance", "m")

    def publish(self, name: str) -> None:
        """A new CRL of the CA is given to a member."""
        self.run("ca", "publish", "--ca", "lab", "--to", f"instance:{self.folder / name}")

    def revoke(self, name: str) -> None:
        """A certificate of the CA is revoked; no CRL says so yet."""
        serial = x509.load_pem_x509_certificate((self.folder / f"{name}.crt").read_bytes()).serial_number
        self.run("ca", "revoke", "--ca", "lab", f"{serial:x}", "--reason", "keyCompromise")

    def prepare(self, name: str = "m") -> None:
        """`clone prepare`; what it tells is kept for `create`."""
        files = ["--out", "keys.p12", "--password-file", "keys.password", "--token-out", "token"]
        self.prepared = self.json("clone", "prepare", "--instance", name, "--host", self.host(name)[0], *files)

    def create(self, name: str, *more: str) -> list[str]:
        """The words of `clone create` for a new member."""
        host, address = self.host(name)
        return [
            *("clone", "create", "--instance", name, "--host", host, "--workers", "1", "--listen", address),
            *("--master", self.prepared["master"], "--fingerprint", self.prepared["fingerprint"]),
            *("--token-file", "token", "--pkcs12", "keys.p12", "--password-file", "keys.password", "--ca", "lab"),
            *self.ports_of(name),
            *more,
        ]

    def as_administrator(self, name: str = "m") -> list[str]:
        """The options that name the certificate and key of the administrator made with that member."""
        alias = self.layout(name).alias
        password = read_passwords(self.layout(name).password_conf)[INTERNAL]
        files = ["--cert", str(alias / "admin.pem"), "--key", str(alias / "admin.key")]
        return [*files, "--password-file", self.write("admin.password", password)]

    def administrator_s_keys(self, name: str = "m") -> Path:
        """Key and certificate of that member's administrator in one file that needs no password."""
        keys, layout = self.folder / "admin.pem", self.layout(name)
        source = ["-in", str(layout.admin_pkcs12), "-passin", f"file:{layout.admin_password}"]
        command = ["openssl", "pkcs12", *source, "-nodes", "-out", str(keys)]
        subprocess.run(command, check=True, capture_output=True)
        return keys

    def members(self, name: str) -> dict[str, bool]:
        """Whether each member is a clone, by id, as the registry at one of them has it."""
        with wiring.services(self.layout(name)) as services:
            return {member.id: member.clone for member in services.store.members()}

    def id_of(self, name: str) -> str:
        return f"{self.host(name)[0]}:{self.ports[name][1]}"

    def setting(self, name: str, key: str) -> str:
        """A line of the member's CS.cfg."""
        lines = self.layout(name).cs_cfg.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")[key]

    def question(self, certificate: str, digest: hashes.HashAlgorithm) -> bytes:
        """DER of an OCSPRequest about a certificate of the CA."""
        ca, leaf = (
            x509.load_pem_x509_certificate((self.folder / path).read_bytes())
            for path in ("lab/ca.crt", f"{certificate}.crt")
        )
        request = ocsp.OCSPRequestBuilder().add_certificate(leaf, ca, digest).build()
        return request.public_bytes(Encoding.DER)

    def ee_url(self, name: str) -> str:
        """Where a member answers."""
        return f"http://{self.host(name)[1]}:{self.ports[name][0]}/"

    def said(self, name: str, certificate: str) -> bytes:
        """The whole answer of a member, over HTTP: DER of an OCSPResponse."""
        wanted = urllib.request.Request(  # noqa: S310  our own port
            self.ee_url(name),
            self.question(certificate, hashes.SHA256()),
            {"Content-Type": "application/ocsp-request"},
        )
        with urllib.request.urlopen(wanted, timeout=30) as response:  # noqa: S310  our own port
            return response.read()

    def etags(self, names: Sequence[str], certificate: str) -> list[str]:
        """The ETags of what these members answer over GET, each once."""
        request, tags = self.question(certificate, hashes.SHA1()), set()
        for name in names:
            with Connection(self.ee_url(name)) as connection:
                tags.add(connection.exchange(request, Method.GET).header("ETag"))
        return sorted(tags)

    def answer(self, name: str, certificate: str) -> ocsp.OCSPResponse:
        """What a member answers of a certificate."""
        return ocsp.load_der_ocsp_response(self.said(name, certificate))

    def says(self, name: str, certificate: str) -> str:
        """What a member says of a certificate; of an answer without one, its OCSPResponseStatus."""
        answer = self.answer(name, certificate)
        successful = answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        return (answer.certificate_status if successful else answer.response_status).name.lower()

    def until_says(self, name: str, certificate: str, wanted: str) -> None:
        eventually(lambda: self.says(name, certificate) == wanted, f"{name} says {wanted}")

    def health(self, name: str, path: str) -> tuple[int, str]:
        """Status and body at the health port of a member."""
        url = f"http://127.0.0.1:{self.ports[name][2]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ask(
        self, name: str, method: str, path: str, body: bytes | None = None, kind: str = "text/plain"
    ) -> tuple[int, str]:
        """Status and body of what the administrator is answered at the agent port of a member."""
        layout = self.layout(name)
        context = ssl.create_default_context(cafile=self.folder / "lab/ca.crt")
        password = read_passwords(layout.password_conf)[INTERNAL]
        context.load_cert_chain(layout.alias / "admin.pem", layout.alias / "admin.key", password)
        host, port = self.host(name)[0], self.ports[name][1]
        with closing(http.client.HTTPSConnection(host, port, timeout=DEADLINE_SECONDS, context=context)) as connection:
            connection.request(method, path, body, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read().decode()

    def lists(self, name: str):
        """The list of CAs as the agent page shows it, and the CRLs."""
        return [self.json(*verb, "--instance", name) for verb in (("ca", "list"), ("crl", "list"))]

    def kill(self, name: str) -> None:
        """The end of a host: no process of the member is left."""
        pid = running_pid(self.layout(name).pid_file)
        if pid is None:
            return
        report = eventually(lambda: status(self.layout(name)).report, "the member tells of its workers")
        workers = [worker.pid for worker in report.workers]
        for one in (pid, *workers):
            os.kill(one, 9)
        eventually(lambda: running_pid(self.layout(name).pid_file) is None, "the member is dead")


@cache
def _lab() -> TemporaryDirectory:
    """The CA and its certificates as every set begins: made once, and copied."""
    folder = TemporaryDirectory(prefix="lab")
    commands = [["ca", "create", "--ca", "lab", "--subject", "CN=Lab CA"]]
    for name in ("good", "bad"):
        issue = ["ca", "issue", "--ca", "lab", "--subject", f"CN={name}", "--name", f"DNS:{name}.example"]
        commands.append([*issue, "--out", f"{name}.crt"])
    for command in commands:
        done = run_vouchd(*command, cwd=Path(folder.name))
        assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def clone_set(folder: Path, kind: type[Set] = CloneSet) -> Iterator[Set]:
    """The set; whatever of it still runs at the end is killed."""
    members = kind(folder)
    try:
        yield members
    finally:
        for name in members.ports:
            pid = running_pid(members.layout(name).pid_file)
            if pid is not None:  # nothing of it is needed any more: its workers end with it
                os.kill(pid, signal.SIGKILL)
