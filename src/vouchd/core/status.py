"""The status of a serial: issuing points, their entries, policy and time -> good | revoked | unknown (RFC 6960 2.2).

The one decision that answering makes and `explain` retells. `at` only decides whether a CRL is still fresh; everything
else comes from the epochs, so that every clone decides alike.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from vouchd.core.facts import (
    Authority,
    AuthorityPolicy,
    CertStatus,
    CompromisedAnswer,
    Epoch,
    ExpiredCRLPolicy,
    ExpiredDeltaPolicy,
)
from vouchd.core.key_history import speaks_for
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import Partitions, RevocationIndex, SerialSet
from vouchd.errors import TryLater
from vouchd.pkix.reasons import Reason, RevocationEntry
from vouchd.pkix.scope import ALL_REASONS, Scope

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
    partitions: Partitions | None = field(default=None, compare=False)  # of many points: which may list a serial


@dataclass(frozen=True, slots=True)
class ServingState:
    """All that is answered from, immutable; `version` is the manifest's and rises with each change.

    It was made from the state of version `former`, from which the CAs of the ids `changed` differ and no others do.
    `by_id` are its CAs by id; who has them in such an order gives them along.
    """

    version: int
    authorities: tuple[ServingAuthority, ...]
    former: int | None = field(default=None, compare=False)
    changed: frozenset[str] = field(default=frozenset(), compare=False)
    by_id: Mapping[str, ServingAuthority] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.by_id) != len(self.authorities):
            object.__setattr__(self, "by_id", {serving.authority.id: serving for serving in self.authorities})

    def changed_since(self, version: int) -> frozenset[str] | None:
        """The ids of the CAs that are new, away or other than in the state of that version; None: any may be."""
        return self.changed if self.former == version else None


class Decision(NamedTuple):
    """What is said of one serial, and from which CRLs it was concluded.

    `points` are the issuing points relied upon; this_update is their oldest, next_update the first to pass (None when
    one has none, the policy hides it or it would lie in the past without the policy `serve`), produced_at the latest
    acceptance, never before this_update; fresh_until is when what was concluded ends, untouched by policy. `entry` is
    set for `revoked`.
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


def decide(serving: ServingAuthority, serial: bytes, policy: ResponsePolicy, at: int, key: str = "") -> Decision:
    """The status of `serial` (DER INTEGER content octets) at POSIX time `at`.

    `key` (certs.key_id) is that of the CertID, empty for any: a CRL that speaks of one key of the CA alone says nothing
    of the others. Freshness is judged over the points relied upon:

    - What the fresh CRLs cover is theirs to say; one past its nextUpdate beside them is left aside.
    - Else what a fresh one lists is revoked, and so is what an expired one lists for good: only a hold can end.
    - Else the policy for expired CRLs speaks where there is one, and the cover of the fresh ones where there is none.

    Raises: TryLater when there is no CRL yet, when this member is behind the set, when a CRL that is needed has passed
    its nextUpdate and the policy says so.
    """
    return Verdicts(serving, policy, key).of(serial, at)


