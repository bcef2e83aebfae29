"""THE table of docs/set/faults.md: each line of it is what a test shows, which declares it.

`python -m tests.faults.page` writes the table anew; tests/faults/test_page.py compares it with what is declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "set" / "faults.md"
BEGIN, END = "<!-- made by: python -m tests.faults.page -->\n\n", "\n<!-- end -->\n"
HEAD = "| where | fault | OCSP answers | what is said, and where | how it ends |\n|---|---|---|---|---|\n"
# Who declares lines, in the order in which they stand.
MODULES = (
    "tests.laws.test_law1_only_what_is_verified_is_answered",
    "tests.laws.test_law2_acknowledged_is_answered",
    "tests.laws.test_law3_what_a_stranger_causes_is_bounded",
    "tests.laws.test_law4_a_failing_part_costs_that_part",
    "tests.laws.test_law5_what_can_be_added_can_be_taken_away",
    "tests.laws.test_law6_a_member_is_its_own_key",
    "tests.laws.test_law8_silence_is_a_fault",
    "tests.ee.test_times_of_caches",
    "tests.faults.test_own_certificates",
    "tests.cloning.test_set_renewal",
    "tests.faults.test_set_embedded",
    "tests.faults.test_set_directory",
    "tests.signing.test_token",
    "tests.whole.test_token_instance",
    "tests.faults.test_keyring_switch",
    "tests.whole.test_signers_of_a_set",
    "tests.setup.test_unattended",
    "tests.setup.test_killed_wizard",
)
_Test = TypeVar("_Test", bound=Callable[..., object])


@dataclass(frozen=True)
class FaultTable:
    """The lines of one place: what a module's tests show."""

    where: str
    rows: list[tuple[str, str, str, str]]

    @classmethod
    def of(cls, where: str) -> FaultTable:
        return cls(where, [])

    def fault(self, what: str, answers: str, says: str, mends: str) -> Callable[[_Test], _Test]:
        """Mark a test as the proof of one line."""
        self.rows.append((what, answers, says, mends))
        return lambda test: test

    def case(self, value: object, what: str, answers: str, says: str, mends: str, *, name: str = "") -> Any:
        """A parameter of a test, and with it the proof of one line."""
        self.rows.append((what, answers, says, mends))
        return pytest.param(value, id=name or getattr(value, "__name__", str(value)))

    @property
    def lines(self) -> str:
        return "".join(f"| {self.where} | {' | '.join(row)} |\n" for row in self.rows)


def table() -> str:
    """The table as the tests declare it."""
    return HEAD + "".join(import_module(name).TABLE.lines for name in MODULES)


def shown() -> str:
    """The table as the page has it."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    """Write the table of the page anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    write()
