"""A running instance with an agent port, its CA, its next CRL, and a second CA that it does not know."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.commands import run_vouchd, start_vouchd
from tests.processes.running import eventually

from vouchd.instance.report import InstanceReport, read_report
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords

HOST = "127.0.0.1"


@dataclass
class Answer:
    """What came back over HTTPS."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class AgentSite:
    """A folder with an instance that runs and two CAs."""

    folder: Path
    port: int = 0
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(self.folder / "vouchd")

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def vouchd(self, *arguments: str, code: int = 0) -> str:
        """Run `vouchd` as a user does."""
        done = run_vouchd(*arguments, cwd=self.folder)
        assert done.returncode == code, done.stderr
        return done.stdout

    def file(self, name: str) -> Path:
        return self.folder / name

    def context(self, who: str = "admin") -> ssl.SSLContext:
        """TLS as `who` speaks it; an empty name: without a certificate."""
        if who not in self.contexts:
            context = ssl.create_default_context(cafile=str(self.file("ca/ca.crt")))
            if who == "admin":
                alias, password = self.layout.alias, read_passwords(self.layout.password_conf)[INTERNAL]
                context.load_cert_chain(alias / "admin.pem", alias / "admin.key", password)
            elif who:
                context.load_cert_chain(self.file(f"{who}.crt"), self.file(f"{who}.key"))
            self.contexts[who] = context
        return self.contexts[who]

    def ask(self, path: str, *, who: str = "admin", form: dict[str, str] | None = None, **headers: str) -> Answer:
        """GET, or POST of a form, over a connection of its own."""
        connection = http.client.HTTPSConnection(HOST, self.port, context=self.context(who), timeout=60)
        try:
            if form is None:
                connection.request("GET", path, headers=headers)
            else:
                kind = {"Content-Type": "application/x-www-form-urlencoded"}
                connection.request("POST", path, urlencode(form), {**kind, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def token(self, who: str = "admin", path: str = "/agent/check-certificate") -> str:
        """The token of a form as `who` gets it."""
        return re.search(r'name="token" value="([0-9a-f]{64})"', self.ask(path, who=who).text)[1]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The running instance; tests add to it but take nothing away that others need."""
    made = AgentSite(tmp_path_factory.mktemp("agent-pages"))
    create_instance(made)
    for name in ("kept", "lost"):
        _issue(made, "ca", name)
    made.vouchd("ca", "publish", "--to", "instance:vouchd")
    made.vouchd("ca", "revoke", "lost.crt", "--reason", "keyCompromise")
    made.vouchd("ca", "crl", "--pem", "--out", "next.crl")
    made.vouchd("ca", "create", "--ca", "other", "--subject", "CN=Second CA,O=Example")
    with running(made):
        yield made


def create_instance(site: AgentSite, *options: str) -> None:
    """Make the CA and the instance of a site."""
    site.vouchd("ca", "create", "--subject", "CN=First CA,O=Example")
    ports = ("--port", "0", "--health-port", "0", "--agent-port", "0")
    site.vouchd("create", "--ca", "ca", "--listen", HOST, *ports, *options)


@contextmanager
def running(site: AgentSite) -> Iterator[None]:
    """Within it the instance runs."""
    with site.file("log").open("wb") as log:
        process = start_vouchd("run", "--instance", "vouchd", cwd=site.folder, stderr=log)
        try:
            site.port = eventually(lambda: _agent_port(site.layout), "an agent port")
            yield
        finally:
            process.terminate()
            process.wait(60)


def _issue(site: AgentSite, ca: str, name: str) -> None:
    names = ("--subject", f"CN={name}.example.test", "--name", f"DNS:{name}.example.test")
    site.vouchd("ca", "issue", "--ca", ca, *names, "--out", f"{name}.crt", "--key-out", f"{name}.key")


def _agent_port(layout: Layout) -> int:
    report: InstanceReport | None = read_report(layout.serving)
    return report.agent[1] if report and report.agent and report.acknowledged else 0