class Verdicts:
    """The decisions on the serials of one key of a CA, as `decide` tells; what no serial changes is worked out once."""

    def __init__(self, serving: ServingAuthority, policy: ResponsePolicy, key: str) -> None:
        self._serving, self._policy = serving, policy
        self._points = speaking(serving, key)
        ends = {crl.next_update for point in self._points for crl in (point.epoch.base, point.epoch.newest)}
        self._ends = sorted(end for end in ends if end is not None)
        self._views: dict[int, _View] = {}  # by how many of `_ends` have passed

    def of(self, serial: bytes, at: int) -> Decision:
        """The decision on `serial` at POSIX time `at`. Raises: TryLater."""
        own = self._serving.authority.policy
        if own.compromised_at is not None:
            return self._compromised(serial, at, own.compromised_at, own.compromised_answer)
        view = self._view_at(at)
        entries = view.entries(serial)
        if entries:
            lasting = [each for each in entries if not (view.is_late(each[0]) and _is_hold(each))]
            if lasting:
                return view.revoked(*_first(lasting))
        if view.expired and not view.covered:
            verdict = self._policy.expired_crl_for(self._serving.authority.policy)
            if verdict is ExpiredCRLPolicy.TRY_LATER:
                raise TryLater("the CRL has passed its nextUpdate", cause="expired_crl", hint="publish a current CRL")
            if verdict is ExpiredCRLPolicy.UNKNOWN:
                return view.of_unlisted(CertStatus.UNKNOWN, "the CRL has passed its nextUpdate")
            if entries:
                return view.revoked(*_first(entries))
        return _not_listed(view, serial)

    def _compromised(self, serial: bytes, at: int, since: int, answer: CompromisedAnswer) -> Decision:
        """Of a CA that an agent has declared compromised: what its CRL had revoked before stays so, all else is now.

        It makes no CRL that anybody could wait for, so nothing is said to end.
        """
        if answer is CompromisedAnswer.TRY_LATER:
            raise TryLater("the CA was declared compromised", cause="compromised_ca")
        listed = [(point, entry) for point in self._points if (entry := point.index.find(serial)) is not None]
        lasting = [one for one in listed if not _is_hold(one) and one[1].revocation_time < since]
        if lasting:
            return _View.of(self._serving, self._points, self._policy, at).revoked(*_first(lasting))
        entry = RevocationEntry(serial, since, Reason.CA_COMPROMISE)
        return Decision(CertStatus.REVOKED, "the CA was declared compromised", (), entry, since, None, None, since)

    def lists(self, serial: bytes, at: int) -> bool:
        """Whether a CRL that counts at that time lists `serial`. Raises: TryLater, IndexFileError.

        All positive serials of which this is not so share one decision until `steady_until`, unless the CA keeps a list
        of what it has issued.
        """
        return bool(self._view_at(at).entries(serial))

    def steady_until(self, at: int) -> int | None:
        """The last second in which the same CRLs are fresh as at `at`, None for ever."""
        passed = bisect_left(self._ends, at)
        return self._ends[passed] if passed < len(self._ends) else None

    def _view_at(self, at: int) -> _View:
        ends = self._ends
        passed = bisect_left(ends, at) if ends and at > ends[0] else 0
        view = self._views.get(passed)
        if view is None:
            view = self._views[passed] = self._view(at)
        return view

    def _view(self, at: int) -> _View:
        if not self._points:
            raise TryLater("no CRL of this CA has been accepted yet", cause="no_crl", hint="vouchd crl add FILE")
        if self._serving.behind:
            raise TryLater(
                "another member of the set has a newer CRL of this CA",
                cause="behind",
                hint="see `vouchd status`: replication is cut, or this member could not keep up",
            )
        return _View.of(self._serving, self._points, self._policy, at)


def speaking(serving: ServingAuthority, key: str = "") -> tuple[ServingPoint, ...]:
    """The issuing points that count for what was issued under `key` (certs.key_id; empty: any).

    A CRL whose issuer was taken out of the CA's history or policy counts no longer. Attribute certificates have serials
    of their own: a CRL of theirs says nothing of a public key certificate, and counts only when there is nothing else.
    """
    points = tuple(
        point
        for point in serving.points
        if speaks_for(serving.authority, point.epoch.issuer_key)
        and not (key and point.epoch.key_only and point.epoch.issuer_key != key)
    )
    if len(points) == 1:
        return points
    return tuple(point for point in points if not point.scope.only_attribute) or points


def expired(points: tuple[ServingPoint, ...], at: int) -> tuple[ServingPoint, ...]:
    """The issuing points among `points` whose CRL has passed its nextUpdate."""
    return tuple(p for p in points if p.epoch.next_update is not None and p.epoch.next_update < at)


def covers_every_serial(
    points: Iterable[ServingPoint], own: AuthorityPolicy, known: Iterable[ServingPoint] = ()
) -> bool:
    """Whether together these issuing points speak of every certificate of the CA: see `cover_every_serial`."""
    scopes = [(point.epoch.issuing_point.scope_id, point.scope) for point in points]
    return cover_every_serial(scopes, own, [point.scope for point in known])


