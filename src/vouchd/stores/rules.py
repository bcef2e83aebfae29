"""What every store must work out alike: the documents an epoch names, and the high-water mark after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vouchd.core.approval_facts import Approvals
from vouchd.core.facts import Epoch, Facts, Group, IssuingPointId, Member, QuarantinedCRL, User
from vouchd.core.signer_facts import Keyring
from vouchd.errors import AlreadyExists, LastAdministrator, NotFound, StoreConflict

CHUNK_BYTES = 1 << 20

HighWater = tuple[int | None, int]
NO_HIGH_WATER: HighWater = (None, 0)


class Unsealed:
    """Keeps the contract of core.ports.Seals where nobody else can write: everything is believed."""

    def seal(self, _kind: str, _identifier: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """See Seals."""
        return dict(record)

    def removal(self, _kind: str, _identifier: str) -> dict[str, Any] | None:
        """See Seals."""
        return None

    def require(self, _kind: str) -> None:
        """See Seals."""

    def wants_all(self, _kind: str) -> bool:
        """See Seals."""
        return False

    def mark(self) -> int:
        """See Seals."""
        return 0

    def believe(
        self,
        _kind: str,
        stored: Mapping[str, Sequence[Mapping[str, Any]]],
        _mark: int,
        _registry: Callable[[], object],
        _damaged: Collection[str] = (),
        removals: Collection[Mapping[str, Any]] = (),  # noqa: ARG002  of the contract
        missing: Collection[str] | None = None,  # noqa: ARG002  of the contract
    ) -> dict[str, list[dict[str, Any]]]:
        """See Seals."""
        return {identifier: [dict(one) for one in some] for identifier, some in stored.items()}


def crl_hashes(epoch: Epoch) -> tuple[str, ...]:
    """SHA-256 (hex) of the CRLs that the epoch contains."""
    return (epoch.base.sha256, epoch.delta.sha256) if epoch.delta else (epoch.base.sha256,)


def documents_of(epoch: Epoch) -> tuple[str, ...]:
    """SHA-256 (hex) of the CRLs that the epoch contains, and of former ones that are kept with it."""
    return (*crl_hashes(epoch), *(crl.sha256 for crl in epoch.former))


def keeping(epoch: Epoch, is_stored: Callable[[str], bool]) -> Epoch:
    """The epoch with those of its former CRLs that are stored: one that is lost keeps no CRL from being taken."""
    if not epoch.former:
        return epoch
    return replace(epoch, former=tuple(crl for crl in epoch.former if is_stored(crl.sha256)))


def risen(mark: HighWater, epoch: Epoch) -> HighWater:
    """The high-water mark after `epoch`: neither part ever falls."""
    crls = [epoch.base, *([epoch.delta] if epoch.delta else [])]
    numbers = [number for number in (mark[0], *(crl.crl_number for crl in crls)) if number is not None]
    return max(numbers, default=None), max(mark[1], *(crl.this_update for crl in crls))


def mark_after(mark: HighWater, epoch: Epoch, current: Epoch | None) -> HighWater:
    """The mark once `epoch` follows `current`: it falls only where an administrator has had numbers lowered."""
    if epoch.renumbered > (current.renumbered if current else 0):
        return risen(NO_HIGH_WATER, epoch)
    return risen(mark, epoch)


def lowered(epochs: Iterable[Epoch], ours: Iterable[Epoch]) -> frozenset[IssuingPointId]:
    """The issuing points where numbers were lowered in `epochs` since `ours`: their marks are those of `epochs`."""
    known = {epoch.issuing_point: epoch.renumbered for epoch in ours}
    return frozenset(epoch.issuing_point for epoch in epochs if epoch.renumbered > known.get(epoch.issuing_point, 0))


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


def require_member_change(before: Mapping[str, Member], member: Member, replaces: Member | None) -> None:
    """Raise what DomainStore.put_member raises where `member` may not take its place among the members `before`."""
    if before.get(member.id) != replaces:
        raise StoreConflict(f"member {member.id} was changed meanwhile", hint="another process was quicker; try again")
    taken = {_replica_id(other): other.id for other in before.values() if other.id != member.id}
    if (replica_id := _replica_id(member)) is not None and replica_id in taken:
        raise AlreadyExists(
            f"member {taken[replica_id]} has the replica id {replica_id}", hint="take one that nobody in the set has"
        )


def _replica_id(member: Member) -> int | None:
    return member.directory.replica_id if member.directory else None


def changed_keyring(stored: Keyring, keyring: Keyring, replaces: Keyring) -> Keyring:
    """What KeyringStore.put_keyring stores in place of `stored`. Raises: StoreConflict."""
    if stored != replaces:
        raise StoreConflict("the keyring was changed meanwhile", hint="another process was quicker; try again")
    return replace(keyring, change=stored.change + 1)


def changed_approvals(stored: Approvals, approvals: Approvals, replaces: Approvals) -> Approvals:
    """What ApprovalStore.put_approvals stores in place of `stored`. Raises: StoreConflict."""
    if stored != replaces:
        raise StoreConflict("the approvals were changed meanwhile", hint="somebody else decided; look again")
    return replace(approvals, change=stored.change + 1)


def named_documents(facts: Facts) -> frozenset[str]:
    """SHA-256 (hex) of the documents that the facts name."""
    names = {name for epoch in facts.epochs for name in documents_of(epoch)}
    names |= {crl.record.sha256 for crl in facts.quarantined}
    names |= {serials for ca in facts.authorities if (serials := ca.policy.issued_serials)}
    return frozenset(names)


def merged(one: HighWater, other: HighWater) -> HighWater:
    """The higher of two marks, each part by itself."""
    numbers = [number for number in (one[0], other[0]) if number is not None]
    return max(numbers, default=None), max(one[1], other[1])


def no_member(member_id: str) -> NotFound:
    """The error for a member that is not there."""
    return NotFound(f"no member {member_id}", hint="vouchd domain members shows those there are")


def no_token() -> NotFound:
    """The error for a join token that is not there any more, or never was: which of them is nobody's business."""
    return NotFound(
        "this join token is not valid", hint="it may have been used; another is given by `vouchd domain token`"
    )


def no_user(user_id: str) -> NotFound:
    """The error for a user that is not there."""
    return NotFound(f"no user {user_id}", hint="vouchd user list shows those there are")


def no_authority(authority_id: str) -> NotFound:
    """The error for an authority that is not registered."""
    return NotFound(f"no certification authority {authority_id}", hint="vouchd authority list shows those there are")


def no_issuing_point(scope_id: str) -> NotFound:
    """The error for an issuing point that has no CRL, in use or held back."""
    return NotFound(f"the CA has no CRL of the scope {scope_id}", hint="vouchd crl list shows those there are")


def no_document(sha256: str) -> NotFound:
    """The error for a document that is neither stored nor given."""
    return NotFound(f"no document {sha256}")
