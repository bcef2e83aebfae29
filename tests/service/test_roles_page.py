"""The page of roles says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from vouchd.cli.user import WORDS
from vouchd.core.facts import Group
from vouchd.service.permission import RIGHTS, Action

PAGE = (Path(__file__).parents[2] / "docs" / "operate" / "roles.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins with `header`, without header and rule."""
    table = PAGE[PAGE.index(header) :].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_page_has_each_action_with_the_groups_that_may():
    """The table of rights on the page is the table in the code, in its order."""
    shown = [
        (name, [group for group, cell in zip(Group, cells, strict=True) if cell == "yes"])
        for name, *cells in rows("| action |")
    ]
    assert shown == [(action.value, [group for group in Group if group in RIGHTS[action]]) for action in Action]


def test_page_heads_the_columns_with_the_groups_in_order():
    """The letters above the columns are explained in the order of the groups."""
    legend = PAGE[PAGE.index("A: Administrators") :].split("\n\n", 1)[0].replace("\n", " ")
    letters = dict(re.findall(r"([A-Z]): ([^.]+)\.", legend))
    assert list(letters.values()) == list(Group)
    assert f"| action | {' | '.join(letters)} |" in PAGE


def test_page_names_each_group_with_its_word():
    """Every group is on the page, with the word that the command line takes."""
    assert [(name, word.strip("`")) for name, word, _ in rows("| group |")] == [(WORDS[word], word) for word in WORDS]
