"""How often a stranger may be wrong: guesses cost the host little, and leave few records."""

from __future__ import annotations

import threading
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
        self._lock = threading.Lock()

    @contextmanager
    def by(self, origin: str) -> Iterator[None]:
        """Run an attempt; one that ends with NotFound counts. Raises: TryLater when there were too many."""
        with self._lock:
            _, count = self._lately(origin)
        if count >= LIMIT:
            raise TryLater("too many wrong attempts from this address", hint="try again in a minute")
        try:
            yield
        except NotFound:
            with self._lock:
                since, count = self._lately(origin)
                self._refused.pop(origin, None)
                self._refused[origin] = (since, count + 1)
                if len(self._refused) > _MOST_ORIGINS:
                    del self._refused[next(iter(self._refused))]
            raise

    def _lately(self, origin: str) -> tuple[float, int]:
        now = time.monotonic()
        since, count = self._refused.get(origin, (now, 0))
        return (since, count) if now - since < SECONDS else (now, 0)
