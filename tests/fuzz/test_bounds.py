"""What the fuzzed readers may cost is counted, and one that costs more is a finding."""

from __future__ import annotations

import pytest

from fuzz.bounds import COUNTED_ONE_IN, MEMORY_BYTES, STEPS, bounded, cost, sampled


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


@pytest.mark.parametrize("run", [lambda data: [len(data) for _ in range(2 * STEPS)], lambda _: bytes(2 * MEMORY_BYTES)])
def test_sampled_inputs_of_which_each_costs_too_much_are_a_finding_soon(run):
    """Of many inputs one in so many is counted whatever time it takes, and octets alone choose which."""

    def many() -> None:
        for number in range(8 * COUNTED_ONE_IN):
            sampled(run)(number.to_bytes(2, "big"))

    with pytest.raises(AssertionError, match=r"steps|taken"):
        many()


def test_sampled_input_that_takes_long_and_costs_little_is_none(monkeypatch):
    """Time is no verdict: a machine under load makes no findings."""
    monkeypatch.setattr("fuzz.bounds.thread_time", iter(range(0, 10**6, 100)).__next__)
    for number in range(COUNTED_ONE_IN):
        sampled(len)(number.to_bytes(2, "big"))


def test_sampled_input_that_takes_long_and_costs_too_much_is_a_finding(monkeypatch):
    """What takes long is counted."""
    monkeypatch.setattr("fuzz.bounds.thread_time", iter(range(0, 10**6, 100)).__next__)
    for number in range(COUNTED_ONE_IN):
        with pytest.raises(AssertionError):
            sampled(lambda _: bytes(2 * MEMORY_BYTES))(number.to_bytes(2, "big"))
