"""One measured figure beside its target, and the table of them."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured: `value` against `target` in `unit`, and the raw numbers behind it in `detail`.

    Of what could not be measured the value is no number, and the detail says why.
    """

    what: str
    value: float
    target: float
    unit: str
    detail: str = ""
    at_least: bool = False  # the target is a floor (a ratio); otherwise a ceiling (seconds, MiB)

    @property
    def measured(self) -> bool:
        """Whether there is a value at all."""
        return not math.isnan(self.value)

    @property
    def met(self) -> bool:
        """Whether the target is held."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def loss(self, before: float) -> float:
        """By what share it is worse than the same figure `before`: 0.5 takes half as much again."""
        better, now = (self.value, before) if self.at_least else (before, self.value)
        return now / better - 1 if better > 0 else 0.0


def machine() -> str:
    """One line on what was measured on."""
    models = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    }
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = ", ".join(sorted(models)) or platform.machine()
    python = platform.python_version()
    return f"{cpu}, {os.cpu_count()} cores, {gib:.0f} GiB, Python {python}, load {os.getloadavg()[0]:.1f} at the start"


def _before(figure: Figure, former: float | None) -> str:
    """The same figure of the run before, and how this one differs."""
    if former is None or not figure.measured:
        return ""
    change = f" ({figure.value / former - 1:+.0%})" if former else ""
    return f"{former:.2f}{change}"


def print_table(figures: Iterable[Figure], former: Mapping[str, float]) -> None:
    """The figures on stdout, beside those of the `former` run."""
    table = Table(title="measured / target", title_justify="left")
    for column in ("what", "measured", "before", "target", "", "from"):
        table.add_column(column, justify="right" if column in {"measured", "before", "target"} else "left")
    for figure in figures:
        table.add_row(
            figure.what,
            f"{figure.value:.2f} {figure.unit}".strip() if figure.measured else "none",
            _before(figure, former.get(figure.what)),
            f"{'≥' if figure.at_least else '≤'} {figure.target:g} {figure.unit}".strip() if figure.target else "",
            "" if not figure.target else "met" if figure.met else "NOT MET",
            figure.detail,
        )
    Console(width=None if os.isatty(1) else 150).print(table)
