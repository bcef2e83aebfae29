"""What one input may cost: steps and memory, counted, not timed; both grow with the input's length and no faster."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time
from types import FrameType

# A reader may call so many functions, and take so many bytes at a time, for an empty input and for each byte more; to
# read settings, which is the dearest, takes a third of the former.
STEPS, STEPS_PER_BYTE = 30_000, 60
MEMORY_BYTES, MEMORY_PER_BYTE = 1 << 20, 200
# To count takes ten times as long as to run: who tries many inputs counts one in so many, and each that takes longer.
COUNTED_ONE_IN = 64
SLOW_SECONDS, SLOW_SECONDS_PER_BYTE = 0.005, 0.00001


@dataclass(frozen=True, slots=True)
class Cost:
    """How many functions were called, Python's and C's, and the most memory that was taken meanwhile."""

    steps: int
    memory_bytes: int


def cost(run: Callable[[], object]) -> Cost:
    """What a call costs."""
    steps = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal steps
        steps += event in {"call", "c_call"}

    tracing, profiler = tracemalloc.is_tracing(), sys.getprofile()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(profiler)
        peak = tracemalloc.get_traced_memory()[1]
        if not tracing:
            tracemalloc.stop()
    return Cost(steps, max(0, peak - before))


def bounded(run: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """`run`, which has a finding where an input costs more than its length allows."""

    def watched(data: bytes) -> None:
        spent = cost(lambda: run(data))
        allowed = Cost(STEPS + STEPS_PER_BYTE * len(data), MEMORY_BYTES + MEMORY_PER_BYTE * len(data))
        assert spent.steps <= allowed.steps, f"{spent.steps} steps for {len(data)} bytes"
        assert spent.memory_bytes <= allowed.memory_bytes, f"{spent.memory_bytes} bytes taken for {len(data)}"

    return watched


def sampled(run: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """The same for many inputs: what an input costs is counted when it takes long, and of one in so many anyway.

    Time only says which inputs are counted, by which they are judged; the others that are, their octets choose.
    """
    judged = bounded(run)

    def watched(data: bytes) -> None:
        if zlib.crc32(data) % COUNTED_ONE_IN == 0:
            judged(data)
            return
        begin = thread_time()
        run(data)
        if thread_time() - begin > SLOW_SECONDS + SLOW_SECONDS_PER_BYTE * len(data):
            judged(data)

    return watched
