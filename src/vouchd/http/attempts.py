"""How often a stranger may be wrong: guesses cost the host little, and leave few records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from vouchd.errors import NotFound, TryLater

LIMIT = 10
SECONDS = 60.0
_MOST_ORIGINS = 1000


class Attempts:
    """Counts, for each address that strangers come from, what was refused to it lately. Used in several threads.

    Only counts are kept, and of so many addresses at most; the oldest is forgotten first.
    """

    def __init__(self) -> None:
        self._refused: dict[str, tuple[float, int]] = {}  # address: since when, how often

    @contextmanager
    def by(self, origin: str) -> Iterator[None]:
        """Run an attempt; one that ends with NotFound counts. Raises: TryLater when there were too many."""
        since, count = self._refused.get(origin, (time.monotonic(), 0))
        if time.monotonic() - since >= SECONDS:
            since, count = time.monotonic(), 0
        if count >= LIMIT:
            raise TryLater("too many wrong attempts from this address", hint="try again in a minute")
        try:
            yield
        except NotFound:
            self._refused.pop(origin, None)
            self._refused[origin] = (since, count + 1)
            if len(self._refused) > _MOST_ORIGINS:
                self._refused.pop(next(iter(self._refused)), None)
            raise
