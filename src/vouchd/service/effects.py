"""What an act has changed: told with every success, so that nobody is told one that has no effect.

The rule of whatever adds: what is there just so already is no error, and said to be there. Where it is there otherwise,
either the difference is made, and named; or nothing is done, and it is named with what makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effect(Generic[T]):
    """What is there now, and what the act has changed of it, one line each; none: it was there just so."""

    subject: T
    changes: tuple[str, ...]


def differences(before: T, after: T, parts: Mapping[str, Callable[[T], object]]) -> tuple[str, ...]:
    """One line for each of these parts, by its name, in which the two differ."""
    pairs = ((name, part(before), part(after)) for name, part in parts.items())
    return tuple(f"its {name} is {now or 'none'}, and was {once or 'none'}" for name, once, now in pairs if once != now)
