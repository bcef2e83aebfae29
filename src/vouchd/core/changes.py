"""What changed in a store: of every CA and issuing point that changed after a revision, what the store holds now.

A store numbers its states. So whoever has read all facts once goes on by what changed: one CRL among ten thousand CAs
costs one issuing point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vouchd.core.facts import Authority, Epoch, IssuingPointId, QuarantinedCRL

NEVER = -1  # before the first revision: everything has changed since


@dataclass(frozen=True, slots=True)
class Concerned:
    """What a part of all facts is of: these CAs and issuing points, also where there is nothing of them any more."""

    authorities: frozenset[str] = frozenset()
    points: frozenset[IssuingPointId] = frozenset()


@dataclass(frozen=True, slots=True)
class PointFacts:
    """The current epoch of one issuing point and the CRL held back for it; neither where it was taken away."""

    epoch: Epoch | None = None
    quarantined: QuarantinedCRL | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a store holds at `revision` of all that changed after the revision that was asked about.

    `authorities` has None for one that was removed; its issuing points stand in `points`. `whole`: this is all there
    is, whatever was known before.
    """

    revision: int
    authorities: Mapping[str, Authority | None] = field(default_factory=dict)
    points: Mapping[IssuingPointId, PointFacts] = field(default_factory=dict)
    whole: bool = False
