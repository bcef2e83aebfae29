"""What a function said of octets is remembered: of each of ten thousand certificates the same is asked again and again.

A dictionary, where `functools.lru_cache` takes 160 octets more for each entry; so all is dropped at once when there are
too many, which is back with the next question of each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def memo(most: int) -> Callable[[Callable[[K], V]], Callable[[K], V]]:
    """A pure function of one argument with the results of at most so many arguments at hand."""

    def remembering(function: Callable[[K], V]) -> Callable[[K], V]:
        known: dict[K, V] = {}

        @wraps(function)
        def remembered(subject: K) -> V:
            try:
                return known[subject]
            except KeyError:
                pass
            value = function(subject)
            if len(known) >= most:
                known.clear()
            known[subject] = value
            return value

        return remembered

    return remembering


@memo(1 << 16)
def shared(text: str) -> str:
    """One object for a text that stands in the facts again and again, of ten thousand CAs each."""
    return text
