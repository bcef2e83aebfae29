"""`/readyz` of a running instance: not ready before its first CRL, ready with it, by the check `serving`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from tests.commands import run_vouchd, start_vouchd
from tests.processes.running import eventually
from tests.sites import Site

from vouchd.instance.report import read_report
from vouchd.settings.layout import Layout

pytestmark = pytest.mark.process

PORTS = ("--port", "0", "--health-port", "0", "--agent-port", "0", "--workers", "1", "--listen", "127.0.0.1")


def readiness(site: Site) -> tuple[int, dict[str, dict]]:
    """The HTTP status, and the checks by name."""
    host, port = read_report(Layout(site.instance).serving).health
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/readyz") as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    return status, {check["name"]: check for check in json.loads(body)["checks"]}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An instance that runs, with its CA and no CRL."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    made = Site.make(tmp_path)
    assert made.create(*PORTS) == 0
    process = start_vouchd("run", cwd=tmp_path)
    try:
        eventually(lambda: read_report(Layout(made.instance).serving), "a report")
        yield made
    finally:
        process.terminate()
        process.wait(60)


def test_instance_is_ready_from_its_first_crl_on(site):
    """Without a CRL every answer is tryLater, and `/readyz` is 503 for `serving` alone; with one it is 200."""
    eventually(lambda: readiness(site)[1]["workers"]["ok"], "workers that answer")
    status, checks = readiness(site)
    failed = [name for name, check in checks.items() if check["required"] and not check["ok"]]
    assert (status, failed) == (503, ["serving"])
    assert run_vouchd("crl", "add", site.crl("site.crl", {5: None}), cwd=site.folder).returncode == 0
    status, checks = readiness(site)
    assert (status, checks["serving"]["ok"], checks["serving"]["detail"]) == (
        200,
        True,
        "1 issuing points are answered from",
    )
