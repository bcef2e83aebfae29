"""The figures of an earlier run in a file, by what they are of, to be compared with those of this one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.figures import Figure

LAST = Path(__file__).parent.parent / ".bench.json"


def read(path: Path) -> dict[str, float]:
    """The values by what they are of; none where the file is not there."""
    if not path.exists():
        return {}
    return {str(what): float(value) for what, value in json.loads(path.read_text(encoding="utf-8")).items()}


def keep(path: Path, figures: Iterable[Figure]) -> None:
    """Write these figures in place of those of the same things; the others stay."""
    values = read(path) | {figure.what: round(figure.value, 4) for figure in figures if figure.measured}
    path.write_text(json.dumps(dict(sorted(values.items())), indent=2) + "\n", encoding="utf-8")


def worse(figures: Iterable[Figure], former: Mapping[str, float], share: float) -> list[str]:
    """A line for each figure that is worse than before by that share, or of which there was none before."""
    lines = []
    for figure in figures:
        before = former.get(figure.what)
        if before is None:
            lines.append(f"{figure.what}: nothing to compare with")
        elif figure.loss(before) > share:
            lines.append(f"{figure.what}: {figure.value:.3g}, {before:.3g} before")
    return lines