def cover_every_serial(
    by_id: Collection[tuple[str, Scope]], own: AuthorityPolicy, known: Collection[Scope] = ()
) -> bool:
    """Whether CRLs of these scopes, by scope id, together speak of every certificate of the CA.

    A CertID names no distribution point, so a partition proves nothing about a serial that it does not list. Complete
    are: the scopes the operator declared; or for user and for CA certificates one CRL each, or one for both, of all
    reasons or several that have them all together. A CRL that restricts nothing but names its distribution point counts
    where the operator says so and it is the only one that is `known`.
    """
    if own.expected_scopes:
        return set(own.expected_scopes) <= {scope_id for scope_id, _ in by_id}
    scopes = [scope for _, scope in by_id]
    if any(_restricts_nothing(scope) and not scope.distribution_point_der for scope in scopes):
        return True
    named = [scope for scope in known or scopes if is_named_point(scope)]
    alone = own.named_point_covers_all and len(named) == 1
    counted = [
        scope
        for scope in scopes
        if not scope.only_attribute and (not scope.distribution_point_der or (alone and is_named_point(scope)))
    ]
    of_users = [scope for scope in counted if not scope.only_ca]
    of_cas = [scope for scope in counted if not scope.only_user]
    return _has_all_reasons(of_users) and _has_all_reasons(of_cas)


def is_named_point(scope: Scope) -> bool:
    """Whether a CRL of that scope restricts nothing, but names its distribution point."""
    return bool(scope.distribution_point_der) and _restricts_nothing(scope)


def _restricts_nothing(scope: Scope) -> bool:
    return not (scope.only_user or scope.only_ca or scope.only_attribute or scope.only_some_reasons is not None)


def _has_all_reasons(scopes: list[Scope]) -> bool:
    if any(scope.only_some_reasons is None for scope in scopes):
        return True
    return frozenset().union(*(scope.only_some_reasons or () for scope in scopes)) >= ALL_REASONS


Entry = tuple[ServingPoint, RevocationEntry]


def _is_hold(entry: Entry) -> bool:
    return entry[1].reason is Reason.CERTIFICATE_HOLD


def _first(entries: list[Entry]) -> Entry:
    """The entry that counts: where several partitions list a serial a final revocation goes before a hold."""
    return min(entries, key=lambda entry: (_is_hold(entry), entry[1].revocation_time))


