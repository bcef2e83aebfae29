"""The readiness checks that the parts of a manager process give, apart from the port that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One condition; readiness needs those that are `required`, the others are for the eye."""

    name: str
    ok: bool
    detail: str
    required: bool = True


def advice(name: str, problem: str, names: Sequence[str]) -> Check:
    """A check that is for the eye, failed while it names anything."""
    return Check(name, not names, f"{problem}: {', '.join(names)}" if names else "none " + problem, required=False)
