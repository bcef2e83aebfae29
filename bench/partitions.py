"""An answer that is not cached, of a CA whose CRLs are 10,000 partitions: CPU time with one look-up over all."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.cached import Worker
from bench.figures import Figure
from vouchd.core.facts import IssuingPointId
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingPoint, ServingState
from vouchd.index.format import RevocationIndexFile
from vouchd.index.octets import AnsweringOctets
from vouchd.index.serving import MergedPoints
from vouchd.index.writing import write_index
from vouchd.pkix.reasons import RevocationEntry
from vouchd.pkix.scope import Scope
from vouchd.service.answering import Responder

PARTITIONS, ENTRIES = 10_000, 20
REQUESTS = 2000


def figures() -> list[Figure]:
    """The time of an answer, each to a new question, with its signature."""
    worker, octets = Worker(1), AnsweringOctets()
    ours = worker.serving[0]
    with tempfile.TemporaryDirectory() as folder:
        points = tuple(_point(ours.points[0], Path(folder), number, octets) for number in range(PARTITIONS))
        begin = time.process_time()
        merged = MergedPoints.of(points, None)
        merging = time.process_time() - begin
    scopes = tuple(point.scope.scope_id for point in points)
    authority = replace(ours.authority, policy=replace(ours.authority.policy, expected_scopes=scopes))
    state = ServingState(1, (replace(ours, authority=authority, points=points, partitions=merged),))
    responder = Responder(ServingState(0, ()), {"signer": worker.signer}, "signer", ResponsePolicy())
    first, *requests = worker.requests(REQUESTS + 1)
    begin = time.process_time()
    responder.foresee(state, worker.now)
    foreseeing = time.process_time() - begin
    responder.replace(state)
    begin = time.process_time()
    responder.answer(first, worker.now)
    opening = time.process_time() - begin
    begin = time.process_time()
    for request_der in requests:
        responder.answer(request_der, worker.now)
    each = (time.process_time() - begin) / REQUESTS * 1000
    detail = (
        f"CPU, signature included; merged anew in {merging * 1000:.0f} ms, worked out in {foreseeing * 1000:.0f} ms, "
        f"both beside the loop, and there the first question in {opening * 1000:.1f} ms"
    )
    return [Figure(f"uncached answer with {PARTITIONS} partitions of {ENTRIES} entries", each, 0.1, "ms", detail)]


def _point(like: ServingPoint, folder: Path, number: int, octets: AnsweringOctets) -> ServingPoint:
    scope = Scope(scope_id=f"{number:064x}", distribution_point_der=b"%d" % number)
    path = folder / f"{number}.idx"
    serials = ((1 << 120) + number * ENTRIES + each for each in range(ENTRIES))
    write_index(path, (RevocationEntry(serial.to_bytes(16, "big"), 1) for serial in serials))
    epoch = replace(like.epoch, issuing_point=IssuingPointId(like.epoch.issuing_point.authority_id, scope.scope_id))
    return ServingPoint(epoch, RevocationIndexFile(path, octets=octets), scope)
