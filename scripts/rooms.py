#!/usr/bin/env python3
"""The table of rooms in docs/design/architecture.md, made from the docstrings of the packages."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "vouchd"
PAGE = ROOT / "docs" / "design" / "architecture.md"
BEGIN, END = "<!-- rooms: made by python scripts/rooms.py -->\n", "<!-- rooms: end -->"


def about(path: Path) -> str:
    """First sentence or paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def table(steps: tuple[tuple[str, ...], ...]) -> str:
    """One row a room, with the rooms inside it, in the order of `steps` (from the outside to the inside)."""
    rows = ["| room | what is in it |", "|---|---|"]
    for names in steps:
        for name in names:
            package = SOURCE / name
            if not package.is_dir():
                rows.append(f"| `{name}.py` | {about(package.with_suffix('.py'))} |")
                continue
            rows.append(f"| **`{name}/`** | {about(package / '__init__.py')} |")
            inner = sorted(path for path in package.rglob("__init__.py") if path.parent != package)
            rows += [f"| `{path.parent.relative_to(SOURCE)}/` | {about(path)} |" for path in inner]
    return "\n".join(rows) + "\n"


def with_table(page: str, steps: tuple[tuple[str, ...], ...]) -> str:
    """`page` with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table(steps) + rest[rest.index(END) :]


def _steps() -> tuple[tuple[str, ...], ...]:
    """The order of rooms, from the test that guards it."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STEPS":
            return tuple(ast.literal_eval(node.value))
    raise SystemExit("tests/test_layers.py has no STEPS")


def main() -> None:
    """Write the table anew."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), _steps()), encoding="utf-8")


if __name__ == "__main__":
    main()
