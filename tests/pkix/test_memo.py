"""What is remembered of octets is what was said of them, however much there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vouchd.pkix.memo import memo, shared


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


def test_equal_texts_are_one_object():
    """It is held once, however often it is read."""
    letters = ["a", "b"]
    assert shared("".join(letters)) is shared("".join(letters))
