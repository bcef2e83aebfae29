"""What is compiled once for all restarts is what the library would have made."""

from __future__ import annotations

import dataclasses
import re

import pytest
from tests.compiled import compiled

WORD = r"(?P<first>[a-z]+)|[0-9]{2,3}(?=x)"


@pytest.mark.parametrize("times", [1, 2], ids=["made", "taken from the file"])
def test_compiled_is_what_the_library_makes(tmp_path, times):
    """Dataclasses and regular expressions are the same without the file, with a new one, and out of it."""
    expected = _made()
    for _ in range(times):
        with compiled(tmp_path / "compiled"):
            made = _made()
    assert made == expected
    assert (tmp_path / "compiled").stat().st_size > 0


def test_damaged_file_is_made_anew(tmp_path):
    """A file that was cut off is no reason to fail."""
    (tmp_path / "compiled").write_bytes(b"(")
    with compiled(tmp_path / "compiled"):
        made = _made()
    assert made == _made()


def test_library_compiles_by_itself_afterwards(tmp_path):
    """Nothing of the file stays in the library, also where loading fails."""
    before = re._compiler.compile, re._compiler._sre
    with pytest.raises(ImportError), compiled(tmp_path / "compiled"):
        raise ImportError
    assert (re._compiler.compile, re._compiler._sre) == before
    assert not hasattr(dataclasses, "exec")


def _made() -> tuple[object, ...]:
    """What a dataclass and a regular expression, compiled anew, are seen to do."""
    re.purge()

    @dataclasses.dataclass(frozen=True, slots=True, order=True)
    class Point:
        across: int
        down: int = 3
        names: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    one = Point(1, names=("a",))
    expression, ignoring = re.compile(WORD), re.compile(WORD, re.IGNORECASE)
    matches = [one.groupdict() for one in expression.finditer("ab 12x ABC")], ignoring.findall("ab 12x ABC")
    kinds = expression.flags, expression.groups, expression.groupindex, re.compile(WORD.encode()).findall(b"12x")
    return repr(one), one == Point(1), hash(one) == hash(Point(1)), one < Point(2), matches, kinds
