"""Work in named steps that may be cut short anywhere and gone on with: each is done again until it was done whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vouchd.errors import ConfigError
from vouchd.files import read_file, replace_file
from vouchd.settings.layout import Layout

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
        return self._read()[0]

    def kept(self) -> dict[str, str]:
        """What steps have kept for later ones, and for undoing them. Raises: ConfigError."""
        return self._read()[1]

    def note(self, name: str) -> None:
        """A step was done."""
        done, kept = self._read()
        self._write(done | {name}, kept)

    def keep(self, values: Mapping[str, str]) -> None:
        """Keep what is no secret."""
        done, kept = self._read()
        self._write(done, {**kept, **values})

    def _write(self, done: frozenset[str], kept: Mapping[str, str]) -> None:
        text = json.dumps({"done": sorted(done), "kept": dict(kept)})
        replace_file(self.path, text.encode())

    def _read(self) -> tuple[frozenset[str], dict[str, str]]:
        try:
            record = json.loads(read_file(self.path, _MAX_BYTES, error=ConfigError))
            kept = {str(name): str(value) for name, value in dict(record.get("kept", {})).items()}
            return frozenset(str(name) for name in record["done"]), kept
        except FileNotFoundError:
            return frozenset(), {}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path}: cannot be read: {error}", hint="remove what was begun, and begin again"
            ) from error


def run_steps(steps: Iterable[Step], journal: Journal, say: Callable[[str], None]) -> None:
    """Do the steps that were not done, in order; `say` is told of each before. Raises: what a step raises."""
    for step in steps:
        if step.name in journal.done():
            continue
        say(f"{step.name}: {step.about}")
        step.run()
        if journal.path.parent.is_dir():
            journal.note(step.name)


def journal_of(layout: Layout) -> Journal:
    """What was done of making the clone there."""
    return Journal(layout.root / "clone.json")
