"""What commands cost that scripts run often: the time that a processor works on one, whatever else the machine does."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.figures import Figure
from bench.instance import Run, instance, timed

VERSION_SECONDS = 0.15
STATUS_SECONDS = 0.5
LIST_SECONDS = 0.6  # it opens the store
_PROGRAM = [sys.executable, "-m", "vouchd.cli.main"]


def figures(rounds: int) -> list[Figure]:
    """Of each command the best of so many rounds: the first one has no compiled modules yet."""
    with instance() as made:
        return [
            _figure("vouchd --version", VERSION_SECONDS, rounds, lambda: timed([*_PROGRAM, "--version"])),
            _figure("vouchd --help", VERSION_SECONDS, rounds, lambda: timed([*_PROGRAM, "--help"])),
            _figure("vouchd status, of a running instance", STATUS_SECONDS, rounds, lambda: made.vouchd("status")),
            _figure("vouchd crl list", LIST_SECONDS, rounds, lambda: made.vouchd("crl", "list")),
        ]


def _figure(name: str, target: float, rounds: int, run: Callable[[], Run]) -> Figure:
    runs = [run() for _ in range(rounds + 1)]
    best = min(one.cpu_seconds for one in runs)
    return Figure(f"{name}, CPU", best, target, "s", f"{min(one.seconds for one in runs):.2f} s by the clock")
