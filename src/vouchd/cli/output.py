"""All printing of the command line: results on stdout, everything else on stderr as `vouchd: …`.

Results are a table or lines for people, or with `--json` one JSON document. Errors are lower case, without a full stop,
followed by `vouchd: hint: …` where there is a remedy; the exit code comes from `errors.outcome`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from vouchd.core.records import rfc3339
from vouchd.errors import VouchdError, outcome

PROGRAM = "vouchd"
INTERRUPTED = 130  # the exit code of whoever is stopped at the terminal


def say(text: str) -> None:
    """Print one line (or block) of result on stdout, unchanged."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def as_json(value: object) -> None:
    """Print `value` as one indented JSON document on stdout; bytes become lower-case hex, sets sorted lists."""
    say(json.dumps(_spelled(value), indent=2, ensure_ascii=False, default=_plain))


# What a heading writes in capitals; a name of a member is in small letters, as REST has all of them.
_HEADING = re.compile(r"(?:CA|CRL|OCSP|URL)s?(?:_[a-z0-9_]+)?")


def _spelled(value: object) -> object:
    """The value with the names of its members as REST spells them, at every depth."""
    match value:
        case Mapping():
            return {
                name.lower() if _HEADING.fullmatch(str(name)) else name: _spelled(one) for name, one in value.items()
            }
        case list() | tuple():
            return [_spelled(one) for one in value]
        case _:
            return value


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def effect(name: str, changes: Sequence[str]) -> None:
    """Say on stderr what a successful act has changed of what is called `name`, and where that is nothing."""
    for change in changes:
        note(f"{name}: {change}")
    if not changes:
        note(f"{name}: it was there already, just so: nothing was changed")


def words(value: object) -> str:
    """A value as people read it: none is `-`, a truth is yes or no, of several each is named."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name} {words(one)}" for name, one in value.items()) or "-"
        case list() | tuple():
            return ", ".join(map(words, value)) or "-"
        case set() | frozenset():
            return ", ".join(sorted(map(words, value))) or "-"
        case _:
            return str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print rows under `columns`, as `words` has them; `empty` is said on stderr instead when there is no row."""
    cells = [[words(cell) for cell in row] for row in rows]
    if not cells:
        if empty:
            note(empty)
        return
    _print(cells, columns)


def fields(values: Mapping[str, object]) -> None:
    """Print names and values as two aligned columns, as `words` has them."""
    _print([[name, words(value)] for name, value in values.items()])


def _print(rows: Sequence[Sequence[str]], columns: Sequence[str] = ()) -> None:
    """Print cells below `columns`; without them the first cell of a row is its name."""
    if sys.stdout.isatty():
        _print_on_terminal(rows, columns)
    else:
        _print_plainly([columns, *rows] if columns else rows)


def _print_plainly(rows: Sequence[Sequence[str]]) -> None:
    """Print a line for each row, its cells aligned: what is piped to grep or awk is not wrapped or shortened."""
    lines = [[" ".join(cell.splitlines()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_on_terminal(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    # Here, because it takes a tenth of a second to load, and most commands are read by programs or print nothing.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=sys.stdout, highlight=False, emoji=False)
    if columns and not _fits(rows, columns, console.width):
        for number, row in enumerate(rows):
            if number:
                say("")
            _print_on_terminal(list(zip(columns, row, strict=True)), ())
        return
    grid = Table(box=None, pad_edge=False, show_header=bool(columns), header_style="bold")
    if not columns:
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
    for place, column in enumerate(columns):
        whole = all(len(row[place]) <= _LONGEST_WORD for row in rows)  # others are folded sooner than such a column
        grid.add_column(column, overflow="fold", no_wrap=whole)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)


_LONGEST_WORD = 20  # a time; what is longer, as a hash or a path, may be folded


def _least(cells: Iterable[str], heading: str) -> int:
    """How wide a column is at least, so that no time, number or word in it is broken."""
    words_in = [word for text in (heading, *cells) for word in text.split()]
    return max((min(len(word), _LONGEST_WORD) for word in words_in), default=1)


def _fits(rows: Sequence[Sequence[str]], columns: Sequence[str], width: int) -> bool:
    """Whether a table of these fits; else each row is shown as lines of names and values."""
    least = sum(_least([row[place] for row in rows], column) for place, column in enumerate(columns))
    return least + 2 * (len(columns) - 1) <= width


def records(values: Sequence[Mapping[str, object]], *, json_output: bool, empty: str = "") -> None:
    """Print a list of like records: a table with their keys as columns, or with `--json` a JSON list."""
    if json_output:
        as_json(list(values))
        return
    columns = list(dict.fromkeys(name for value in values for name in value))
    rows = [[value.get(name) for name in columns] for value in values]
    table([name.replace("_", " ") for name in columns], rows, empty=empty)


def record(value: Mapping[str, object], *, json_output: bool) -> None:
    """Print one record: aligned names and values, or with `--json` a JSON object."""
    if json_output:
        as_json(dict(value))
    else:
        fields({name.replace("_", " "): field for name, field in value.items()})


def note(text: str) -> None:
    """Say something that is not the result, on stderr: `vouchd: TEXT`."""
    sys.stderr.write(f"{PROGRAM}: {text}\n")
    sys.stderr.flush()


def hint(text: str) -> None:
    """Say how to go on, on stderr: `vouchd: hint: TEXT`; nothing when `text` is empty."""
    if text:
        note(f"hint: {text}")


def warn(text: str, remedy: str = "") -> None:
    """Say what is doubtful but not fatal, on stderr: `vouchd: warning: TEXT`."""
    note(f"warning: {text}")
    hint(remedy)


def fail(error: BaseException) -> int:
    """Say why the command failed and how to mend it; returns the exit code to leave with."""
    note(str(error) or type(error).__name__)
    if isinstance(error, VouchdError):
        hint(error.hint)
    return outcome(error).exit_code


def run_to_its_end(run: Callable[[], object]) -> NoReturn:
    """Run a command that is a program of its own; every error ends in words and an exit code."""
    try:
        run()
    except VouchdError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


def when(at: int | None) -> str | None:
    """POSIX seconds as `2026-11-24T05:41:44Z`, None stays None."""
    return None if at is None else rfc3339(at)


def serial_text(serial: bytes) -> str:
    """DER INTEGER content octets as lower-case hexadecimal with `0x`, as the Certificate System shows it."""
    return hex(int.from_bytes(serial, "big", signed=True))
