"""Cached answers a second of one EE worker against one nginx worker that serves the same bytes as static files.

    python -m bench.ee_vs_nginx [--seconds 3] [--rounds 4] [--connections 64]

Both run on loopback, each measured in turn with wrk (A B A B ...), so that a noisy machine disturbs both alike. Printed
are the medians, the ratio of each to nginx over the same set of paths, and the server's own CPU time per answer, which
tells more where the client is the bottleneck. nginx is set up for its best here: answers are small, so sendfile is off
(it costs a system call more), open files are cached, no log. It has no POST to compare with: POST is held against its
static GET.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import multiprocessing
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from urllib.parse import quote

import uvloop
from tests.ports import free_port

from bench.processes import cpu_seconds
from bench.signing import wrk
from vouchd.core.facts import CertStatus
from vouchd.ee.port_state import PortState
from vouchd.ee.server import EEServer
from vouchd.service.terms import Answer, Terms
from vouchd.settings.tcp_ports import EEPort

TARGET = 0.75
BODY_BYTES = 1500  # an RSA-2048 answer with one delegated signer's certificate
REQUEST_BYTES = 83  # one SHA-1 CertID with an 18-octet serial
MANY = 1000

NGINX = """
worker_processes 1;
daemon off;
pid {root}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile off; tcp_nodelay on;
  open_file_cache max=2000 inactive=60s; open_file_cache_valid 60s;
  keepalive_requests 1000000000; keepalive_timeout 75s;
  default_type application/ocsp-response;
  client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  server {{
    listen 127.0.0.1:{port};
    root {root}/www;
    add_header Cache-Control "max-age=86400, public, no-transform, must-revalidate";
    expires 1d;
  }}
}}
"""

LUA_GET = """
local requests, n = {}, 0
init = function() for line in io.lines("%s") do requests[#requests + 1] = wrk.format("GET", line) end end
request = function() n = n + 1; return requests[n %% #requests + 1] end
"""

# Each request has a header value that was never seen, as behind a proxy that adds X-Forwarded-For.
LUA_NEW = """
local paths, n = {}, 0
init = function() for line in io.lines("%s") do paths[#paths + 1] = line end end
request = function()
  n = n + 1
  wrk.headers["X-Forwarded-For"] = n
  return wrk.format("GET", paths[n %% #paths + 1])
end
"""

LUA_POST = """
local requests, n = {}, 0
local headers = {["Content-Type"] = "application/ocsp-request"}
init = function()
  for line in io.lines("%s") do
    local body = line:gsub("..", function(octet) return string.char(tonumber(octet, 16)) end)
    headers["Host"] = wrk.headers["Host"]
    requests[#requests + 1] = wrk.format("POST", "/ocsp", headers, body)
  end
end
request = function() n = n + 1; return requests[n %% #requests + 1] end
"""


class FixedResponder:
    """Answers of the right size without a signature: only the HTTP layer is measured."""

    def draft(self, request_der: bytes, at: int) -> Answer:
        """A cacheable answer of BODY_BYTES that differs by request."""
        terms = Terms(cert_statuses=(CertStatus.GOOD,), this_update=at - 3600, next_update=at + 86400, cacheable=True)
        return Answer((request_der, bytes(BODY_BYTES - len(request_der))), terms, at)


def serve(listener: socket.socket) -> None:
    """The EE worker process."""

    async def run() -> None:
        server = EEServer(PortState(FixedResponder(), EEPort()))
        await server.start([listener])
        await asyncio.Event().wait()

    uvloop.run(run())


def requests() -> list[bytes]:
    """MANY different request-like octet strings."""
    return [
        b"0Q" + n.to_bytes(4, "big") + bytes((n * 7 + i) % 251 for i in range(REQUEST_BYTES - 6)) for n in range(MANY)
    ]


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def prepare(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Static files for nginx and wrk scripts; one path and many."""
    (root / "www").mkdir()
    for folder in (root, root / "www"):  # nginx drops to another user when it is started by root
        folder.chmod(0o755)
    answers = FixedResponder()
    targets = ["/" + quote(base64.b64encode(der), safe="") for der in requests()]
    for n, der in enumerate(requests()):
        file = root / "www" / f"{n:04}"
        file.write_bytes(answers.draft(der, 0).response_der)
        file.chmod(0o644)
    # The same length of path for both: nginx gets the request as a query, which it reads and ignores.
    kinds = {
        "nginx": [f"/{n:04}?{t[6:]}" for n, t in enumerate(targets)],
        "get": targets,
        "new": targets,
        "post": [der.hex() for der in requests()],
    }
    scripts = {}
    for name, lines in kinds.items():
        for count in (1, MANY):
            data = root / f"{name}{count}.txt"
            data.write_text("\n".join(lines[:count]) + "\n")
            script = root / f"{name}{count}.lua"
            script.write_text({"post": LUA_POST, "new": LUA_NEW}.get(name, LUA_GET) % data)
            scripts[f"{name}{count}"] = script
    return scripts


@contextmanager
def nginx(root: pathlib.Path, port: int):
    """One nginx worker; yields its process id."""
    conf = root / "nginx.conf"
    conf.write_text(NGINX.format(root=root, port=port))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    child = subprocess.Popen([program, "-e", "stderr", "-p", str(root), "-c", str(conf)])
    try:
        wait_for(port)
        yield int(pathlib.Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])
    finally:
        child.terminate()
        child.wait()


@contextmanager
def ee(listener: socket.socket):
    """One EE worker; yields its process id."""
    child = multiprocessing.get_context("fork").Process(target=serve, args=(listener,))
    child.start()
    try:
        wait_for(listener.getsockname()[1])
        yield child.pid
    finally:
        child.terminate()
        child.join()


class Series:
    """The rates and CPU times of one kind of request."""

    def __init__(self, pid: int, port: int, script: pathlib.Path) -> None:
        self.pid, self.port, self.script = pid, port, script
        self.rates: list[float] = []
        self.cpu_us: list[float] = []

    def measure(self, seconds: int, connections: int) -> None:
        """One run of wrk."""
        before = cpu_seconds(self.pid)
        load = wrk(self.port, self.script, seconds, connections)
        self.rates.append(load.rate)
        self.cpu_us.append((cpu_seconds(self.pid) - before) / load.requests * 1e6)

    def line(self, name: str) -> str:
        """One line without the ratio."""
        rates = " ".join(f"{rate:.0f}" for rate in self.rates)
        return f"  {name:26} {self.rate:8.0f}/s {statistics.median(self.cpu_us):6.1f} us CPU each  ({rates})"

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)


def compare(scripts: dict[str, pathlib.Path], count: int, pids: dict[str, tuple[int, int]], options) -> None:
    """Measure and print one set of requests."""
    kinds = ("nginx", "get", "post", "new")
    series = {kind: Series(*pids.get(kind, pids["ee"]), scripts[f"{kind}{count}"]) for kind in kinds}
    for _ in range(options.rounds):
        for one in series.values():
            one.measure(options.seconds, options.connections)
    print(f"{count} different request(s), {options.connections} connections, {BODY_BYTES}-byte answers")
    base = series["nginx"].rate
    print(series["nginx"].line("nginx, static file"))
    for kind, name in (("get", "vouchd, cached GET"), ("post", "vouchd, cached POST")):
        ratio = series[kind].rate / base
        print(f"{series[kind].line(name)}  ratio {ratio:.2f} / {TARGET} {'met' if ratio >= TARGET else 'NOT MET'}")
    print(f"{series['new'].line('vouchd, GET, new headers')}  ratio {series['new'].rate / base:.2f}, no target")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ee_port, nginx_port = listener.getsockname()[1], free_port()
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        scripts = prepare(root)
        with nginx(root, nginx_port) as nginx_pid, ee(listener) as ee_pid:
            for count in (1, MANY):
                compare(scripts, count, {"nginx": (nginx_pid, nginx_port), "ee": (ee_pid, ee_port)}, options)


if __name__ == "__main__":
    main()
