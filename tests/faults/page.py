"""The tables of docs/set/faults.md, each line of which is a test's to show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PAGE = Path(__file__).parents[2] / "docs" / "set" / "faults.md"
_Test = TypeVar("_Test", bound=Callable[..., None])


class FaultTable:
    """The table below one heading of the page."""

    def __init__(self, heading: str) -> None:
        self._heading = heading
        self._rows: list[tuple[str, str, str, str]] = []

    def fault(self, what: str, answers: str, says: str, mends: str) -> Callable[[_Test], _Test]:
        """Mark a test as the proof of one line."""
        self._rows.append((what, answers, says, mends))
        return lambda test: test

    def require_page(self) -> None:
        """Each line of the table has its test, and each test its line, in the same order."""
        lines = [f"| {' | '.join(row)} |" for row in self._rows]
        _, _, section = PAGE.read_text(encoding="utf-8").partition(f"\n## {self._heading}\n")
        table = section.partition("\n## ")[0].splitlines()
        shown = [line for line in table if line.startswith("| ") and not line.startswith("| fault |")]
        assert shown == lines, "\n".join(lines)
