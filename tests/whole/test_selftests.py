"""An instance and its self tests: a critical failure refuses the start, or stops the answering until it is mended."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.x509 import ReasonFlags
from tests.commands import run_vouchd
from tests.sites import Site

from vouchd.instance.lifecycle import status
from vouchd.instance.pidfile import running_pid
from vouchd.settings.layout import Layout

pytestmark = pytest.mark.process
REVOKED = 0x1001


class Running:
    """A site with its instance, and its commands as processes."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.layout = Layout(site.instance)
        self.key = self.layout.alias / "ocspSigningCert.key"

    def vouchd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "VOUCHD_INSTANCE": str(self.site.instance)}
        return run_vouchd(*arguments, env=environment, cwd=self.site.folder)

    def query(self) -> subprocess.CompletedProcess[str]:
        """Ask for the revoked serial; leaves with 1 when it is told to be revoked."""
        host, port = status(self.layout).report.ee
        return self.vouchd("query", "--url", f"http://{host}:{port}/", "--issuer", "ca.pem", "--serial", hex(REVOKED))

    def executions(self) -> list[dict]:
        """The records of self tests in the audit log."""
        lines = [json.loads(line) for line in self.layout.audit_log.read_text().splitlines()]
        return [line for line in lines if line["event"] == "SELFTESTS_EXECUTION"]


@contextmanager
def instance_made(tmp_path, others: Iterable[int] = ()) -> Iterator[Running]:
    """An instance with a CRL of REVOKED and `others`, not started; it is stopped at the end."""
    running = Running(Site.make(tmp_path))
    signer = ["--signer-key", "signer.key", "--signer-cert", "signer.pem", "--ca-cert", "ca.pem"]
    ports = ["--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--workers", "2"]
    assert running.vouchd("create", *signer, *ports).returncode == 0
    crl = running.site.crl("first.crl", {REVOKED: ReasonFlags.key_compromise} | dict.fromkeys(others))
    assert running.vouchd("crl", "add", crl).returncode == 0
    yield running
    if running_pid(running.layout.pid_file):
        assert running.vouchd("stop").returncode == 0


@pytest.fixture
def made(tmp_path):
    """An instance with a CRL, not started."""
    with instance_made(tmp_path) as running:
        yield running


def test_critical_failure_at_start_refuses(made):
    """The instance does not start, and the command tells which test failed and why."""
    stray = made.layout.alias / "stray.key"
    stray.write_bytes(b"x")
    stray.chmod(0o644)
    done = made.vouchd("start")
    assert done.returncode == 1
    assert "self test KeyFileModes failed: " in done.stderr
    assert running_pid(made.layout.pid_file) is None
    assert made.executions()[-1]["outcome"] == "failure"
    listed = json.loads(made.vouchd("selftest", "list", "--json").stdout)
    assert [one["name"] for one in listed if one["result"] and not one["result"]["ok"]] == ["KeyFileModes"]


def test_other_failure_at_start_warns(made):
    """What is not critical is said, and the instance starts."""
    with made.layout.cs_cfg.open("a") as file:
        file.write(f"selftests.plugin.DiskSpace.minFreeBytes={1 << 50}\n")
    assert made.vouchd("start").returncode == 0
    assert "warning: self test DiskSpace failed" in made.layout.log.read_text()
    assert made.query().returncode == 1


def test_critical_failure_on_demand_stops_answering_until_it_passes(made):
    """When `selftest run` returns, every worker answers tryLater; when it has passed, all answer again."""
    assert made.vouchd("start").returncode == 0
    assert made.query().returncode == 1
    sound = made.vouchd("selftest", "run", "--json")
    assert sound.returncode == 0
    (canary,) = [one for one in json.loads(sound.stdout) if one["name"] == "OCSPCanary"]
    assert canary["detail"].endswith("good, revoked, workers too")
    made.key.chmod(0o644)
    failed = made.vouchd("selftest", "run")
    assert failed.returncode == 1
    assert "the instance answers tryLater only" in failed.stderr
    for _ in range(4):
        assert "answers tryLater" in made.query().stderr
    made.key.chmod(0o600)
    assert made.vouchd("selftest", "run").returncode == 0
    assert made.query().returncode == 1
    assert [line["outcome"] for line in made.executions()] == ["success", "success", "failure", "success"]


def test_critical_failure_at_a_restart_leaves_everything_as_it_is(made):
    """An instance that could not start again goes on as it is."""
    assert made.vouchd("start").returncode == 0
    before = status(made.layout).report
    stray = made.layout.alias / "stray.key"
    stray.write_bytes(b"x")
    stray.chmod(0o644)
    refused = made.vouchd("restart", "--timeout", "3600")  # the reason is told at once
    assert refused.returncode == 1
    assert "vouchd: not restarted: self test KeyFileModes failed" in refused.stderr
    assert "not restarted: self test KeyFileModes failed" in made.layout.log.read_text()
    assert status(made.layout).report.workers == before.workers
    assert made.query().returncode == 1
