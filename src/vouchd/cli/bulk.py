"""Many files at one go: those of a folder, in batches of one change each; a file that fails costs itself alone.

It may be done again after it was cut short: what is there already is left as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from vouchd.cli import output
from vouchd.client.admin import error_from
from vouchd.errors import ConfigError, VouchdError, outcome

BATCH = 1000
BATCH_BYTES = 24 << 20  # of what is sent as base64


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a file: what is sent of it, and how large that is."""

    file: Path
    body: Any
    size: int


@dataclass
class Tally:
    """What became of `total` files: how many things were new, were there already, and which files failed."""

    total: int
    new: int = 0
    unchanged: int = 0
    failures: list[VouchdError] = field(default_factory=list)

    def fail(self, file: Path, error: VouchdError) -> None:
        """Tell of a file that failed."""
        named = type(error)(f"{file}: {error}", hint=error.hint)
        self.failures.append(named)
        output.fail(named)

    def finish(self, *, json_output: bool) -> None:
        """Print what became of all; leave with the exit code of the first failure, if there was one."""
        row = {"files": self.total, "new": self.new, "unchanged": self.unchanged, "failed": len(self.failures)}
        output.record(row, json_output=json_output)
        if self.failures:
            raise typer.Exit(outcome(self.failures[0]).exit_code)


def files_of(folder: Path) -> list[Path]:
    """The files of the folder by name, without hidden ones. Raises: ConfigError."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error
    if not files:
        raise ConfigError(f"{folder}: holds no file")
    return files


def read_all(files: Iterable[Path], read: Callable[[Path], Sequence[tuple[Any, int]]], tally: Tally) -> Iterator[Item]:
    """What `read` finds in each file, with its size; a file that cannot be read is told of and passed over."""
    for file in files:
        try:
            things = read(file)
        except VouchdError as error:
            tally.fail(file, error)
        else:
            for body, size in things:
                yield Item(file, body, size)


def batches(items: Iterable[Item]) -> Iterator[tuple[list[Item], bool]]:
    """The items in batches, each of BATCH items and BATCH_BYTES at most, and whether it is the last one.

    An item that is larger stands alone.
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (len(batch) == BATCH or size + item.size > BATCH_BYTES):
            yield batch, False
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch, True


def progress(done: int, what: str) -> None:
    """Say how far it has come."""
    output.note(f"{done} {what}")


def judged(item: Item, problem: Mapping[str, Any] | None, tally: Tally) -> bool:
    """Whether the item has no problem; one that it has is told of."""
    if problem is None:
        return True
    tally.fail(item.file, error_from(problem))
    return False


def as_base64(data: bytes) -> str:
    """Bytes as they are sent in JSON."""
    return base64.b64encode(data).decode()
