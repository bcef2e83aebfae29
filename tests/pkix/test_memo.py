"""What is remembered of octets is what was said of them, however much there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouchd.pkix import memo as memory
from vouchd.pkix.memo import at_hand, memo, put_at_hand, remember, settle, shared


@given(st.lists(st.integers(0, 5)))
def test_remembered_is_what_the_function_says(subjects):
    """Also when more is asked than there is room for; what was asked last is not worked out again."""
    calls: list[int] = []

    @memo(3)
    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    for subject in subjects:
        assert double(subject) == 2 * subject
        known = len(calls)
        assert double(subject) == 2 * subject
        assert len(calls) == known


def test_after_a_start_nothing_of_it_is_remembered_and_then_little(monkeypatch):
    """What thousands of CAs asked is let go; the same asked twice in a row is still worked out once."""
    monkeypatch.setattr(memory, "_memories", {})
    monkeypatch.setattr(memory, "_LITTLE", 2)
    calls: list[tuple[int, bool]] = []

    @memo(100)
    def product(one: int, other: int, *, negative: bool = False) -> int:
        calls.append((one, negative))
        return -one * other if negative else one * other

    def calculated() -> list[tuple[int, bool]]:
        calls.clear()
        assert [product(number, 2) for number in range(3) for _ in range(2)] == [0, 0, 2, 2, 4, 4]
        assert product(1, 2, negative=True) == -2
        return list(calls)

    assert calculated() == [(0, False), (1, False), (2, False), (1, True)]
    assert calculated() == []
    settle()
    assert calculated() == [(0, False), (1, False), (2, False), (1, True)]
    assert calculated() == [(0, False), (1, False), (2, False), (1, True)]


def test_error_of_a_function_is_no_answer():
    """Whatever it raises, a KeyError too, comes through, and the same is asked again."""
    calls: list[str] = []

    @memo(3)
    def refusing(name: str) -> str:
        calls.append(name)
        raise KeyError(name)

    for _ in range(2):
        with pytest.raises(KeyError, match="one"):
            refusing("one")
    assert calls == ["one", "one"]


def test_what_another_process_has_worked_out_is_not_worked_out_again():
    """It is gone by for just these arguments, however they are given."""
    calls: list[int] = []

    @memo(3)
    def double(number: int, *, negative: bool = False) -> int:
        calls.append(number)
        return -2 * number if negative else 2 * number

    remember(double, 14, 7)
    remember(double, -14, 7, negative=True)
    assert (double(7), double(7, negative=True), calls) == (14, -14, [])
    assert (double(8), double(8, negative=True), calls) == (16, -16, [8, 8])


def test_equal_texts_are_one_object():
    """It is held once, however often it is read."""
    letters = ["a", "b"]
    assert shared("".join(letters)) is shared("".join(letters))


def test_what_is_at_hand_is_of_that_object_and_of_no_other():
    """Of few objects it is worked out once each, of one that took the place of another anew, whatever it equals."""
    calls: list[int] = []

    @at_hand(2)
    def size(subject: list[int]) -> int:
        calls.append(len(subject))
        return len(subject)

    kept = [1, 2, 3]
    assert [size(kept), size(kept)] == [3, 3]
    assert calls == [3]
    for length in range(100):  # each is let go before the next one, which may lie where it was
        assert size([0] * length) == length
    assert calls == [3, *range(100)]
    put_at_hand(size, 7, kept)
    assert size(kept) == 7
    assert size([*kept]) == 3
