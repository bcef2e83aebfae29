"""The agent port of a running instance: a CA publishes through it, and a restart turns nobody away."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import threading
from contextlib import closing

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.agent.test_certsystem_publishing import body_of, form, head
from tests.processes.running import DEADLINE_SECONDS, eventually
from tests.sites import Site
from tests.whole.test_three_commands import Commands

from vouchd.instance.pidfile import running_pid
from vouchd.instance.report import InstanceReport, read_report
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords

pytestmark = pytest.mark.process


class Running(Commands):
    """A running instance with all its certificates from our own CA, and its administrator as a client."""

    @property
    def layout(self) -> Layout:
        return Layout(self.site.instance)

    @property
    def report(self) -> InstanceReport:
        return eventually(lambda: read_report(self.layout.serving), "a serving report")

    def administrator(self) -> ssl.SSLContext:
        """TLS with the administrator's certificate."""
        context = ssl.create_default_context(cafile=self.site.file("lab/ca.crt"))
        password = read_passwords(self.layout.password_conf)[INTERNAL]
        context.load_cert_chain(self.layout.alias / "admin.pem", self.layout.alias / "admin.key", password)
        return context

    def get(self, path: str) -> int:
        """The HTTP status of a GET on a connection of its own."""
        port = self.report.agent[1]
        connection = http.client.HTTPSConnection(
            "localhost", port, context=self.administrator(), timeout=DEADLINE_SECONDS
        )
        with closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status


@pytest.fixture
def running(tmp_path):
    """The instance with one certificate issued and one CRL published."""
    commands = Running(Site.make(tmp_path))
    commands.run("ca", "create", "--ca", "lab", "--subject", "CN=Lab CA")
    ports = ["--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--agent-port", "0", "--workers", "2"]
    commands.run("create", "--ca", "lab", "--hostname", "localhost", *ports)
    commands.run("ca", "issue", "--ca", "lab", "--subject", "CN=www", "--name", "DNS:www.example", "--out", "www.crt")
    commands.run("ca", "publish", "--ca", "lab", "--to", f"instance:{commands.site.instance}")
    commands.run("start")
    yield commands
    commands.run("stop")


def status_of(running: Running, code: int = 0) -> str:
    """What our own client is told of the certificate."""
    arguments = ["query", "--url", running.url, "--issuer", "lab/ca.crt", "--json", "www.crt"]
    return json.loads(running.run(*arguments, code=code))["answers"][0]["status"]


def test_published_crl_is_answered_by_every_worker_when_the_publisher_hears(running):
    """A CA's request, byte for byte, changes the answers of the EE port before `status=0` is sent."""
    assert status_of(running) == "good"
    serial = x509.load_pem_x509_certificate((running.site.folder / "www.crt").read_bytes()).serial_number
    running.run("ca", "revoke", "--ca", "lab", f"{serial:x}")
    running.run("ca", "crl", "--ca", "lab", "--out", "new.crl")
    crl = (running.site.folder / "new.crl").read_bytes()
    if crl.startswith(b"-----"):
        crl = x509.load_pem_x509_crl(crl).public_bytes(Encoding.DER)
    assert body_of(publish(running, crl)) == b"status=0\n"
    assert [status_of(running, code=1) for _ in range(4)] == ["revoked"] * 4


def test_published_crl_that_a_worker_does_not_load_is_said_to_be_unserved(running):
    """A worker that stands still answers from the former CRL: the publisher hears so, and not of an error."""
    running.run("ca", "crl", "--ca", "lab", "--out", "new.crl")
    crl = (running.site.folder / "new.crl").read_bytes()
    if crl.startswith(b"-----"):
        crl = x509.load_pem_x509_crl(crl).public_bytes(Encoding.DER)
    idle = running.report.workers[0].pid
    os.kill(idle, signal.SIGSTOP)
    try:
        assert body_of(publish(running, crl)) == b"status=0\nserved=false\n"
    finally:
        os.kill(idle, signal.SIGCONT)
    eventually(lambda: running.report.acknowledged, "every worker answers from it")


def publish(running: Running, crl: bytes) -> bytes:
    body, reply = form(crl), b""
    plain = socket.create_connection(("127.0.0.1", running.report.agent[1]), timeout=DEADLINE_SECONDS)
    with running.administrator().wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(head(len(body)))
        connection.sendall(body)
        while part := connection.recv(65536):
            reply += part
    return reply


def test_restart_turns_no_agent_away(running):
    """Who connects while the manager process becomes a new one waits a moment, and is served on the same port."""
    before, over, statuses, failures = running.report, threading.Event(), [], []

    def keep_asking() -> None:
        while not over.is_set():
            try:
                statuses.append(running.get("/ocsp/agent/ocsp/listCAs?xml=true"))
            except OSError as error:
                failures.append(error)

    client = threading.Thread(target=keep_asking)
    client.start()
    workers = {worker.pid for worker in before.workers}
    signal_manager(running)
    eventually(lambda: not workers & {worker.pid for worker in running.report.workers}, "new workers")
    count = len(statuses)
    eventually(lambda: len(statuses) > count + 5, "answers after the restart")
    over.set()
    client.join()
    assert failures == []
    assert set(statuses) == {200}
    assert running.report.agent == before.agent


def signal_manager(running: Running) -> None:
    os.kill(running_pid(running.layout.pid_file), signal.SIGHUP)
