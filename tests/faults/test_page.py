"""docs/set/faults.md is what the tests show."""

from __future__ import annotations

from collections import Counter
from importlib import import_module

from tests.faults.page import MODULES, shown, table


def test_page_of_faults_is_what_the_tests_declare():
    """Each line of the table has its test, and each test its line: `python -m tests.faults.page` writes it anew."""
    assert shown() == table()


def test_every_law_declares_its_faults_and_no_fault_twice():
    """No module that declares is without a line, and a fault stands in one line of its place."""
    rows = [(one.where, row[0]) for one in (import_module(name).TABLE for name in MODULES) for row in one.rows]
    assert all(import_module(name).TABLE.rows for name in MODULES)
    assert not [row for row, count in Counter(rows).items() if count > 1]
