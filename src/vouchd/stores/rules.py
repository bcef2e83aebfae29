"""What every store must work out alike: the documents an epoch names, and the high-water mark after it."""

from __future__ import annotations

from vouchd.core.facts import Epoch, IssuingPointId, QuarantinedCRL
from vouchd.errors import NotFound, StoreConflict

CHUNK_BYTES = 1 << 20

HighWater = tuple[int | None, int]
NO_HIGH_WATER: HighWater = (None, 0)


def crl_hashes(epoch: Epoch) -> tuple[str, ...]:
    """SHA-256 (hex) of the CRLs that the epoch contains."""
    return (epoch.base.sha256, epoch.delta.sha256) if epoch.delta else (epoch.base.sha256,)


def risen(mark: HighWater, epoch: Epoch) -> HighWater:
    """The high-water mark after `epoch`: neither part ever falls."""
    crls = [epoch.base, *([epoch.delta] if epoch.delta else [])]
    numbers = [number for number in (mark[0], *(crl.crl_number for crl in crls)) if number is not None]
    return max(numbers, default=None), max(mark[1], *(crl.this_update for crl in crls))


def require_next(epoch: Epoch, current_sequence: int) -> None:
    """Raise StoreConflict unless `epoch` follows the current sequence number (0: there is no epoch yet)."""
    if epoch.sequence != current_sequence + 1:
        raise StoreConflict(
            f"epoch {epoch.sequence} does not follow epoch {current_sequence}", hint="another process was quicker"
        )


def quarantine_order(crl: QuarantinedCRL) -> tuple[int, IssuingPointId]:
    """Sort key: oldest first."""
    return crl.received_at, crl.issuing_point


def no_authority(authority_id: str) -> NotFound:
    """The error for an authority that is not registered."""
    return NotFound(f"no certification authority {authority_id}", hint="vouchd ca list shows those there are")


def no_document(sha256: str) -> NotFound:
    """The error for a document that is neither stored nor given."""
    return NotFound(f"no document {sha256}")
