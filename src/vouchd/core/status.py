"""The status of a serial: issuing points, their entries, policy and time -> good | revoked | unknown (RFC 6960 2.2).

The one decision that answering makes and `explain` retells. `at` only decides whether a CRL is still fresh; everything
else comes from the epochs, so that every clone decides alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from vouchd.core.facts import Authority, CertStatus, Epoch, ExpiredCRLPolicy
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import RevocationIndex, SerialSet
from vouchd.errors import TryLater
from vouchd.pkix.reasons import Reason, RevocationEntry
from vouchd.pkix.scope import Scope

# RFC 6960 section 2.2: what a non-issued certificate is told to be under the extended definition of `revoked`.
NON_ISSUED = RevocationEntry(serial=b"", revocation_time=0, reason=Reason.CERTIFICATE_HOLD)


@dataclass(frozen=True, slots=True)
class ServingPoint:
    """A CRL issuing point as a worker answers from it."""

    epoch: Epoch
    index: RevocationIndex
    scope: Scope


@dataclass(frozen=True, slots=True)
class ServingAuthority:
    """A CA with all its issuing points and, where it keeps one, the list of the serials it has issued."""

    authority: Authority
    points: tuple[ServingPoint, ...]
    issued: SerialSet | None = None
    behind: bool = False  # another member of the set has had a newer CRL for longer than is allowed


@dataclass(frozen=True, slots=True)
class ServingState:
    """All that is answered from, immutable; `version` is the manifest's and rises with each change."""

    version: int
    authorities: tuple[ServingAuthority, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said of one serial, and from which CRLs it was concluded.

    `points` are the issuing points relied upon; this_update is their oldest, next_update the first to pass (None when
    one has none or the policy hides it), produced_at the latest acceptance; fresh_until is next_update untouched by
    policy: what was concluded may be kept no longer. `entry` is set for `revoked`.
    """

    status: CertStatus
    why: str
    points: tuple[ServingPoint, ...]
    entry: RevocationEntry | None
    this_update: int
    next_update: int | None
    fresh_until: int | None
    produced_at: int
    non_issued: bool = False


def decide(serving: ServingAuthority, serial: bytes, policy: ResponsePolicy, at: int) -> Decision:
    """The status of `serial` (DER INTEGER content octets) at POSIX time `at`.

    Raises: TryLater when the CA has no CRL yet, when this member is behind the set, when a CRL relied upon has passed
    its nextUpdate and the policy says so.
    """
    if not serving.points:
        raise TryLater("no CRL of this CA has been accepted yet", cause="no_crl", hint="vouchd crl add FILE")
    if serving.behind:
        raise TryLater(
            "another member of the set has a newer CRL of this CA",
            cause="behind",
            hint="see `vouchd status`: replication is cut, or this member could not keep up",
        )
    found = _revocation(serving.points, serial)
    points = serving.points if found is None else (found[0],)
    stale = expired(points, at)
    if stale:
        verdict = policy.expired_crl_for(serving.authority.policy)
        if verdict is ExpiredCRLPolicy.TRY_LATER:
            raise TryLater("the CRL has passed its nextUpdate", cause="expired_crl", hint="publish a current CRL")
        if verdict is ExpiredCRLPolicy.UNKNOWN:
            return _decision(serving, policy, CertStatus.UNKNOWN, "the CRL has passed its nextUpdate", points)
    if found is not None:
        return _decision(serving, policy, CertStatus.REVOKED, "listed in the CRL", points, found[1])
    return _not_listed(serving, serial, policy)


def expired(points: tuple[ServingPoint, ...], at: int) -> tuple[ServingPoint, ...]:
    """The issuing points among `points` whose CRL has passed its nextUpdate."""
    return tuple(p for p in points if p.epoch.next_update is not None and p.epoch.next_update < at)


def covers_every_serial(points: tuple[ServingPoint, ...], expected_scopes: tuple[str, ...]) -> bool:
    """Whether together these issuing points speak of every certificate of the CA.

    A CertID names no distribution point, so a partition proves nothing about a serial that it does not list. Complete
    are: one CRL without restriction; one for user and one for CA certificates; or the scopes the operator declared.
    """
    if expected_scopes:
        return set(expected_scopes) <= {p.epoch.issuing_point.scope_id for p in points}
    open_scopes = [
        p.scope
        for p in points
        if not p.scope.distribution_point_der and p.scope.only_some_reasons is None and not p.scope.only_attribute
    ]
    if any(not scope.only_user and not scope.only_ca for scope in open_scopes):
        return True
    return any(scope.only_user for scope in open_scopes) and any(scope.only_ca for scope in open_scopes)


def _revocation(points: tuple[ServingPoint, ...], serial: bytes) -> tuple[ServingPoint, RevocationEntry] | None:
    """The entry that counts; where several partitions list the serial a final revocation goes before a hold."""
    # Attribute certificates have serials of their own: a CRL of theirs says nothing of a public key certificate.
    speaking = (point for point in points if not point.scope.only_attribute)
    found = [(point, entry) for point in speaking if (entry := point.index.find(serial)) is not None]
    if not found:
        return None
    return min(found, key=lambda pair: (pair[1].reason is Reason.CERTIFICATE_HOLD, pair[1].revocation_time))


def _not_listed(serving: ServingAuthority, serial: bytes, policy: ResponsePolicy) -> Decision:
    own = serving.authority.policy
    if serving.issued is not None and serial not in serving.issued:
        if own.extended_revoke:
            why = "never issued (extended definition of revoked)"
            return _decision(
                serving, policy, CertStatus.REVOKED, why, serving.points, entry=NON_ISSUED, non_issued=True
            )
        return _decision(serving, policy, CertStatus.UNKNOWN, "never issued", serving.points)
    if not covers_every_serial(serving.points, own.expected_scopes):
        why = "not listed, and the CRLs held do not cover every certificate of this CA"
        return _decision(serving, policy, CertStatus.UNKNOWN, why, serving.points)
    if serving.issued is None and not policy.not_found_as_good_for(own):
        return _decision(serving, policy, CertStatus.UNKNOWN, "not listed (notFoundAsGood=false)", serving.points)
    return _decision(serving, policy, CertStatus.GOOD, "not listed in the CRL", serving.points)


def _decision(
    serving: ServingAuthority,
    policy: ResponsePolicy,
    status: CertStatus,
    why: str,
    points: tuple[ServingPoint, ...],
    entry: RevocationEntry | None = None,
    *,
    non_issued: bool = False,
) -> Decision:
    epochs = [point.epoch for point in points]
    nexts = [epoch.next_update for epoch in epochs if epoch.next_update is not None]
    fresh_until = min(nexts, default=None)
    shown = len(nexts) == len(epochs) and policy.include_next_update_for(serving.authority.policy)
    return Decision(
        status=status,
        why=why,
        points=points,
        entry=entry,
        this_update=min(epoch.this_update for epoch in epochs),
        next_update=fresh_until if shown else None,
        fresh_until=fresh_until,
        produced_at=max(epoch.accepted_at for epoch in epochs),
        non_issued=non_issued,
    )
