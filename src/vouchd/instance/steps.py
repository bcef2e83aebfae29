"""Work in named steps that may be cut short anywhere and gone on with: each is done again until it was done whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vouchd.errors import ConfigError
from vouchd.signing.files import replace_file

_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `run` may be called again after it was cut short, and again after it was done."""

    name: str
    about: str
    run: Callable[[], None]


class Journal:
    """The names of the steps that were done, in a file beside what they made; the file need not be there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def done(self) -> frozenset[str]:
        """The steps that were done. Raises: ConfigError when the file is damaged."""
        try:
            with self.path.open("rb") as file:
                found = json.loads(file.read(_MAX_BYTES))
            return frozenset(str(name) for name in found["done"])
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path}: cannot be read: {error}", hint="remove what was begun, and begin again"
            ) from error

    def note(self, name: str) -> None:
        """A step was done."""
        text = json.dumps({"done": sorted(self.done() | {name})})
        replace_file(self.path, text.encode(), 0o600)


def run_steps(steps: Iterable[Step], journal: Journal, say: Callable[[str], None]) -> None:
    """Do the steps that were not done, in order; `say` is told of each before. Raises: what a step raises."""
    for step in steps:
        if step.name in journal.done():
            continue
        say(f"{step.name}: {step.about}")
        step.run()
        if journal.path.parent.is_dir():
            journal.note(step.name)
