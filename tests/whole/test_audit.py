"""The audit log of a running instance: answers by policy, signatures, and a `kill -9`."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl

import pytest
from tests.processes.running import eventually
from tests.sites import Site
from tests.whole.test_three_commands import Commands

from vouchd.audit.search import AuditQuery, AuditReader
from vouchd.instance.pidfile import running_pid
from vouchd.instance.report import read_report
from vouchd.settings.layout import Layout

pytestmark = pytest.mark.process


@pytest.fixture
def running(tmp_path):
    """An instance with all its certificates that records every answer."""
    site = Site.make(tmp_path)
    commands = Commands(site)
    commands.run("ca", "create", "--ca", "lab", "--subject", "CN=Lab CA")
    ports = ["--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--agent-port", "0", "--workers", "1"]
    commands.run("create", "--ca", "lab", *ports)
    with (site.instance / "CS.cfg").open("a") as config:
        config.write("vouchd.audit.answers=all\nlog.instance.SignedAudit.flushInterval=1\n")
    commands.run("ca", "issue", "--ca", "lab", "--subject", "CN=www", "--name", "DNS:www.example", "--out", "www.crt")
    commands.run("ca", "publish", "--ca", "lab", "--to", f"instance:{site.instance}")
    commands.run("start")
    yield commands
    commands.run("stop")


def reader(commands: Commands) -> AuditReader:
    return AuditReader(Layout(commands.site.instance).audit_log)


def _knock(commands: Commands) -> None:
    """Open a TLS session with the agent port, and end it."""
    report = read_report(Layout(commands.site.instance).serving)
    context = ssl.create_default_context(cafile=commands.site.folder / "lab/ca.crt")
    context.check_hostname = False
    with socket.create_connection(report.agent) as plain, context.wrap_socket(plain) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while connection.recv(65536):
            pass


def proof(commands: Commands, *options: str) -> dict:
    return json.loads(commands.run("audit", "verify", "--json", *options))


def test_answers_are_recorded_and_the_end_is_signed(running):
    """With vouchd.audit.answers=all an answer is on record soon after; a stopped instance leaves all of it signed.

    A TLS session of the agent port is on record at the latest then.
    """
    running.run("query", "--url", running.url, "--issuer", "lab/ca.crt", "www.crt")
    wanted = AuditQuery(event="OCSP_GENERATION", text="Lab CA")
    record = eventually(lambda: reader(running).search(wanted), "a record of an answer")[0]
    assert (record.outcome, record.detail["status"], record.origin) == ("success", "good", "127.0.0.0/24")
    _knock(running)
    running.run("stop")
    sessions = reader(running).search(AuditQuery(text="TLS client"))
    assert {(one.event, one.outcome, one.origin) for one in sessions} == {
        ("ACCESS_SESSION_ESTABLISH", "success", "127.0.0.0/24"),
        ("ACCESS_SESSION_TERMINATED", "success", "127.0.0.0/24"),
    }
    shown = proof(running, "--signed")
    assert (shown["intact"], shown["unsigned"], shown["signers"]) == (True, 0, ["CN=Audit Signing Certificate"])
    newest = [record.event for record in reader(running).search(limit=2)]
    assert newest == ["AUDIT_LOG_SIGNING", "AUDIT_LOG_SHUTDOWN"]


def test_manager_killed_loses_no_acknowledged_act(running):
    """After `kill -9` every act that was acknowledged is in the log, and the chain goes on."""
    running.run("user", "add", "before", "--group", "agents")
    os.kill(running_pid(Layout(running.site.instance).pid_file) or 0, signal.SIGKILL)
    running.run("user", "add", "after", "--group", "agents")
    running.run("start")
    added = [record.detail["user"] for record in reader(running).search(AuditQuery(event="CONFIG_ROLE"))]
    assert {"before", "after"} <= set(added)
    assert proof(running)["intact"]