class _View(NamedTuple):
    """The points that speak, fresh or past nextUpdate at one moment, and the terms on which decisions are told.

    A delta past its nextUpdate over a base that is not: by policy the point is fresh as of the base, with its times.
    What the delta told stays in the index: it was the CA's word. `covered`: the fresh ones speak of every certificate,
    and on them rests what is said of a serial that nothing lists; else on all, and `covered_in_all` says whether these
    do. `late` and `as_base` are the `id` of those in `expired` and of those that are fresh as of their base. `unlisted`
    are the decisions on what nothing lists. Of the points whose entries count, the fresh ones first, `merged` are asked
    only if the CA's `partitions` name them, by scope id and with their place; `apart` are the others.
    """

    serving: ServingAuthority
    policy: ResponsePolicy
    points: tuple[ServingPoint, ...]
    fresh: tuple[ServingPoint, ...]
    expired: tuple[ServingPoint, ...]
    late: frozenset[int]
    as_base: frozenset[int]
    covered: bool
    covered_in_all: bool
    unlisted: dict[str, Decision]
    apart: tuple[tuple[int, ServingPoint], ...]
    merged: dict[str, tuple[int, ServingPoint]]

    @classmethod
    def of(cls, serving: ServingAuthority, points: tuple[ServingPoint, ...], policy: ResponsePolicy, at: int) -> _View:
        own = serving.authority.policy
        stale = expired(points, at)
        lenient = own.expired_delta is ExpiredDeltaPolicy.BASE
        as_base = frozenset(id(point) for point in stale if lenient and _has_fresh_base(point.epoch, at))
        late = frozenset(map(id, stale)) - as_base
        fresh = tuple(point for point in points if id(point) not in late)
        expired_points = tuple(point for point in points if id(point) in late)
        covered = covers_every_serial(fresh, own, points)
        in_all = covered or covers_every_serial(points, own)
        sources = tuple(p for p in (fresh if covered else fresh + expired_points) if not p.scope.only_attribute)
        contains = serving.partitions.holds if serving.partitions is not None else lambda _: False
        merged = {p.epoch.issuing_point.scope_id: (n, p) for n, p in enumerate(sources) if contains(p.index)}
        apart = tuple((n, p) for n, p in enumerate(sources) if p.epoch.issuing_point.scope_id not in merged)
        return cls(serving, policy, points, fresh, expired_points, late, as_base, covered, in_all, {}, apart, merged)

    def entries(self, serial: bytes) -> list[Entry]:
        """What the points that count list of a serial, in their order. Raises: IndexFileError."""
        sources = self.apart
        if self.merged and self.serving.partitions is not None:
            named = [self.merged[one] for one in self.serving.partitions.scopes(serial) if one in self.merged]
            sources = tuple(sorted((*sources, *named), key=lambda one: one[0])) if named else sources
        return [(point, entry) for _, point in sources if (entry := point.index.find(serial)) is not None]

    def is_late(self, point: ServingPoint) -> bool:
        """Whether the point's CRL has passed its nextUpdate, and its base too."""
        return id(point) in self.late

    def of_unlisted(
        self, status: CertStatus, why: str, entry: RevocationEntry | None = None, *, non_issued: bool = False
    ) -> Decision:
        """The decision on each serial that nothing lists; `why` tells them apart."""
        if why not in self.unlisted:
            points = self.fresh if self.covered else self.points
            self.unlisted[why] = self.decision(status, why, points, entry, non_issued=non_issued)
        return self.unlisted[why]

    def revoked(self, point: ServingPoint, entry: RevocationEntry) -> Decision:
        if self.is_late(point) and entry.reason is not Reason.CERTIFICATE_HOLD:
            why = "listed in a CRL that has passed its nextUpdate; such a revocation does not end"
        else:
            why = "listed in the CRL"
        return self.decision(CertStatus.REVOKED, why, (point,), entry)

    def decision(
        self,
        status: CertStatus,
        why: str,
        points: tuple[ServingPoint, ...],
        entry: RevocationEntry | None = None,
        *,
        non_issued: bool = False,
    ) -> Decision:
        own = self.serving.authority.policy
        crls = [point.epoch.base if id(point) in self.as_base else point.epoch.newest for point in points]
        nexts = [crl.next_update for crl in crls if crl.next_update is not None]
        past = any(id(point) in self.late for point in points)
        fresh_until = min(nexts, default=None)
        # What is told in spite of an expired CRL has no nextUpdate but where the policy is to show that it has passed.
        hidden = past and self.policy.expired_crl_for(own) is not ExpiredCRLPolicy.SERVE
        shown = len(nexts) == len(crls) and self.policy.include_next_update_for(own) and not hidden
        this_update = min(crl.this_update for crl in crls)
        return Decision(
            status=status,
            why=why,
            points=points,
            entry=entry,
            this_update=this_update,
            next_update=fresh_until if shown else None,
            fresh_until=fresh_until,
            produced_at=max(this_update, *(point.epoch.accepted_at for point in points)),
            non_issued=non_issued,
        )


def _has_fresh_base(epoch: Epoch, at: int) -> bool:
    return epoch.delta is not None and (epoch.base.next_update is None or epoch.base.next_update >= at)


def _not_listed(view: _View, serial: bytes) -> Decision:
    serving, policy = view.serving, view.policy
    own = serving.authority.policy
    if serving.issued is not None and serial not in serving.issued:
        if own.extended_revoke:
            why = "never issued (extended definition of revoked)"
            return view.of_unlisted(CertStatus.REVOKED, why, NON_ISSUED, non_issued=True)
        return view.of_unlisted(CertStatus.UNKNOWN, "never issued")
    if not view.covered_in_all:
        why = "not listed, and the CRLs held do not cover every certificate of this CA"
        return view.of_unlisted(CertStatus.UNKNOWN, why)
    if serving.issued is None and not _is_positive(serial):
        return view.of_unlisted(CertStatus.UNKNOWN, "a serial that is not positive, and nothing lists it")
    if serving.issued is None and not policy.not_found_as_good_for(own):
        return view.of_unlisted(CertStatus.UNKNOWN, "not listed (notFoundAsGood=false)")
    return view.of_unlisted(CertStatus.GOOD, "not listed in the CRL")


def _is_positive(serial: bytes) -> bool:
    """Whether a CA that keeps RFC 5280 4.1.2.2 may have given it: a request can hold any INTEGER."""
    return serial[:1] < b"\x80" and any(serial)
