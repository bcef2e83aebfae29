"""CRLs that an instance fetches by itself: from a web server, from a file, and what it tells of them."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.commands import run_vouchd
from tests.pki import HOUR
from tests.processes.running import eventually
from tests.sites import Site

from vouchd.instance.report import InstanceReport, read_report
from vouchd.settings.layout import Layout

pytestmark = pytest.mark.process

SERIAL = 0x2001


def vouchd(site: Site, *arguments: str) -> str:
    """Run one command on the site's instance."""
    environment = {**os.environ, "VOUCHD_INSTANCE": str(site.instance)}
    done = run_vouchd(*arguments, env=environment, cwd=site.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def configure(site: Site, *lines: str) -> None:
    with (site.instance / "CS.cfg").open("a") as config:
        config.writelines(f"{line}\n" for line in lines)


def until(site: Site, condition) -> InstanceReport:
    """The first serving report that meets the condition."""

    def serving_report() -> InstanceReport | None:
        report = read_report(Layout(site.instance).serving)
        return report if report and condition(report) else None

    return eventually(serving_report, "a serving report as wanted")


def serves(number: int):
    """Whether a report says that every worker serves that CRL number."""
    return lambda report: report.acknowledged and [p.crl_number for p in report.issuing_points] == [number]


@pytest.fixture
def site(tmp_path):
    """A site with an instance that is not started; it is stopped at the end."""
    site = Site.make(tmp_path)
    files = ["--signer-key", "signer.key", "--signer-cert", "signer.pem", "--ca-cert", "ca.pem"]
    vouchd(site, "create", *files, "--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--workers", "1")
    yield site
    vouchd(site, "stop")


@pytest.fixture
def web():
    """A web server of one CRL, `content`, with an ETag; None is answered 500."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.server.content
            status = 500 if content is None else 200
            if content is not None and self.headers.get("If-None-Match") == f'"{len(content)}"':
                status = 304
            body = content if status == 200 else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{len(body)}"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing: a test's output is its result."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content = None
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_file_source_is_served_and_followed(site):
    """A CRL in a watched file is served without a command, and its successor soon after it took its place."""
    path = Path(site.crl("ca.crl", {SERIAL: None}, pem=True))
    configure(site, f"vouchd.source.disk.url={path}")
    vouchd(site, "start")
    until(site, serves(1))
    successor = site.crl("next.crl", {SERIAL: None, 7: None}, this_update=int(time.time()) - HOUR // 2)
    Path(successor).replace(path)
    report = until(site, serves(2))
    assert report.issuing_points[0].entries == 2


def test_http_source_recovers_from_a_failing_server(site, web):
    """A source that fails is shown with its error, and taken in when it works again; status tells both."""
    configure(site, f"vouchd.source.web.url=http://127.0.0.1:{web.server_port}/ca.crl")
    vouchd(site, "start")
    failing = until(site, lambda report: report.sources and report.sources[0].last_error)
    assert failing.sources[0].last_error.endswith("status 500")
    web.content = Path(site.crl("ca.crl", {SERIAL: None})).read_bytes()
    report = until(site, serves(1))
    assert report.issuing_points[0].entries == 1
    working = until(site, lambda report: not report.sources[0].last_error).sources[0]
    assert (working.accepted, working.failures) == (1, 0)
    assert "web" in vouchd(site, "status", "--json")


def test_crl_of_a_source_is_audited_with_its_origin(site):
    """What a source brings is recorded like what a person brings, under the source's name."""
    configure(site, f"vouchd.source.disk.url={site.crl('ca.crl', {SERIAL: None})}")
    vouchd(site, "start")
    until(site, serves(1))
    records = [json.loads(line) for line in Layout(site.instance).audit_log.read_text().splitlines()]
    assert any("disk" in json.dumps(record) for record in records)


def test_paused_source_is_fetched_by_a_command_on_the_folder(site):
    """What is added paused is taken in when somebody asks for it, and then served."""
    path = site.crl("new.crl", {SERIAL: None}, number=7)
    vouchd(site, "start")
    vouchd(site, "source", "add", "new", path, "--paused")
    eventually(lambda: json.loads(vouchd(site, "source", "list", "--json")), "the instance goes by it")
    (source,) = json.loads(vouchd(site, "source", "list", "--json"))
    assert (source["paused"], source["attempts"]) == (True, 0)
    answer = json.loads(vouchd(site, "source", "fetch", "new", "--json"))
    assert (answer["attempts"], answer["accepted"], answer["last_error"]) == (1, 1, "")
    until(site, serves(7))
