"""A soak: a master and its clone at half load for hours, CRLs arriving, members restarting, a source failing.

Clients ask both members all the while. After a certificate's revocation was acknowledged, no answer of the master may
be `good`; of the clone none after SETTLE_SECONDS. Memory, descriptors and threads of every process are sampled; at the
end the last quarter of the time is compared with the second one (the first is warming up). Run by `make soak`. The exit
code is 1 when an answer was wrong or a figure has grown.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from demo import Demo as Site
from demo import file_of
from demokit import DemoError, Pair, console, heading

from vouchd.client import inquiry
from vouchd.client.transport import Connection
from vouchd.errors import ClientError, VouchdError

CERTIFICATES = 12
SETTLE_SECONDS = 30  # until a clone has what its master acknowledged: staleInSec
ACT_SECONDS, RESTART_SECONDS, KILL_SECONDS, SAMPLE_SECONDS = 8, 120, 300, 15
CLIENTS = 4  # connections for each member
GROWTH = {"memory_kib": 1.10, "descriptors": 1.05, "threads": 1.05}  # the last quarter over the second, at most
SPARE = {"memory_kib": 2048, "descriptors": 4, "threads": 2}  # and this much more


class FailingSource(http.server.ThreadingHTTPServer):
    """Serves the CA's CRL, and every second time fails in one of the ways that servers fail."""

    daemon_threads = True

    def __init__(self, crl: Path) -> None:
        super().__init__(("127.0.0.1", 0), _CRLHandler)
        self.crl = crl
        self.requests = 0


