"""CRLs that come to a running instance of many CAs, taken in by a process of its own as `vouchd crl add` does it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from multiprocessing.connection import Connection

from bench.many_cas import ManyCAs
from bench.processes import SECOND, order
from vouchd.instance import lifecycle
from vouchd.wiring.services import services

_PATIENCE_SECONDS = 600.0
_FIRST_NUMBER = 2  # each CA has one when the instance is made


def next_crls(made: ManyCAs) -> Iterator[bytes]:
    """One CRL after the other, of one CA after the other but the last one, which is the one that is asked about."""
    others = made.cas[:-1]
    return (made.crl(_FIRST_NUMBER + place // len(others), others[place % len(others)]) for place in count())


class Arrivals:
    """How many CRLs came while this was entered, in which seconds, and the processor time of those who pushed them."""

    def __init__(self) -> None:
        self.count, self.seconds, self.cpu = 0, 0.0, 0.0


@contextmanager
def arriving(made: ManyCAs, crls: Iterator[bytes], most: int, a_second: float | None) -> Iterator[Arrivals]:
    """Have so many CRLs come each second, or where that is None each as soon as the one before is answered from.

    They end with the block, and before it after `most`, which is more than are expected.
    """
    ours, theirs = multiprocessing.Pipe()
    arrivals, lot = Arrivals(), list(islice(crls, most))
    child = multiprocessing.get_context("fork").Process(target=_push, args=(made, lot, a_second, theirs))
    child.start()
    theirs.close()
    try:
        ours.recv()
        yield arrivals
        ours.send(None)
        arrivals.count, arrivals.seconds, arrivals.cpu = ours.recv()
    finally:
        child.terminate()
        child.join()


def _push(made: ManyCAs, crls: Sequence[bytes], a_second: float | None, parent: Connection) -> None:
    order(os.getpid(), SECOND)
    with services(made.layout) as opened:
        parent.send(None)
        begin, cpu, pushed = time.monotonic(), time.process_time(), 0
        for crl in crls:
            due = begin + (pushed + 1) / a_second if a_second else 0.0
            if parent.poll(max(due - time.monotonic(), 0.0)):
                break
            with opened.ingest_lock():
                opened.ingesting.accept_crl(crl, "bench", opened.caller, int(time.time()))
            lifecycle.look_now(made.layout)
            pushed += 1
            if a_second is None:
                lifecycle.wait_until_caught_up(made.layout, opened.store.revision(), seconds=_PATIENCE_SECONDS)
        seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
        lifecycle.wait_until_caught_up(made.layout, opened.store.revision(), seconds=_PATIENCE_SECONDS)
        parent.send((pushed, seconds, cpu))
