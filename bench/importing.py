"""A large CRL from push to answered by every worker: time, memory, and the start that follows."""

from __future__ import annotations

import time

from cryptography.x509 import ocsp

from bench.figures import Figure
from bench.instance import Instance, instance
from bench.make_crl import entries
from bench.processes import going_first, own_mib

MILLION = 1_000_000
SECONDS = {MILLION: 3.0, 10 * MILLION: 25.0}
START_SECONDS = 1.2
PRIVATE_MIB = 5.0
OWN_MIB = 300.0


def figures(count: int) -> list[Figure]:
    """All figures of one CRL of `count` entries."""
    body = b"".join(entries(count, "random"))
    serial = first_serial(body)
    with instance() as made:
        made.wait_for(serial, ocsp.OCSPCertStatus.GOOD)
        before = made.worker_private_mib()
        path = made.write_crl(body)
        del body
        manager_pid = made.report().pid
        with going_first(manager_pid):
            begin = time.monotonic()
            pushed = made.vouchd("crl", "add", str(path))
            made.wait_for(serial, ocsp.OCSPCertStatus.REVOKED)
            seconds = time.monotonic() - begin
        manager = own_mib(manager_pid)
        after = made.worker_private_mib()
        start = restart_seconds(made, serial)
    name, cpu = f"{count:,} entries", f"CPU of `vouchd crl add` {pushed.cpu_seconds:.1f} s"
    figures = [
        Figure(f"CRL of {name}, push to answered by every worker", seconds, SECONDS[count], "s", cpu),
        Figure(f"CRL of {name}, the push's own memory", pushed.own_mib, OWN_MIB, "MiB", "mapped files not counted"),
        Figure(f"CRL of {name}, the manager's own memory", manager, OWN_MIB, "MiB", "mapped files not counted"),
        Figure(f"worker's own memory for {name}", after - before, PRIVATE_MIB, "MiB", f"{before:.1f} before"),
    ]
    if count == MILLION:  # the size that the target is for
        figures.append(Figure(f"start to first answer, {name} on disk", start, START_SECONDS, "s"))
    return figures


def first_serial(body: bytes) -> int:
    """The serial of the first entry."""
    return int.from_bytes(body[4 : 4 + body[3]], "big")


def restart_seconds(made: Instance, serial: int) -> float:
    """From starting a stopped instance to its first answer about `serial`."""
    made.vouchd("stop")
    begin = time.monotonic()
    made.vouchd("start")
    made.ask(serial)
    return time.monotonic() - begin
