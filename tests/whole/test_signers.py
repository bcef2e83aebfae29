"""The signers of a running instance change while clients ask."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.est_server import ESTServer
from tests.pki import DAY
from tests.processes.running import eventually
from tests.sites import Site
from tests.whole.asking import Asking
from tests.whole.test_three_commands import Commands, of_our_own_ca

from vouchd.clock import SystemClock
from vouchd.errors import ClientError
from vouchd.files import replace_file
from vouchd.instance.certificates.issuing import certify
from vouchd.instance.configuration import write_values
from vouchd.pkix.purposes import Purpose
from vouchd.settings.layout import Layout

pytestmark = [pytest.mark.process, pytest.mark.interop]
SIGNER = "ocspSigningCert"


@pytest.fixture
def running(tmp_path):
    """An instance of two workers with a signer from our own CA, answering."""
    with of_our_own_ca(tmp_path) as commands:
        yield commands


def shown(commands: Commands) -> list[dict]:
    """The versions of the signer."""
    (signer,) = json.loads(commands.run("signer", "list", "--json"))
    return signer["versions"]


def serials(commands: Commands) -> list[int]:
    """The serial numbers of their certificates."""
    return [int(one["certificate"]["serial"], 16) for one in shown(commands)]


def asking(commands: Commands, issuer: str = "lab/ca.crt", certificate: str = "www.crt") -> Asking:
    """A client of the instance."""
    return Asking(commands.url, commands.site.folder, issuer, certificate)


def test_renewed_signer_is_switched_to_at_once_and_rolled_back(running):
    """Staged, rehearsed and switched to by itself, back by the same act; no client ever sees new, old, new."""
    with asking(running) as one, asking(running) as other:
        clients = [one, other]
        eventually(lambda: all(client.signers for client in clients), "the first answers")
        running.run("signer", "renew", SIGNER, "--ca", "lab", "--algorithm", "SHA256withRSA")
        oldest, newest = serials(running)
        eventually(
            lambda: all(client.signers[-1] == newest for client in clients), lambda: f"the switch: {shown(running)}"
        )
        running.run("signer", "switch", SIGNER, "1")
        eventually(
            lambda: all(client.signers[-1] == oldest for client in clients), lambda: f"the way back: {shown(running)}"
        )
    assert [client.failure for client in clients] == [None, None]
    assert [client.changes() for client in clients] == [[oldest, newest, oldest]] * 2


def test_second_signer_holds_up_nobody_and_signs_once_it_is_certified(running):
    """While its certificate is out its CA alone is answered tryLater, through a restart too; then it is answered."""
    folder = running.site.folder
    running.run("ca", "create", "--ca", "lab2", "--subject", "CN=Tier 2", "--key", "P-384")
    running.run("ca", "issue", "--ca", "lab2", "--subject", "CN=w2", "--name", "DNS:w2.example", "--out", "w2.crt")
    running.run("authority", "add", "lab2/ca.crt", "--new-signer", "tier2")
    running.run("ca", "publish", "--ca", "lab2", "--to", f"instance:{running.site.instance}")
    running.run("restart")
    first, second = asking(running), asking(running, "lab2/ca.crt", "w2.crt")
    assert first.ask()
    with pytest.raises(ClientError, match="tryLater"):
        second.ask()
    (request,) = (folder / "vouchd/alias").glob("tier2*.csr")
    (folder / "tier2.pem").write_bytes(certify(folder / "lab2", Purpose.OCSP_SIGNING, request.read_bytes()))
    running.run("signer", "install", "tier2", "tier2.pem")

    def answers() -> int:
        try:
            return second.ask()
        except ClientError:
            return 0

    eventually(answers, lambda: f"the second CA is answered: {running.run('signer', 'list')}")
    assert first.ask() != second.ask()


def test_signer_is_renewed_by_itself_while_clients_ask(tmp_path):
    """Nobody does anything: the next certificate comes by EST, and the running instance signs with it."""
    site, now = Site.make(tmp_path), SystemClock().now()
    old = site.ca.issue_signer(key=site.signer.key, not_before=now - 20 * DAY, not_after=now + 10 * DAY)
    (tmp_path / "signer.pem").write_bytes(old.pem)
    (tmp_path / "leaf.pem").write_bytes(site.ca.issue("leaf", not_before=now - DAY, not_after=now + DAY).pem)
    commands = Commands(site)
    files = ["--signer-key", "signer.key", "--signer-cert", "signer.pem", "--ca-cert", "ca.pem"]
    commands.run("create", *files, "--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--workers", "2")
    layout = Layout(site.instance)
    with ESTServer(tmp_path, site.ca, now, basic="ocsp:word") as server:
        server.is_open.clear()
        replace_file(
            layout.password_conf, layout.password_conf.read_bytes() + f"renewal.{SIGNER}=word\n".encode(), 0o600
        )
        values = {"by": "est", "url": server.url, "trust": str(server.trust), "user": "ocsp", "afterPercent": "1"}
        write_values(layout, {f"vouchd.renewal.{SIGNER}.{name}": value for name, value in values.items()})
        commands.run("crl", "add", site.crl("first.crl"))
        commands.run("start")
        try:
            with asking(commands, "ca.pem", "leaf.pem") as client:
                eventually(lambda: len(client.changes()) == 1, "the old signer signs")
                server.is_open.set()  # the certificate comes now
                eventually(
                    lambda: len(client.changes()) == 2, lambda: f"the new signer signs: {commands.run('status')}"
                )
        finally:
            commands.run("stop")
    assert client.failure is None
    assert client.changes()[0] == old.certificate.serial_number


def test_trusted_responder_is_believed_by_who_is_configured_to(running):
    """OpenSSL refuses the answer for a CA that did not issue the signer, and accepts it with -VAfile; so does ours."""
    folder = running.site.folder
    running.run("ca", "create", "--ca", "lab2", "--subject", "CN=Other CA", "--key", "P-384")
    running.run("ca", "issue", "--ca", "lab2", "--subject", "CN=w2", "--name", "DNS:w2.example", "--out", "w2.crt")
    running.run("authority", "add", "lab2/ca.crt", code=78)
    running.run("authority", "add", "lab2/ca.crt", "--trusted-responder")
    running.run("ca", "publish", "--ca", "lab2", "--to", f"instance:{running.site.instance}")
    signer = running.site.instance / "alias" / f"{SIGNER}.pem"
    ask = ["openssl", "ocsp", "-issuer", "lab2/ca.crt", "-cert", "w2.crt", "-CAfile", "lab2/ca.crt"]

    def openssl(*more: str) -> str:
        command = [*ask, "-url", running.url, *more]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stderr

    assert "Response verify OK" not in openssl()
    assert "Response verify OK" in openssl("-VAfile", str(signer))
    query = ["query", "--url", running.url, "--issuer", "lab2/ca.crt", "w2.crt"]
    assert "good" in running.run(*query, "--trust", str(signer))
    running.run(*query, code=76)
