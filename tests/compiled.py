"""What Python's library compiles anew in each process, kept in a file: methods of dataclasses, regular expressions.

That is a third of what loading an instance takes, and after a restart nothing else can spare it. The same text is
always compiled to the same, so what the file has is never wrong; it belongs to one version of Python.
"""

from __future__ import annotations

import dataclasses
import marshal
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

_FILE = Path(__file__).parent / "__pycache__" / f"compiled.{sys.implementation.cache_tag}-{sys.hexversion:x}"


@contextmanager
def compiled(file: Path = _FILE) -> Iterator[None]:
    """Meanwhile the library takes from the file what is in it, to which the rest is added at the end."""
    try:
        methods, expressions = marshal.loads(file.read_bytes())  # noqa: S302  ours
    except (OSError, ValueError, EOFError, TypeError):
        methods, expressions = {}, {}
    before = len(methods) + len(expressions)
    compile_expression, module = re._compiler.compile, re._compiler._sre
    dataclasses.exec = _Methods(methods)
    re._compiler.compile = expressions_of = _Expressions(expressions)
    re._compiler._sre = SimpleNamespace(**{**vars(module), "compile": expressions_of.keep})
    try:
        yield
    finally:
        del dataclasses.exec
        re._compiler.compile, re._compiler._sre = compile_expression, module
    if len(methods) + len(expressions) > before:
        draft = file.with_suffix(f".{os.getpid()}")
        file.parent.mkdir(exist_ok=True)
        draft.write_bytes(marshal.dumps((methods, expressions)))
        draft.replace(file)


class _Methods:
    """`exec` of the source of methods."""

    def __init__(self, kept: dict[str, CodeType]) -> None:
        self._kept = kept

    def __call__(self, source: str, *names: dict[str, Any]) -> None:
        code = self._kept.get(source)
        if code is None:
            code = self._kept[source] = compile(source, "<string>", "exec")
        exec(code, *names)  # noqa: S102  what the library would


class _Expressions:
    """The compiler of regular expressions: what it hands to the engine, by pattern and flags."""

    def __init__(self, kept: dict[tuple[str | bytes, int], tuple[Any, ...]]) -> None:
        self._kept = kept
        self._compile = re._compiler.compile
        self._engine = re._compiler._sre.compile
        self._made: tuple[Any, ...] = ()

    def __call__(self, pattern: Any, flags: int = 0) -> re.Pattern:
        if not isinstance(pattern, str | bytes):
            return self._compile(pattern, flags)
        arguments = self._kept.get((pattern, int(flags)))
        if arguments is not None:
            return self._engine(pattern, *arguments)
        expression = self._compile(pattern, flags)
        self._kept[pattern, int(flags)] = self._made
        return expression

    def keep(self, pattern: Any, flags: int, code: list[int], groups: int, index: dict, names: Any) -> re.Pattern:
        """What the engine makes of it, as `_sre.compile`."""
        self._made = int(flags), [*map(int, code)], groups, {**index}, tuple(names)
        return self._engine(pattern, flags, code, groups, index, names)
