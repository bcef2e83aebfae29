"""The short form, for every change: what a worker's processor does for an answer, beside a signature of the library.

Both are processor time, taken in turn, so their ratio holds where other things run as well; rates and seconds would
not. The best of the rounds counts on both sides, since what else runs only ever makes either dearer. A figure that is
worse by a third than the one in `bench/reference.json` fails: `make bench ARGS="--short --keep"` writes that file anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.figures import Figure
from bench.instance import instance
from bench.make_crl import entries
from bench.processes import cpu_seconds
from bench.signing import CONNECTIONS, CRL_ENTRIES, ROWS, Load, Row, library_signs, wrk

WORSE = 1 / 3
SECONDS = 2
ROUNDS = 3
REFERENCE = Path(__file__).with_name("reference.json")

_CACHED = Row("cached answers, P-256", "EC")


def rows() -> list[Row]:
    """What is asked for."""
    return [row for row in (*ROWS, _CACHED) if not row.get]


def name_of(row: Row) -> str:
    """What its figure is of."""
    return f"{row.what}: CPU of a signature / of an answer"


def figures() -> list[Figure]:
    """One for each kind of answer: the signature's share of the processor time of an answer."""
    made = []
    for key in ("EC", "RSA"):
        with instance(key, workers=1) as running, tempfile.TemporaryDirectory() as folder:
            running.vouchd("crl", "add", str(running.write_crl(b"".join(entries(CRL_ENTRIES, "random")))))
            report = running.report()
            for row in (row for row in rows() if row.key == key):
                load = Load(row, running.ca, Path(folder))
                made.append(_figure(row, load, report.ee[1], report.workers[0].pid))
    return made


def _figure(row: Row, load: Load, port: int, pid: int) -> Figure:
    """A figure without a target: what it is compared with is the reference."""
    signatures, answers = [], []
    for _ in range(ROUNDS):
        _, sign_us = library_signs(row.key, SECONDS)
        before = cpu_seconds(pid)
        requests = wrk(port, load.script(), SECONDS, CONNECTIONS).requests
        answers.append((cpu_seconds(pid) - before) / requests * 1e6)
        signatures.append(sign_us)
    sign_us, answer_us = min(signatures), min(answers)
    detail = f"CPU {answer_us:.1f} us an answer, {sign_us:.1f} us a signature of the library"
    return Figure(name_of(row), sign_us / answer_us, 0.0, "", detail, at_least=True)
