"""What making a clone consists of, whatever its master is: a folder, the journal of its steps, waiting, the start."""

from __future__ import annotations

import time
from collections.abc import Callable

from vouchd.cloning.needs import CheckInstance, Say
from vouchd.cloning.steps import journal_of
from vouchd.errors import LifecycleError
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout

INITIALISE_SECONDS = 1800.0
ARRIVE_SECONDS = 60.0
_POLL_SECONDS = 0.1


class Creation:
    """Makes a clone in the folder of `layout`; `say` is told of progress, `check` proves the instance made there."""

    def __init__(self, layout: Layout, check: CheckInstance, say: Say) -> None:
        self._layout = layout
        self._check = check
        self._say = say
        self.journal = journal_of(layout)

    def _start(self) -> None:
        if not lifecycle.status(self._layout).ready:
            lifecycle.start(self._layout, lifecycle.manager_command(self._layout))


def wait_for(lack: Callable[[], str], hint: str) -> None:
    """Return when nothing is lacking any more; `lack` says in words what is. Raises: LifecycleError with these."""
    until = time.monotonic() + ARRIVE_SECONDS
    while words := lack():
        if time.monotonic() > until:
            raise LifecycleError(words, hint=hint)
        time.sleep(_POLL_SECONDS)
