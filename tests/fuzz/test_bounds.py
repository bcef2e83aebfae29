"""What the fuzzed readers may cost is counted, and one that costs more is a finding."""

from __future__ import annotations

import pytest

from fuzz.bounds import MEMORY_BYTES, STEPS, bounded, cost


def test_cost_counts_calls_and_the_most_memory_taken():
    """Functions of Python and of C count as steps, and memory counts though it was given back."""
    small, large = (cost(lambda size=size: [len(bytes(size)) for _ in range(size)]) for size in (100, 1000))
    assert large.steps - small.steps == 900 * ((small.steps - 1) // 100)
    assert large.memory_bytes - small.memory_bytes >= 900


@pytest.mark.parametrize("run", [lambda data: [len(data) for _ in range(2 * STEPS)], lambda _: bytes(2 * MEMORY_BYTES)])
def test_bounded_input_that_costs_too_much_is_a_finding(run):
    """A reader that does more than its input's length allows fails the run."""
    bounded(lambda _: None)(b"x")
    with pytest.raises(AssertionError, match=r"steps|taken"):
        bounded(run)(b"x")
