"""What is not of the package: scripts, benches, fuzzers, tests and the programs that stand in them as text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for name in ("scripts", "bench", "fuzz", "tests") for path in sorted((ROOT / name).rglob("*.py"))]

BLANK = re.compile(r"^\{\w+\}$", re.MULTILINE)  # a line that the test fills in


def imported(text: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import from the package, and of those in programs that are text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vouchd":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "vouchd")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\nfrom " in node.value:
            with suppress(SyntaxError):  # it is a text
                yield from imported(BLANK.sub("pass", node.value))


def exists(module: str, name: str) -> bool:
    """Whether that module is there, and has that name or a module of it."""
    try:
        if name and not hasattr(import_module(module), name):
            module = f"{module}.{name}"
        import_module(module)
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_program_imports_what_exists(path: Path) -> None:
    """No program outside the package, nor one that a test hands to an interpreter, names what was moved away."""
    assert [pair for pair in imported(path.read_text(encoding="utf-8")) if not exists(*pair)] == []


def test_program_in_a_text_is_seen() -> None:
    """The checker itself: imports in a text are found, and a name that is nowhere is told."""
    program = "from vouchd.{} import facts, nothing\n"
    program = f"TEXT = '''\n{program.format('core')}'''\nimport vouchd.nowhere\n"
    pairs = list(imported(program))
    assert pairs == [("vouchd.nowhere", ""), ("vouchd.core", "facts"), ("vouchd.core", "nothing")]
    assert [exists(*pair) for pair in pairs] == [False, True, False]
