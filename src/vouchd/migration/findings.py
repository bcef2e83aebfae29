"""What becomes of each thing that was there: taken over with its effect, without effect, or not possible and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vouchd.errors import VouchdError, outcome


class Verdict(StrEnum):
    """In which of the three lists a finding stands."""

    TAKEN = "taken over"
    WITHOUT_EFFECT = "without effect"
    IMPOSSIBLE = "not possible"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was there; `why` is its effect here, or why it has none. `error`: it was tried, and refused."""

    verdict: Verdict
    what: str
    why: str
    hint: str = ""
    error: VouchdError | None = None

    @classmethod
    def taken(cls, what: str, why: str) -> Finding:
        """Of what was taken over, with that effect."""
        return cls(Verdict.TAKEN, what, why)

    @classmethod
    def without_effect(cls, what: str, why: str) -> Finding:
        """Of what nothing hangs on here, and why."""
        return cls(Verdict.WITHOUT_EFFECT, what, why)

    @classmethod
    def impossible(cls, what: str, why: str, hint: str = "") -> Finding:
        """Of what cannot be taken over, and why; `hint` says what to do instead."""
        return cls(Verdict.IMPOSSIBLE, what, why, hint)

    @classmethod
    def refused(cls, what: str, error: VouchdError) -> Finding:
        """Of what was tried and refused."""
        return cls(Verdict.IMPOSSIBLE, what, str(error), error.hint, error)


def of(verdict: Verdict, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those of one list, in their order."""
    return tuple(one for one in findings if one.verdict is verdict)


def exit_code(findings: Sequence[Finding]) -> int:
    """That of the first thing that was refused, 0 where nothing was."""
    return next((outcome(one.error).exit_code for one in findings if one.error is not None), 0)
