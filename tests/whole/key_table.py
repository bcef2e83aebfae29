"""The table of keys' whereabouts in docs/set/keyring.md: each line is what tests show, which name it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

PAGE = Path(__file__).parents[2] / "docs" / "set" / "keyring.md"
# Who names lines of it.
MODULES = (
    "tests.whole.test_renewed_set",
    "tests.whole.test_signers_of_a_set",
    "tests.whole.test_signers_under_load",
    "tests.whole.test_key_table",
    "tests.whole.test_hardening",
    "tests.cloning.test_keyring",
    "tests.setup.test_killed_wizard",
)
_Test = TypeVar("_Test", bound=Callable[..., object])
_named: set[str] = set()


def of_keys(*lines: str) -> Callable[[_Test], _Test]:
    """Mark a test as the proof of these lines, by what they say of which key."""
    _named.update(lines)
    return lambda test: test


def named() -> set[str]:
    """The lines that tests name."""
    for name in MODULES:
        import_module(name)
    return _named


def lines() -> list[str]:
    """The lines of the page: of which keys they are."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition("| key | at rest | on its way | never |\n")
    rows, _, _ = table.partition("\n\n")
    return [row.split(" | ")[0].removeprefix("| ") for row in rows.splitlines()[1:]]
