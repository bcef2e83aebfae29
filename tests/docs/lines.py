"""The command lines that pages show: in blocks of code, and as code within a sentence."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PROGRAMS = ("vouchd", "OCSPClient", "PKCS12Export")
# What ends one command and begins another, or goes elsewhere.
_ENDS = {"|", "||", "&&", ";", ">", ">>", "<"}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command of ours as a page shows it; `whole` when it could be run as it stands."""

    page: str
    program: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join([self.program, *self.words])}"


@cache
def command_lines() -> tuple[CommandLine, ...]:
    """Those of all pages."""
    return tuple(line for page in PAGES for line in of_page(page))


def of_page(page: Path) -> Iterator[CommandLine]:
    """Those of one page, in their order."""
    name = str(page.relative_to(ROOT))
    for fenced, text in _code(page.read_text(encoding="utf-8")):
        for words in _commands(text, fenced=fenced):
            whole = fenced and not any("…" in word or word == "..." for word in words)
            yield CommandLine(name, words[0], tuple(words[1:]), whole)


def _code(text: str) -> Iterator[tuple[bool, str]]:
    """Each line of a block, with those that continue it, and each piece of code in a sentence."""
    fenced = False
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            yield True, line
        else:
            yield from ((False, code) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", line))


def _commands(code: str, *, fenced: bool) -> Iterator[list[str]]:
    """The commands of ours in a line of a shell; within a sentence `|` is between alternatives."""
    if not re.match(rf"\s*(?:\S.* -- )?(?:{'|'.join(PROGRAMS)})\b|.*\| (?:{'|'.join(PROGRAMS)}) ", code):
        return
    lexer = shlex.shlex(code, posix=True, punctuation_chars=";|" if fenced else "")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word == "--":
            words = []
        elif word in _ENDS:
            if words and words[0] in PROGRAMS:
                yield words
            words = []
        else:
            words.append(word)
