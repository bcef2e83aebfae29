"""Charts: what becomes of values over time."""

from __future__ import annotations

from vouchd.agent.pages.charts import Line, draw


def chart(*values):
    return draw("Answers", [Line("good", "good", values)], str)


def test_value_without_neighbours_is_drawn_as_a_dot():
    """One value between two gaps is seen: a line of no length, which its round ends make a dot."""
    assert chart(None, 3.0, None, 1.0, 2.0).lines[0].path.count("h0") == 1


def test_values_beside_each_other_are_one_line():
    """Between neighbours there is a line, and nothing but it."""
    path = chart(1.0, 2.0, 3.0).lines[0].path
    assert (path.count("M"), path.count("L"), path.count("h0")) == (1, 2, 0)


def test_column_says_the_values_of_its_moment_and_gaps_have_none():
    """Whoever points at a moment reads its values, the same that the legend has for the newest."""
    drawn = chart(None, 1.0, 2.5)
    assert [words for _, _, words in drawn.columns] == ["good 1.0", "good 2.5"]
    assert drawn.lines[0].latest == "2.5"
