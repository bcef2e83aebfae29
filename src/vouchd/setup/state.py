"""What the set-up keeps between panels, and when its process ends: answers, with secrets, in files of mode 0600."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vouchd.cloning.steps import Journal
from vouchd.errors import BadInput, ConfigError
from vouchd.files import PRIVATE, read_secret, replace_file
from vouchd.settings.layout import Layout
from vouchd.setup.fields import read_answers
from vouchd.setup.questionnaire import Answers


class KeptAnswers:
    """The answers of an instance that is being set up, and the names of the panels that have passed their checks."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._path = layout.setup / "answers.json"

    def read(self) -> tuple[Answers, frozenset[str]]:
        """What was kept last. Raises: ConfigError when the file is damaged."""
        if not self._path.exists():
            return Answers(), frozenset()
        try:
            record = msgspec.json.decode(read_secret(self._path))
            return read_answers(record["answers"]), frozenset(map(str, record["passed"]))
        except (ValueError, KeyError, TypeError, BadInput) as error:
            raise ConfigError(
                f"{self._path}: cannot be read: {error}", hint="remove it, and answer the panels again"
            ) from error

    def keep(self, answers: Answers, passed: frozenset[str]) -> None:
        """Keep them."""
        record = {"answers": msgspec.to_builtins(answers), "passed": sorted(passed)}
        replace_file(self._path, msgspec.json.encode(record), PRIVATE)

    def keep_file(self, name: str, content: bytes) -> Path:
        """Keep what was uploaded; returns where."""
        path = self.layout.setup / name
        replace_file(path, content, PRIVATE)
        return path


EXPORTED = "exported"  # kept in the journal: the file that the keys were written to


def own_journal(layout: Layout) -> Journal:
    """What the set-up has done besides the steps of a clone's creation."""
    return Journal(layout.setup / "progress.json")