class _CRLHandler(http.server.BaseHTTPRequestHandler):
    server: FailingSource

    def do_GET(self) -> None:
        """The CRL, or a failure."""
        self.server.requests += 1
        turn = self.server.requests % 8
        body = self.server.crl.read_bytes() if self.server.crl.exists() else b""
        if turn == 1:
            self.send_error(503)
        elif turn == 3:  # garbage of the right length
            self._send(random.randbytes(len(body)))
        elif turn == 5:  # cut short
            self._send(body[: len(body) // 2], announced=len(body))
        elif turn == 7:
            self.connection.close()
        else:
            self._send(body)

    def _send(self, body: bytes, announced: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/pkix-crl")
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@dataclass
class Truth:
    """Which serials are revoked, since when that was acknowledged (monotonic seconds)."""

    revoked: dict[bytes, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledged(self, serial: bytes, *, revoked: bool) -> None:
        """The command that published it has returned."""
        with self.lock:
            if revoked:
                self.revoked[serial] = time.monotonic()
            else:
                self.revoked.pop(serial, None)

    def must_be_revoked(self, serial: bytes, asked_at: float, settle: float) -> bool:
        """Whether an answer to a question of `asked_at` may not be good."""
        with self.lock:
            since = self.revoked.get(serial)
        return since is not None and asked_at - since > settle


class Client(threading.Thread):
    """Asks one member again and again at a rate, with and without nonce."""

    def __init__(self, soak: Soak, name: str, url: str, pause_seconds: float) -> None:
        super().__init__(daemon=True)
        self._soak, self._member, self._url = soak, name, url
        self.pause_seconds = pause_seconds
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        """Ask until the soak is over."""
        while not self._soak.over.is_set():
            try:
                with Connection(self._url, timeout_seconds=10) as connection:
                    self._ask_over(connection)
            except VouchdError as error:
                self.answers[f"no answer: {type(error).__name__}"] += 1
                self._soak.over.wait(0.2)

    def _ask_over(self, connection: Connection) -> None:
        settle = 0.0 if self._member == "vouchd" else SETTLE_SECONDS
        while not self._soak.over.is_set():
            serial = random.choice(self._soak.serials)
            nonce = inquiry.new_nonce() if random.random() < 0.2 else None
            wanted = inquiry.question(self._soak.issuer, [serial], nonce=nonce)
            asked_at = time.monotonic()
            sure = self._soak.truth.must_be_revoked(serial, asked_at, settle)
            response = inquiry.send(connection, wanted).response
            status = str(response.basic.singles[0].status) if response.basic else response.status.name
            self.answers[status] += 1
            # Released in between, it may be good again: then it is no longer sure.
            if sure and status == "good" and self._soak.truth.must_be_revoked(serial, asked_at, settle):
                self.wrong.append(f"{self._member}: good for 0x{serial.hex()}, whose revocation was acknowledged")
            if self.pause_seconds:
                self._soak.over.wait(self.pause_seconds)


class Soak(Site):
    """The demo's site, with a source of CRLs beside the push."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.over = threading.Event()
        self.truth = Truth()
        self.samples: list[dict[str, object]] = []
        self.events: Counter[str] = Counter()
        self.serials: list[bytes] = []
        self.issuer = b""

    def build_site(self) -> Pair:
        """CA, master with a source, clone."""
        heading("A CA, a master with a source that fails, a clone")
        self.vouchd("ca", "create", "--subject", "CN=Soak CA,O=Example", "--ocsp-url", self.url, show=False)
        ports = ("--port", str(self.port), "--health-port", str(self.health_port), "--agent-port", str(self.agent_port))
        self.vouchd("create", "--ca", "ca", "--listen", "127.0.0.1", *ports, show=False)
        (self.folder / "certs").mkdir()
        for number in range(CERTIFICATES):
            self.issue(number, show=False)
        self.vouchd("ca", "publish", "--to", "instance:vouchd", show=False)
        (self.folder / "web").mkdir()
        self.vouchd("ca", "publish", "--to", "dir:web", show=False)
        self.source = FailingSource(next((self.folder / "web").rglob("*.crl")))
        threading.Thread(target=self.source.serve_forever, daemon=True).start()
        with (self.folder / "vouchd" / "CS.cfg").open("a") as settings:
            settings.write(f"vouchd.source.web.url=http://127.0.0.1:{self.source.server_port}/ca.crl\n")
            settings.write("vouchd.source.web.intervalInSec=5\n")
        self.vouchd("start", show=False)
        port, health_port, agent_port = self.clone_ports
        pair = Pair(self, {"vouchd": self.url, "clone": f"http://127.0.0.1:{port}/"})
        ports = ("--port", str(port), "--health-port", str(health_port), "--agent-port", str(agent_port))
        pair.clone("localhost", ("--listen", "127.0.0.1", *ports), "localhost")
        self.issuer = load_pem_x509_certificate((self.folder / "ca" / "ca.crt").read_bytes()).public_bytes(Encoding.DER)
        for number in range(CERTIFICATES):
            leaf = load_pem_x509_certificate((self.folder / file_of(number)).read_bytes())
            self.serials.append(inquiry.serial_of(leaf.public_bytes(Encoding.DER), self.issuer))
        return pair

    def act(self, number: int) -> None:
        """Put a certificate on hold or release it, published to the master and to the source."""
        serial = self.serials[number]
        if serial in self.truth.revoked:
            self.truth.acknowledged(serial, revoked=False)  # from now on both are right
            self.vouchd("ca", "release", file_of(number), "--publish", show=False)
            self.events["released"] += 1
        else:
            self.vouchd("ca", "hold", file_of(number), "--publish", show=False)
            self.truth.acknowledged(serial, revoked=True)
            self.events["held"] += 1

    def processes(self, member: str) -> Iterator[tuple[str, int]]:
        """Role and process id of the manager and the workers."""
        pid = json.loads(self.vouchd("status", "--instance", member, "--json", show=False))["pid"]
        yield "manager", pid
        for slot, child in enumerate(sorted(children(pid))):
            yield f"worker {slot}", child

    def sample(self, elapsed: float) -> None:
        """One row for each process."""
        for member in ("vouchd", "clone"):
            try:
                for role, pid in self.processes(member):
                    self.samples.append({"at": elapsed, "member": member, "role": role, **figures(pid)})
            except (DemoError, OSError, KeyError, TypeError):  # it restarts just now
                self.events["samples missed"] += 1

    def restart(self, member: str, *, hard: bool) -> None:
        """Restart a member, or kill one of its workers."""
        if hard:
            workers = [pid for role, pid in self.processes(member) if role != "manager"]
            if workers:
                os.kill(random.choice(workers), signal.SIGKILL)
                self.events[f"worker of {member} killed"] += 1
        else:
            self.vouchd("restart", "--instance", member, show=False)
            self.events[f"{member} restarted"] += 1


def children(pid: int) -> list[int]:
    """The children of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def figures(pid: int) -> dict[str, int]:
    """Memory of its own (KiB), open descriptors and threads of a process."""
    smaps = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in smaps.splitlines() if line.startswith(("Private_", "Swap:")))
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return {
        "memory_kib": private,
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
    }


def run(soak: Soak, pair: Pair, seconds: float, rate: float | None) -> list[Client]:
    """Load, acts, restarts and samples until the time is over."""
    clients = [Client(soak, name, url, 0.0) for name, url in pair.urls.items() for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    if rate is None:  # half of what these clients get when they do not pause
        time.sleep(5)
        rate = sum(client.answers.total() for client in clients) / 5 / 2
    console.print(f"  {rate:.0f} questions a second, for {seconds:.0f} s")
    for client in clients:
        client.pause_seconds = len(clients) / rate
    began = time.monotonic()
    due = {"act": 0.0, "restart": RESTART_SECONDS, "kill": KILL_SECONDS, "sample": 0.0}
    turn = 0
    while (elapsed := time.monotonic() - began) < seconds:
        if elapsed >= due["sample"]:
            soak.sample(elapsed)
            due["sample"] = elapsed + SAMPLE_SECONDS
        for name, pause, hard in (("restart", RESTART_SECONDS, False), ("kill", KILL_SECONDS, True)):
            if elapsed >= due[name]:
                turn += 1
                soak.restart(("vouchd", "clone")[turn % 2], hard=hard)
                due[name] = elapsed + pause
        if elapsed >= due["act"]:
            soak.act(random.randrange(CERTIFICATES))
            due["act"] = elapsed + ACT_SECONDS
        soak.over.wait(0.5)
    soak.over.set()
    for client in clients:
        client.join(15)
    return clients


def grown(samples: list[dict[str, object]], seconds: float) -> list[str]:
    """Each figure of a process that is higher in the last quarter than in the second; prints all of them."""
    bad = []
    names = sorted({(str(row["member"]), str(row["role"])) for row in samples})
    for member, role in names:
        rows = [row for row in samples if (row["member"], row["role"]) == (member, role)]
        early = [row for row in rows if seconds / 4 <= float(str(row["at"])) < seconds / 2]
        late = [row for row in rows if float(str(row["at"])) >= seconds * 3 / 4]
        if not early or not late:
            continue
        for figure, factor in GROWTH.items():
            before, after = (statistics.median(int(str(row[figure])) for row in part) for part in (early, late))
            console.print(f"  {member:8} {role:9} {figure:12} {before:>10.0f} -> {after:>10.0f}")
            if after > before * factor + SPARE[figure]:
                bad.append(f"{member} {role}: {figure} has grown from {before:.0f} to {after:.0f}")
    return bad


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=7200, help="how long, default: two hours")
    parser.add_argument("--rate", type=float, help="questions a second; default: half of what is possible")
    parser.add_argument("--folder", type=Path, default=Path("soak"), help="a new folder, default: ./soak")
    parser.add_argument("--out", type=Path, help="the samples as JSON")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True)
    soak = Soak(folder)
    try:
        clients = run(soak, soak.build_site(), arguments.seconds, arguments.rate)
    except (DemoError, ClientError) as error:
        console.print(f"[bold red]soak:[/] {error}", soft_wrap=True)
        return 1
    finally:
        soak.over.set()
        soak.stop()
    if arguments.out:
        arguments.out.write_text(json.dumps(soak.samples))
    heading("What the members answered")
    for name in ("vouchd", "clone"):
        answers = sum((client.answers for client in clients if client._member == name), Counter[str]())  # noqa: SLF001
        console.print(f"  {name}: {dict(answers)}")
    console.print(f"  events: {dict(soak.events)}; the source was asked {soak.source.requests} times")
    wrong = [line for client in clients for line in client.wrong]
    heading("Memory, descriptors, threads: second quarter -> last quarter")
    bad = grown(soak.samples, arguments.seconds)
    for line in [*wrong[:20], *bad]:
        console.print(f"[bold red]{line}[/]")
    console.print(f"  {len(wrong)} wrong answers, {len(bad)} figures have grown")
    return 1 if wrong or bad else 0


if __name__ == "__main__":
    sys.exit(main())
