"""Six hundred issuing points under the usual limit of 1024 descriptors: started, published to, restarted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.commands import run_vouchd, start_python
from tests.nursery import MAIN
from tests.pki import CA, DAY, HOUR, NOW
from tests.processes.running import eventually
from tests.service.world import partition
from tests.sites import Site

from vouchd.clock import SystemClock
from vouchd.instance.report import read_report
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

pytestmark = pytest.mark.process

POINTS = 600
LIMIT = 1024
LIMITED = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))\n{MAIN}"
PORTS = ("--port", "0", "--health-port", "0", "--agent-port", "0", "--workers", "1", "--listen", "127.0.0.1")


def crl_of(ca: CA, number: int, point: int, *serials: int) -> bytes:
    """DER of a CRL of one of the points, current now."""
    now = int(time.time())
    idp = partition(f"http://ca.test/{point}.crl")
    times = {"this_update": now - HOUR + number, "next_update": now + DAY, "revoked_at": NOW - DAY}
    return ca.crl(dict.fromkeys(serials), number=number, idp=idp, **times)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An instance with a CRL for each point, whose serial is 1000 and the point's number."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    made = Site.make(tmp_path)
    assert made.create(*PORTS) == 0
    with wiring.services(Layout(made.instance)) as services:
        at = SystemClock().now()
        for point in range(POINTS):
            services.ingesting.accept_crl(crl_of(made.ca, 1, point, 1000 + point), "test", services.caller, at)
    return made


def report_of(site: Site, version: int = 0):
    """The report, once every worker answers from a newer manifest than that."""

    def served():
        report = read_report(Layout(site.instance).serving)
        return report if report and report.acknowledged and report.version > version else None

    return eventually(served, f"a manifest after {version} is answered from")


def explained(site: Site, serial: int) -> str:
    done = run_vouchd(
        "query", "--issuer", "ca.pem", "--serial", f"{serial:x}", "--url", report_of(site).ee_url, cwd=site.folder
    )
    return done.stdout


def test_six_hundred_points_are_started_published_to_and_restarted_under_1024_descriptors(site):
    """Every point is answered from, a CRL that comes is waited for and answered, and a restart changes nothing."""
    with (site.folder / "log").open("wb") as log:
        process = start_python(LIMITED, "run", cwd=site.folder, stderr=log)
    try:
        report = report_of(site)
        assert len(report.issuing_points) == POINTS
        assert "revoked" in explained(site, 1000 + POINTS - 1)
        (site.folder / "next.crl").write_bytes(crl_of(site.ca, 2, POINTS - 1, 1000 + POINTS - 1, 77))
        done = run_vouchd("crl", "add", "next.crl", cwd=site.folder)
        assert (done.returncode, "served" in done.stdout) == (0, True), done.stderr
        assert "revoked" in explained(site, 77)
        before = report_of(site)
        done = run_vouchd("restart", cwd=site.folder)
        assert done.returncode == 0, done.stderr
        after = report_of(site)
        assert len(after.issuing_points) == POINTS
        assert not {one.pid for one in before.workers} & {one.pid for one in after.workers}
        assert [explained(site, serial).count("revoked") > 0 for serial in (77, 1000)] == [True, True]
        for pid in (after.pid, *(one.pid for one in after.workers)):
            assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < LIMIT
    finally:
        process.terminate()
        process.wait(60)
    assert "Too many open files" not in (site.folder / "log").read_text()
