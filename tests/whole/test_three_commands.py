"""A site with its own CA and its own CRLs is running in three commands, and OpenSSL believes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.x509 import ReasonFlags
from tests.commands import run_vouchd
from tests.pki import HOUR
from tests.processes.running import eventually
from tests.sites import Site

from vouchd.instance.lifecycle import status
from vouchd.settings.layout import Layout

pytestmark = [pytest.mark.process, pytest.mark.interop]

GOOD, REVOKED = 0x1000, 0x1001


class Commands:
    """Runs `vouchd` as a user does, each command in a process of its own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.environment = {**os.environ, "VOUCHD_INSTANCE": str(site.instance)}

    def run(self, *arguments: str, code: int = 0) -> str:
        done = run_vouchd(*arguments, env=self.environment, cwd=self.site.folder)
        assert done.returncode == code, done.stderr
        return done.stdout

    def json(self, *arguments: str):
        return json.loads(self.run(*arguments, "--json"))

    @property
    def url(self) -> str:
        return self.json("status")["ocsp"]

    def openssl(self, certificate: str) -> str:
        """What `openssl ocsp` says of the certificate: good, revoked or unknown."""
        ca = self.site.file("ca.pem")
        command = ["openssl", "ocsp", "-issuer", ca, "-cert", certificate, "-CAfile", ca, "-url", self.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Response verify OK" in done.stderr
        return done.stdout.splitlines()[0].removeprefix(f"{certificate}: ")


@contextmanager
def of_our_own_ca(folder: Path) -> Iterator[Commands]:
    """An instance of two workers with all its certificates from our own CA, answering."""
    site = Site.make(folder)
    commands = Commands(site)
    commands.run("ca", "create", "--ca", "lab", "--subject", "CN=Lab CA")
    ports = ["--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--agent-port", "0", "--workers", "2"]
    commands.run("create", "--ca", "lab", *ports)
    commands.run("ca", "issue", "--ca", "lab", "--subject", "CN=www", "--name", "DNS:www.example", "--out", "www.crt")
    commands.run("ca", "publish", "--ca", "lab", "--to", f"instance:{site.instance}")
    commands.run("start")
    yield commands
    commands.run("stop")


@contextmanager
def three_commands(folder: Path) -> Iterator[Commands]:
    """The three commands, and the fourth at the end."""
    site = Site.make(folder)
    commands = Commands(site)
    signer = ["--signer-key", "signer.key", "--signer-cert", "signer.pem", "--ca-cert", "ca.pem"]
    ports = ["--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--workers", "2"]
    commands.run("create", *signer, *ports)
    commands.run("crl", "add", site.crl("first.crl", {REVOKED: ReasonFlags.key_compromise}))
    commands.run("start")
    yield commands
    commands.run("stop")


@pytest.fixture
def running(tmp_path):
    """A running instance."""
    with three_commands(tmp_path) as commands:
        yield commands


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A running instance that tests leave as it was."""
    with three_commands(tmp_path_factory.mktemp("shared")) as commands:
        yield commands


def test_three_commands_answer_openssl(shared):
    """After create, crl add and start, OpenSSL verifies good and revoked answers."""
    assert shared.openssl(shared.site.issue("good", GOOD)) == "good"
    assert shared.openssl(shared.site.issue("revoked", REVOKED)) == "revoked"


def test_crl_add_is_answered_from_when_the_command_returns(running):
    """`crl add` waits until every worker answers from the new CRL."""
    certificate = running.site.issue("good", GOOD)
    assert running.openssl(certificate) == "good"
    newer = running.site.crl("second.crl", {GOOD: None, REVOKED: None}, this_update=int(time.time()) - HOUR // 2)
    (shown,) = running.json("crl", "add", newer)
    assert (shown["crl_number"], shown["served"]) == (2, True)
    assert [running.openssl(certificate) for _ in range(6)] == ["revoked"] * 6


def test_ca_verbs_are_answered_by_when_the_command_returns(running):
    """A changed policy, a removed and an added CA hold for every worker when the command returns."""
    never_issued = running.site.issue("good", GOOD)
    running.run("ca", "set", "CN=Site CA", "--not-found-as-good", "false")
    assert [running.openssl(never_issued) for _ in range(4)] == ["unknown"] * 4
    running.run("ca", "set", "CN=Site CA", "--not-found-as-good", "false")  # no change: nothing to wait for
    running.run("ca", "remove", "CN=Site CA")
    assert running.json("status")["issuing_points"] == []
    running.run("ca", "add", "ca.pem")
    running.run("crl", "add", running.site.crl("again.crl"))
    assert [running.openssl(never_issued) for _ in range(4)] == ["good"] * 4


def test_restart_takes_on_a_changed_setting(running):
    """A changed CS.cfg holds after `vouchd restart`; the process and the port stay."""
    before = running.json("status")
    config = running.site.instance / "CS.cfg"
    config.write_text(config.read_text().replace("workers=2", "workers=1"))
    after = running.json("restart")
    assert (after["pid"], after["ocsp"], after["workers"]) == (before["pid"], before["ocsp"], 1)
    assert running.openssl(running.site.issue("good", GOOD)) == "good"


def test_restart_with_a_broken_setting_is_refused_and_changes_nothing(shared):
    """A mistake in CS.cfg is told with its line; the instance goes on as it is."""
    config = shared.site.instance / "CS.cfg"
    right = config.read_text()
    config.write_text(right + "vouchd.ee.prot=1\n")
    shared.run("restart", code=78)
    config.write_text(right)
    assert shared.openssl(shared.site.issue("good", GOOD)) == "good"


def test_worker_that_dies_while_settings_are_edited_is_replaced(shared):
    """A new worker takes the settings that the instance started with, not a half edited CS.cfg."""
    config = shared.site.instance / "CS.cfg"
    config.write_text(config.read_text() + "vouchd.ee.prot=1\n")
    layout = Layout(shared.site.instance)
    killed = {worker.pid for worker in status(layout).report.workers}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        report = status(layout).report
        return report is not None and report.acknowledged and not killed & {worker.pid for worker in report.workers}

    eventually(replaced, "new workers answer")
    config.write_text(config.read_text().replace("vouchd.ee.prot=1\n", ""))
    assert shared.openssl(shared.site.issue("good", GOOD)) == "good"


def test_ca_set_signer_that_the_running_instance_lacks_is_refused(running):
    """A signer that CS.cfg declares since the start answers only after a restart."""
    config = running.site.instance / "CS.cfg"
    pair = "vouchd.signer.new.{0}=alias/ocspSigningCert.{1}\n"
    config.write_text(config.read_text() + pair.format("key", "key") + pair.format("certificate", "pem"))
    running.run("ca", "set", "CN=Site CA", "--signer", "new", code=78)
    running.run("restart")
    running.run("ca", "set", "CN=Site CA", "--signer", "new")
    assert running.openssl(running.site.issue("good", GOOD)) == "good"


def test_health_port_is_ready(shared):
    """The health port of a running instance says ready."""
    url = shared.json("status")["health"] + "readyz"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  our own loopback port
        assert answer.status == 200


def test_stop_leaves_nothing_running(running):
    """After stop no process and no report is left; the store stays usable and a second stop is no error."""
    running.run("stop")
    layout = Layout(running.site.instance)
    assert status(layout).pid is None
    assert not layout.serving.exists()
    running.run("status", code=3)
    assert len(running.json("crl", "list")) == 1


def test_start_twice_is_refused(shared):
    """A running instance is not started again."""
    shared.run("start", code=1)


def test_instance_folder_may_be_moved(running):
    """Nothing in the folder names the folder: moved, it starts and answers."""
    running.run("stop")
    moved = running.site.folder / "moved"
    running.site.instance.rename(moved)
    running.environment["VOUCHD_INSTANCE"] = str(moved)
    running.run("start")
    assert Path(running.json("crl", "show", "CN=Site CA")["origin"]).name == "first.crl"
    assert running.openssl(running.site.issue("good", GOOD)) == "good"
