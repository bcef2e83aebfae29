"""Figures of a run are compared with those of another one, whichever direction is the better one."""

from __future__ import annotations

import pytest

from bench import __main__ as command
from bench import kept, short
from bench.figures import Figure


@pytest.mark.parametrize(
    ("value", "before", "at_least", "loss"),
    [(0.3, 0.4, True, 1 / 3), (0.4, 0.3, True, -0.25), (4.0, 3.0, False, 1 / 3), (3.0, 4.0, False, -0.25)],
)
def test_figure_loss_is_by_what_share_it_is_worse(value, before, at_least, loss):
    """Less of what should be much is as bad as more of what should be little."""
    assert Figure("a", value, 0.0, "", at_least=at_least).loss(before) == pytest.approx(loss)


def test_kept_figures_are_those_of_the_last_run_of_each(tmp_path):
    """A run of some rows leaves what is kept of the others, and what has got worse by the share is named."""
    path = tmp_path / "kept.json"
    kept.keep(path, [Figure("one", 1.0, 0.0, "", at_least=True), Figure("two", 2.0, 0.0, "", at_least=True)])
    kept.keep(path, [Figure("two", 3.0, 0.0, "", at_least=True)])
    assert kept.read(path) == {"one": 1.0, "two": 3.0}
    now = [Figure("one", 0.9, 0.0, "", at_least=True), Figure("two", 2.0, 0.0, "", at_least=True)]
    assert [line.partition(":")[0] for line in kept.worse(now, kept.read(path), 0.4)] == ["two"]
    assert kept.worse([Figure("new", 1.0, 0.0, "")], {}, 0.4) == ["new: nothing to compare with"]


def test_reference_has_a_figure_of_each_row_of_the_short_form():
    """What the short form measures has something to be compared with in the repository."""
    assert set(kept.read(short.REFERENCE)) == {short.name_of(row) for row in short.rows()}


@pytest.fixture
def two_rows(monkeypatch, tmp_path):
    """The command with two rows of no cost, and its last run in a folder of the test."""
    rows = {"one": lambda _: [Figure("first", 1.0, 0.0, "s")], "peers": lambda _: [Figure("theirs", 2.0, 0.0, "s")]}
    monkeypatch.setattr(command, "ROWS", rows)
    monkeypatch.setattr(kept, "LAST", tmp_path / "last.json")
    return rows


@pytest.mark.parametrize(
    ("words", "measured"),
    [([], {"first"}), (["--peers"], {"first", "theirs"}), (["--only", "peers"], {"theirs"})],
)
def test_bench_measures_other_responders_where_they_are_asked_for(two_rows, words, measured):
    """They take minutes, and have to be built: nobody gets them by the way."""
    assert command.main(words) == 0
    assert kept.read(kept.LAST).keys() == measured


def test_bench_shows_and_keeps_what_it_has_where_a_row_fails(two_rows, capsys):
    """Minutes of measuring are not lost by the row that comes last; what is at work is said, and the run before beside it."""
    kept.keep(kept.LAST, [Figure("first", 4.0, 0.0, "s")])

    def fail(_):
        raise SystemExit("no")

    two_rows["peers"] = fail
    with pytest.raises(SystemExit, match="no"):
        command.main(["--peers"])
    out = capsys.readouterr().out
    assert "measuring: one" in out
    assert "4.00 (-75%)" in out
    assert kept.read(kept.LAST) == {"first": 1.0}


def test_bench_goes_on_after_a_row_that_fails_and_fails_in_the_end(two_rows, capsys):
    """One that is broken does not hide the others, and is not overlooked."""

    def fail(_):
        raise ValueError("broken")

    two_rows["one"] = fail
    with pytest.raises(SystemExit, match="one: broken"):
        command.main(["--peers"])
    assert kept.read(kept.LAST) == {"theirs": 2.0}
    assert "measuring: peers" in capsys.readouterr().out


def test_bench_keeps_the_small_size_where_the_large_one_fails(two_rows):
    """Ten million entries that do not come through cost nothing of what was measured of one million."""

    def figures(size):
        if size > 1:
            raise ValueError("too many")
        return [Figure("small", 1.0, 0.0, "s")]

    two_rows["one"] = lambda options: command._each(figures, (1, 10), options)
    with pytest.raises(SystemExit, match="one: too many"):
        command.main(["--big"])
    assert kept.read(kept.LAST) == {"small": 1.0}
