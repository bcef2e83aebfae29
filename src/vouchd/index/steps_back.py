"""The words of operators that an older CRL may be served, beside the index files: a word is for one member.

It names the index of the epoch that is served and that of the epoch to take its place, so it is good for one step and
for no other, and nothing has to be taken back once the step is done.
"""

from __future__ import annotations

import json
from pathlib import Path

from vouchd.errors import StoreUnavailable
from vouchd.files import read_file, replace_file
from vouchd.service.admitting import StepBack

_FILE = "steps-back.json"


def read_steps_back(folder: Path) -> tuple[StepBack, ...]:
    """All of them. Raises: StoreUnavailable."""
    path = folder / _FILE
    try:
        return tuple(StepBack(before, after) for before, after in json.loads(read_file(path)))
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError) as error:
        raise StoreUnavailable(
            f"{path}: {error}", hint="remove the file: words that were given count no more"
        ) from error


def add_steps_back(folder: Path, steps: tuple[StepBack, ...]) -> None:
    """Keep some more. Raises: StoreUnavailable."""
    every = dict.fromkeys((*read_steps_back(folder), *steps))
    replace_file(folder / _FILE, json.dumps([[step.before, step.after] for step in every]).encode())
