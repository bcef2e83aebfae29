"""CRLs as a CA publishes them, through the agent port: a large one, and a delta again and again over it.

What pushes is a process of its own, so that its memory is that of pushing alone.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bench.figures import Figure
from bench.instance import Instance, timed_vouchd
from bench.make_crl import entries, make_ca
from bench.processes import OwnMemory, cpu_seconds, going_first
from vouchd.client.publishing import CRLPublisher
from vouchd.core.facts import Authority
from vouchd.errors import VouchdError
from vouchd.files import mapped_copy
from vouchd.pkix import certs
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.wiring.services import services

MILLION = 1_000_000
PUSH_SECONDS = {MILLION: 3.0, 10 * MILLION: 25.0}
OWN_MIB = 400.0  # of the manager, which takes it in
PUSH_MIB = 300.0
DELTA_MS = {MILLION: 20.0, 10 * MILLION: 50.0}
DELTA_ENTRIES, DELTAS = 20, 20
FORM_BYTES = 1 << 30  # that of 10,000,000 entries has 625 MB


def figures(count: int) -> list[Figure]:
    """All figures of a CRL of `count` entries and of deltas over it."""
    body = b"".join(entries(count, "random"))
    with agent_instance() as (made, publisher):
        manager, worker = made.report().pid, made.report().workers[0].pid
        crl = made.write_crl(body)
        del body
        before = [cpu_seconds(pid) for pid in (manager, publisher.pid)]
        with going_first(manager), OwnMemory(manager) as memory, OwnMemory(publisher.pid) as pushing:
            seconds = publisher.publish(crl)
        spent = [cpu_seconds(pid) - one for pid, one in zip((manager, publisher.pid), before, strict=True)]
        cpu = f"CPU of the manager {spent[0]:.1f}, of what pushes {spent[1]:.1f}"
        costs, waits = _deltas(made, publisher, (manager, worker))
    name = f"{count:,} entries"
    together = 1000 * sum(costs)
    until = 1000 * statistics.median(waits)
    detail = f"manager {1000 * costs[0]:.1f}, worker {1000 * costs[1]:.1f}; served after {until:.0f}"
    return [
        Figure(f"CRL of {name} through the agent port, until it is served", seconds, PUSH_SECONDS[count], "s", cpu),
        Figure(f"CRL of {name} through the agent port, the manager's own memory", memory.most, OWN_MIB, "MiB"),
        Figure(f"CRL of {name} through the agent port, own memory of what pushes", pushing.most, PUSH_MIB, "MiB"),
        Figure(f"delta of {DELTA_ENTRIES} over {name}, CPU of all", together, DELTA_MS[count], "ms", detail),
        Figure(f"delta a second over {name}, share of a core", together / 10, DELTA_MS[count] / 10, "%"),
    ]


def _deltas(made: Instance, publisher: Publisher, pids: tuple[int, int]) -> tuple[list[float], list[float]]:
    """Processor time of manager and worker for one delta, at rest taken off, and how long each publisher waited."""
    base, waits = made.crl_number, []
    begin, before = time.monotonic(), [cpu_seconds(pid) for pid in pids]
    for number in range(DELTAS):
        body = b"".join(entries(DELTA_ENTRIES, "random", seed=number + 2))
        waits.append(publisher.publish(made.write_crl(body, base)))
    seconds, after = time.monotonic() - begin, [cpu_seconds(pid) for pid in pids]
    time.sleep(seconds)
    rest = [cpu_seconds(pid) for pid in pids]
    costs = [(two - one - (three - two)) / DELTAS for one, two, three in zip(before, after, rest, strict=True)]
    return costs, waits


class Publisher:
    """A process that hands CRLs to an agent port; `pid` is its own."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid = pid
        self._connection = connection

    def publish(self, crl: Path) -> float:
        """How long it takes until the responder says that it answers from the CRL of that file."""
        self._connection.send(crl)
        seconds = self._connection.recv()
        if not isinstance(seconds, float):
            raise SystemExit(f"a CRL was not served: {seconds}")
        return seconds


@contextmanager
def _publisher(url: str, certificate: Path, key: Path, trust: Path) -> Iterator[Publisher]:
    context = multiprocessing.get_context("spawn")  # a forked process would have pages of this one
    ours, theirs = context.Pipe()
    child = context.Process(target=_publish, args=(theirs, url, certificate, key, trust))
    child.start()
    theirs.close()
    try:
        yield Publisher(ours.recv(), ours)
    finally:
        child.terminate()
        child.join()


def _publish(parent: Connection, url: str, certificate: Path, key: Path, trust: Path) -> None:
    """Publish each file that the parent names; send the seconds, or why it is not served."""
    publisher = CRLPublisher(url, certificate, key, trust)
    parent.send(os.getpid())
    while True:
        crl = mapped_copy(parent.recv(), FORM_BYTES)
        begin = time.monotonic()
        try:
            is_served = publisher.publish(crl)
            parent.send(time.monotonic() - begin if is_served else "taken, not answered from")
        except VouchdError as error:
            parent.send(f"{error}")


@contextmanager
def agent_instance() -> Iterator[tuple[Instance, Publisher]]:
    """A running instance of one worker with an agent port, a CA of whose CRLs it takes, and its administrator."""
    root = Path(tempfile.mkdtemp(prefix="vouchd-bench-"))
    key, ca = make_ca()
    made = Instance(root, key, ca)
    lab = root / "lab"
    try:
        timed_vouchd(root, "ca", "create", "--ca", str(lab), "--subject", "CN=Bench lab", of_instance=False)
        ports = ["--port", "0", "--health-port", "0", "--agent-port", "0", "--workers", "1"]
        made.vouchd("create", "--ca", str(lab), "--hostname", "localhost", "--listen", "127.0.0.1", *ports)
        layout = Layout(root / "instance")
        with layout.cs_cfg.open("a", encoding="utf-8") as lines:
            lines.write(f"vouchd.agent.maxBodyBytes={FORM_BYTES}\n")
        with services(layout) as opened:  # no signer of this instance is the CA's: it only publishes
            der = ca.public_bytes(Encoding.DER)
            opened.store.put_authority(Authority(certs.authority_id(ca), der, "Bench CA"))
        made.vouchd("start")
        try:
            with _publisher(*_administrator(made, lab)) as publisher:
                yield made, publisher
        finally:
            made.vouchd("stop")
    finally:
        shutil.rmtree(root)


def _administrator(made: Instance, lab: Path) -> tuple[str, Path, Path, Path]:
    """URL, certificate, key and trust of a publisher; its key is put beside the instance in clear."""
    layout = Layout(made.root / "instance")
    agent = made.report().agent
    if agent is None:
        raise SystemExit("the agent port is off")
    password = read_passwords(layout.password_conf)[INTERNAL].encode()
    key = load_pem_private_key((layout.alias / "admin.key").read_bytes(), password)
    clear = made.root / "admin.key"
    clear.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    clear.chmod(0o600)
    return f"https://localhost:{agent[1]}", layout.alias / "admin.pem", clear, lab / "ca.crt"
