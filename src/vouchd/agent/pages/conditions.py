"""The condition of a CA and of a CRL at one moment, as one word with a colour and a sentence that says more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vouchd.agent.pages.showing import duration
from vouchd.core.facts import Epoch
from vouchd.instance.report import ServedPoints
from vouchd.pkix.purposes import Validity, ValidityState
from vouchd.service.authorities import AuthoritySummary

_SOON_SHARE = 0.1  # of a CRL's life that is left when its successor is due


class Tone(StrEnum):
    """How urgent it is; the colour follows, and the word carries the meaning without it."""

    GOOD = "good"
    INFO = "info"
    WARNING = "warning"
    BAD = "bad"
    NEUTRAL = "neutral"


_URGENCY = (Tone.BAD, Tone.WARNING, Tone.INFO, Tone.NEUTRAL, Tone.GOOD)


@dataclass(frozen=True, slots=True)
class Condition:
    """One word or two, and why."""

    tone: Tone
    word: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class PointRow:
    """One issuing point of a CA in a list."""

    epoch: Epoch
    entries: int
    age_seconds: int
    condition: Condition
    remaining: float  # share of the CRL's life that is left, 0 to 1; 0 where it has no nextUpdate


@dataclass(frozen=True, slots=True)
class AuthorityRow:
    """One CA in a list; `requests` counts the answers about it since the start."""

    summary: AuthoritySummary
    condition: Condition
    points: tuple[PointRow, ...]
    requests: int = 0


def authority_row(summary: AuthoritySummary, served: ServedPoints, now: int, requests: int = 0) -> AuthorityRow:
    """The row of one CA at POSIX time `now`."""
    points = tuple(_point_row(epoch, served, now) for epoch in summary.epochs)
    conditions = [point.condition for point in points] or [
        Condition(Tone.WARNING, "No CRL", "Nothing can be answered until a CRL comes.")
    ]
    if summary.quarantined:
        conditions.append(Condition(Tone.WARNING, "CRL held back", summary.quarantined[0].why))
    if summary.not_after < now:
        conditions.append(Condition(Tone.BAD, "CA expired", "The CA's own certificate has expired."))
    worst = min(conditions, key=lambda condition: _URGENCY.index(condition.tone))
    return AuthorityRow(summary, worst, points, requests)


def _point_row(epoch: Epoch, served: ServedPoints, now: int) -> PointRow:
    life = (epoch.next_update or 0) - epoch.this_update
    left = (epoch.next_update or now) - now
    point = served.point(epoch.issuing_point)
    entries = point.entries if point and point.sequence == epoch.sequence else epoch.entry_count
    return PointRow(
        epoch=epoch,
        entries=entries,
        age_seconds=max(0, now - epoch.this_update),
        condition=_crl_condition(epoch, served, now),
        remaining=max(0.0, min(1.0, left / life)) if life > 0 else 0.0,
    )


def _crl_condition(epoch: Epoch, served: ServedPoints, now: int) -> Condition:
    if epoch.next_update is not None and epoch.next_update < now:
        why = f"Its nextUpdate passed {duration(now - epoch.next_update)} ago."
        return Condition(Tone.BAD, "CRL expired", why)
    if not served.serves(epoch.issuing_point, epoch.sequence):
        return Condition(Tone.INFO, "Loading", "The workers are about to answer from this CRL.")
    if epoch.next_update is None:
        return Condition(Tone.GOOD, "Current", "The CRL names no nextUpdate.")
    left = epoch.next_update - now
    if left < _SOON_SHARE * (epoch.next_update - epoch.this_update):
        return Condition(Tone.WARNING, "Due soon", f"The next CRL is due in {duration(left)}.")
    return Condition(Tone.GOOD, "Current", f"The next CRL is due in {duration(left)}.")


def expiry_condition(validity: Validity, now: int) -> Condition:
    """The condition of a certificate, by the rule by which readiness, commands and log warn of it."""
    left = duration(abs(validity.not_after - now))
    match validity.state(now):
        case ValidityState.EXPIRED:
            return Condition(Tone.BAD, "Expired", f"It ended {left} ago.")
        case ValidityState.NOT_YET:
            return Condition(Tone.BAD, "Not valid yet", f"It begins in {duration(validity.not_before - now)}.")
        case ValidityState.ENDS_SOON:
            return Condition(Tone.WARNING, "Ends soon", f"It ends in {left}.")
        case _:
            return Condition(Tone.GOOD, "Valid", f"It ends in {left}.")
