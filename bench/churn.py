"""Cached answers of one CA while others of 1,000 have new CRLs: a whole instance with its manager and one worker.

CRLs come ten a second from a process of its own, as `vouchd crl add` takes them in. Beside it the same instance to
which none come, in short turns, and what counts is the median of what two neighbours are to each other: a machine that
becomes faster or slower within a minute is in both of them. Who has which processor: the worker one by itself; the
manager, what pushes and wrk the others together, and there wrk goes before the other two, since a client is elsewhere
and does not wait for a manager. So the rate is that of a worker whose manager has room beside it. Where they have one
processor between them, the worker loses what manager and pushing take of it, which stands beside the rate. wrk and what
pushes go before other programs of the machine, where the bench may say so. The session of the instance does not: Linux
gives each session its share whatever the niceness within it, and the manager would go as far before wrk.

A machine that does much else shows in rate and latency all the same, and in those without CRLs beside them. What holds
longer is the worker's processor time for an answer, in which loading the CRLs is.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from cryptography import x509

from bench import ee_vs_nginx
from bench.arrivals import Arrivals, arriving, next_crls
from bench.figures import Figure
from bench.instance import timed_vouchd
from bench.many_cas import THOUSAND, ManyCAs, many_cas
from bench.processes import FIRST, Apart, cpu_seconds, going_first
from bench.signing import TURNS, request, wrk
from vouchd.instance import lifecycle

CONNECTIONS = 16
CRLS_A_SECOND = 10
RATE, P99_MS = 0.9, 5.0
_SERIAL = 1 << 126


@dataclass(frozen=True, slots=True)
class Round:
    """Answers a second, milliseconds of the 99th percentile, microseconds of the worker's processor for an answer."""

    rate: float
    p99: float
    answer_us: float


Turn = tuple[Round, Round]  # to which no CRLs come, and to which they do, one right after the other


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a CRL, milliseconds of processor time in the manager and in what pushes; how many came in a second."""

    manager_ms: float
    push_ms: float
    a_second: float


def figures(seconds: int, rounds: int) -> list[Figure]:
    """Rate, latency and the worker's processor time, each with CRLs that come beside none."""
    with many_cas(THOUSAND) as made:
        timed_vouchd(made.root, "start")
        turns, costs = _measured(made, seconds, rounds)
    return rows(turns, costs)


def rows(turns: Sequence[Turn], costs: Sequence[Cost]) -> list[Figure]:
    """The medians of all turns: of what the two of one are to each other, and beside that of each kind."""
    quiet, busy = zip(*turns, strict=True)
    without, among, cost = Round(*_medians(quiet)), Round(*_medians(busy)), Cost(*_medians(costs))
    what = f"cached answers while {CRLS_A_SECOND} CRLs a second come of {THOUSAND:,} other CAs"
    rate = f"{among.rate:.0f}/s beside {without.rate:.0f}/s without; {cost.a_second:.1f} CRLs a second"
    cpu = (
        f"{among.answer_us:.1f} us beside {without.answer_us:.1f} us, loading the CRLs included; CPU of each of these "
        f"{cost.manager_ms:.1f} ms in the manager, {cost.push_ms:.1f} ms in what pushes"
    )
    rates = statistics.median(two.rate / one.rate for one, two in turns)
    share = statistics.median(one.answer_us / two.answer_us for one, two in turns)
    return [
        Figure(f"{what}: rate", rates, RATE, "", rate, at_least=True),
        Figure(f"{what}: p99", among.p99, P99_MS, "ms", f"{without.p99:.2f} ms without"),
        Figure(f"{what}: CPU of an answer without / with", share, RATE, "", cpu, at_least=True),
    ]


def _medians(results: Sequence[Round] | Sequence[Cost]) -> list[float]:
    return [statistics.median(column) for column in zip(*map(astuple, results), strict=True)]


def _measured(made: ManyCAs, seconds: int, rounds: int) -> tuple[list[Turn], list[Cost]]:
    report = lifecycle.status(made.layout).report
    if report is None:
        raise SystemExit("the instance does not run")
    manager, worker, port = report.pid, report.workers[0].pid, report.ee[1]
    crls, lasting = next_crls(made), max(1, seconds // TURNS)
    turns, costs = list[Turn](), list[Cost]()
    with tempfile.TemporaryDirectory() as folder, going_first(), Apart(worker, manager):
        script = cached_answers(Path(folder), made.cas[-1])

        def quiet() -> Round:
            return _round(port, worker, script, lasting)

        def busy() -> Round:
            before = cpu_seconds(manager)
            with arriving(made, crls, 2 * lasting * CRLS_A_SECOND, CRLS_A_SECOND) as arrivals:
                measured = _round(port, worker, script, lasting)
            costs.append(_cost(arrivals, cpu_seconds(manager) - before))
            return measured

        quiet()  # into the cache
        for number in range(TURNS * rounds):
            if number % 2:
                among = busy()
                turns.append((quiet(), among))
            else:
                turns.append((quiet(), busy()))
    return turns, costs


def _cost(arrivals: Arrivals, manager: float) -> Cost:
    each = (1000 * cpu / arrivals.count for cpu in (manager, arrivals.cpu))
    return Cost(*each, arrivals.count / arrivals.seconds)


def _round(port: int, worker: int, script: Path, seconds: int) -> Round:
    before = cpu_seconds(worker)
    first = ("nice", "-n", f"{FIRST}") if os.geteuid() == 0 else ()
    load = wrk(port, script, seconds, CONNECTIONS, inside=first)
    return Round(load.rate, load.latency_ms[99], (cpu_seconds(worker) - before) / load.requests * 1e6)


def cached_answers(folder: Path, ca: x509.Certificate) -> Path:
    """A script for wrk that asks about a thousand serials of that CA again and again."""
    data, script = folder / "requests", folder / "post.lua"
    data.write_text("".join(f"{request(ca, _SERIAL + n).hex()}\n" for n in range(ee_vs_nginx.MANY)))
    script.write_text(ee_vs_nginx.LUA_POST % data)
    return script
