"""What every store must work out alike: the documents an epoch names, and the high-water mark after it."""

from __future__ import annotations

from collections.abc import Mapping

from vouchd.core.facts import Epoch, Group, IssuingPointId, QuarantinedCRL, User
from vouchd.errors import AlreadyExists, LastAdministrator, NotFound, StoreConflict

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


def require_user_change(before: Mapping[str, User], user: User, replaces: User | None) -> None:
    """Raise what IdentityStore.put_user raises where `user` may not take its place among the users `before`."""
    if before.get(user.id) != replaces:
        raise StoreConflict(f"user {user.id} was changed meanwhile", hint="another process was quicker; try again")
    for other in before.values():
        if other.id != user.id and not set(other.certificates).isdisjoint(user.certificates):
            raise AlreadyExists(
                f"user {other.id} has this certificate already", hint="a certificate names one user; remove it there"
            )
    require_administrator(before, {**before, user.id: user})


def require_administrator(before: Mapping[str, User], after: Mapping[str, User]) -> None:
    """Raise LastAdministrator when a change takes away the last user who may change users."""
    if _has_administrator(before) and not _has_administrator(after):
        raise LastAdministrator(
            f"no user would be left in the group {Group.ADMINISTRATORS}",
            hint="make another user an administrator first",
        )


def _has_administrator(users: Mapping[str, User]) -> bool:
    return any(user.enabled and Group.ADMINISTRATORS in user.groups for user in users.values())


def no_user(user_id: str) -> NotFound:
    """The error for a user that is not there."""
    return NotFound(f"no user {user_id}", hint="vouchd user list shows those there are")


def no_authority(authority_id: str) -> NotFound:
    """The error for an authority that is not registered."""
    return NotFound(f"no certification authority {authority_id}", hint="vouchd ca list shows those there are")


def no_document(sha256: str) -> NotFound:
    """The error for a document that is neither stored nor given."""
    return NotFound(f"no document {sha256}")
