"""Admitting: what a store says is served once this member has itself verified it, whoever wrote it there.

A store is a carrier. Whoever has the password of one directory server writes epochs that replicate to every member; a
database comes back from a backup; a snapshot is rolled back. So each epoch that is read is judged where it is served,
as if its CRL had been pushed here:

1. the bytes are those that the facts name (SHA-256, size), signed with a key of the CA or of a CRL issuer of its;
2. the facts say of the CRL what it says: number, times, scope, entries; nothing lies ahead of the clock;
3. it is not older than what this member has served, which the serving manifest remembers over restarts.

What does not pass is not served: the epoch that was served before stays, with its own nextUpdate, and the refusal is
recorded once, shown until it ends, and makes the member not ready. To go back needs an administrator's word for that
one step, which is a fact of the CA (service/stepping_back).

Why this is enough: the manifest holds nothing that was not judged here or taken in here, so an epoch that stands in it
unchanged needs no second look as long as its CA has the keys that it was judged by; what is new in an epoch is judged,
and what it shares with a judged one (the base under a new delta) is not read again. Each CRL costs one verification on
each member: a process that takes one in and does not serve leaves a voucher for that (`index/vouchers`). What came from
another member before a start is judged in it, by as many processes as there are processors (`crl_proof`).

What a store says of a CA itself, its policy and the history of its keys, are words of operators, and a word can be
given on any member. A store that others write to gives on only what a member has sealed (cloning/seals), so it is
believed here. A key or CRL issuer that was not there before is recorded on every member, so that it is seen by those
who did not give the word. See docs/set/directory.md.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from vouchd.core.acceptance import FUTURE_TOLERANCE_SECONDS
from vouchd.core.facts import (
    Authority,
    AuthorityFacts,
    Caller,
    CRLRecord,
    Epoch,
    IssuingPointId,
    StepBack,
    is_newer_crl,
)
from vouchd.core.ports import AuditSink, Clock
from vouchd.errors import CRLError, CRLRejected, NotFound, StoreUnavailable
from vouchd.service.crl_proof import (
    Ahead,
    Documents,
    Outcomes,
    Proof,
    StoredCRL,
    issuers_of,
    proof_of,
    proofs_by_many,
)
from vouchd.service.tracing import NO_TRACING, Tracing

_log = logging.getLogger(__name__)

STORE = Caller("store", origin="store")


@dataclass(frozen=True, slots=True)
class Served:
    """The facts of a serving manifest, by the CA's id; `verified`: this member has judged each of its epochs."""

    facts: Mapping[str, AuthorityFacts] = field(default_factory=dict)
    verified: bool = False

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """All of them."""
        return tuple(epoch for facts in self.facts.values() for epoch in facts.epochs)

    def epoch(self, point: IssuingPointId) -> Epoch | None:
        """That of an issuing point, None when it has none."""
        facts = self.facts.get(point.authority_id)
        return next((one for one in facts.epochs if one.issuing_point == point), None) if facts else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An epoch that the store has and this member does not serve; None: the store has lost the one that is served.

    It is judged anew once the clock is at `passes_at`: then none of its times lies ahead any more.
    """

    point: IssuingPointId
    label: str
    epoch: Epoch | None
    why: str
    lasting: bool = True  # it does not pass by itself, as when a CRL is still on its way
    passes_at: int | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """The epochs to serve, and what was refused; `kept` are the points of epochs that the store does not have."""

    epochs: tuple[Epoch, ...]
    refusals: tuple[Refusal, ...] = ()
    kept: frozenset[IssuingPointId] = frozenset()

    @property
    def known(self) -> tuple[Epoch, ...]:
        """The epochs of the store that have to be served: those admitted, and those that could not be judged yet."""
        unread = tuple(one.epoch for one in self.refusals if one.epoch is not None and not one.lasting)
        return tuple(epoch for epoch in self.epochs if epoch.issuing_point not in self.kept) + unread


class Vouchers(Protocol):
    """Which epochs processes of this member have judged that do not serve: see index/vouchers."""

    def add(self, authority: Authority, epoch: Epoch) -> None:
        """Say that this process has judged the epoch by the certificates that the CA has."""

    def of(self, epochs: Iterable[tuple[Authority, Epoch]]) -> Iterator[tuple[Authority, Epoch]]:
        """Those of these epochs, each with its CA, that a process of this member has judged."""

    def clear(self) -> None:
        """Forget all: what was judged is served, and nobody takes a CRL in."""


class Admitting:
    """Judges what a store has. `served` reads what this member serves when this process begins.

    May be used by several threads, which wait for each other.
    """

    def __init__(
        self,
        served: Callable[[], Served],
        clock: Clock,
        tracing: Tracing = NO_TRACING,
        vouchers: Vouchers | None = None,
    ) -> None:
        """`audit` and `outcomes` are set by the process that serves; others judge alike and record nothing."""
        self._vouchers = vouchers
        self._tracing = tracing
        self._read_served = served
        self._clock = clock
        self.audit: AuditSink | None = None
        self.outcomes: Outcomes | None = None  # makes many judgements in several processes
        self._served: Served | None = None
        # By the CA's id, of what is not served yet: what is served was judged by the certificates of its CA there.
        self._proofs: dict[str, dict[tuple[IssuingPointId, CRLRecord], Proof]] = {}
        self._refused: dict[IssuingPointId, tuple[frozenset[bytes], Refusal]] = {}
        self._announced: frozenset[bytes] = frozenset()
        self._lock = threading.RLock()

    @property
    def served(self) -> Served:
        """What this member serves."""
        if self._served is None:
            self._served = self._read_served()
        return self._served

    def resume(self, facts: Mapping[str, AuthorityFacts]) -> None:
        """These facts are served, of a manifest that this member has written: it need not be read again."""
        with self._lock:
            if self._served is None:
                self._served = Served(facts, verified=True)

    def serve(self, facts: Mapping[str, AuthorityFacts], changed: Collection[str]) -> None:
        """What was admitted is served from now on, of other CAs than `changed` what was served before."""
        with self._lock:
            ids = changed if self.served.verified else facts.keys()
            self._served = Served(facts, verified=True)
            for each in ids:
                self._proofs.pop(each, None)

    def vouch(self, authority: Authority, epoch: Epoch) -> None:
        """The epoch was judged by this process, which takes it in once this returns."""
        self._believe(authority, epoch)
        if self._vouchers is not None and self.audit is None:  # who serves knows it until it is served
            self._vouchers.add(authority, epoch)

    def settle(self) -> None:
        """All that was taken in is served, and nobody takes a CRL in."""
        if self._vouchers is not None:
            self._vouchers.clear()

    def _believe(self, authority: Authority, epoch: Epoch) -> None:
        proof = Proof(issuers_of(authority), epoch.idp_der, epoch.issuer_key)
        proofs = self._proofs.setdefault(authority.id, {})
        for record in epoch.records:
            proofs[epoch.issuing_point, record] = proof

    def admit(
        self, stored: Mapping[str, AuthorityFacts], documents: Documents, removed: Collection[str] = ()
    ) -> Admitted:
        """What of the store's facts may be served, each issuing point by itself; `removed` CAs it has no more.

        CAs that are neither stored nor removed are not looked at: nothing is refused of them, and nothing changed.
        """
        with self._lock:
            return self._admit(stored, documents, removed)

    def _admit(self, stored: Mapping[str, AuthorityFacts], documents: Documents, removed: Collection[str]) -> Admitted:
        self._record_keys(stored)
        self._take_vouchers(stored, documents)
        for crl, proof in proofs_by_many(tuple(self._unproved(stored)), documents, self._clock.now(), self.outcomes):
            self._proofs.setdefault(crl.authority.id, {})[crl.epoch.issuing_point, crl.record] = proof
        admitted: dict[IssuingPointId, Epoch] = {}
        refusals: list[Refusal] = []
        kept: set[IssuingPointId] = set()
        for each in sorted(stored):
            authority, epochs = stored[each].authority, {epoch.issuing_point: epoch for epoch in stored[each].epochs}
            known = self.served.facts.get(each)
            served = {epoch.issuing_point: epoch for epoch in known.epochs} if known else {}
            for point in sorted(epochs.keys() | served.keys()):
                epoch, former = epochs.get(point), served.get(point)
                if epoch is None and point.scope_id in authority.retired_scopes:
                    continue
                refusal = self._refusal(authority, point, epoch, former, documents)
                if refusal is None and epoch is not None:
                    admitted[point] = epoch
                elif refusal is not None:
                    refusals.append(refusal)
                    if former is not None:
                        admitted[point] = former
                        kept.add(point)
        self._record({refusal.point: refusal for refusal in refusals}, stored, removed)
        return Admitted(tuple(admitted.values()), tuple(refusals), frozenset(kept))

    def is_due(self, refusals: Iterable[Refusal]) -> bool:
        """Whether one of these is to be judged anew, since the clock has come as far as it takes."""
        return any(one.lasting and not self._is_lasting(one) for one in refusals)

    def standing(self, authority: Authority, epoch: Epoch, documents: Documents) -> Epoch | None:
        """What a new CRL has to follow: the stored epoch, or where it is refused the served one under its sequence."""
        former = self.served.epoch(epoch.issuing_point)
        with self._lock:
            refusal = self._refusal(authority, epoch.issuing_point, epoch, former, documents)
        if refusal is None:
            return epoch
        return replace(former, sequence=epoch.sequence) if former is not None else None

    def _refusal(
        self,
        authority: Authority,
        point: IssuingPointId,
        epoch: Epoch | None,
        former: Epoch | None,
        documents: Documents,
    ) -> Refusal | None:
        if epoch is None:
            return Refusal(point, authority.label, None, "the store has lost the CRL that is served")
        issuers = issuers_of(authority)
        known = self._refused.get(point)
        same = known is not None and known[0] == issuers and known[1].epoch == epoch and self._is_lasting(known[1])
        if known is not None and same and not _may_step(authority, epoch, former):
            return known[1]
        try:
            self._judge(authority, epoch, documents)
        except CRLError as error:
            passes_at = error.passes_at if isinstance(error, Ahead) else None
            return Refusal(point, authority.label, epoch, str(error), passes_at=passes_at)
        except (NotFound, StoreUnavailable) as error:  # it may be on its way: judged anew at the next look
            return Refusal(point, authority.label, epoch, f"the CRL itself cannot be read: {error}", lasting=False)
        if former is not None and _goes_back(epoch, former) and not _may_step(authority, epoch, former):
            return Refusal(point, authority.label, epoch, _older(epoch, former))
        return None

    def _is_lasting(self, refusal: Refusal) -> bool:
        return refusal.lasting and (refusal.passes_at is None or self._clock.now() < refusal.passes_at)

    def _judge(self, authority: Authority, epoch: Epoch, documents: Documents) -> None:
        """Raises: CRLError; NotFound, StoreUnavailable when a document cannot be read."""
        if epoch.accepted_at > self._clock.now() + FUTURE_TOLERANCE_SECONDS:
            raise Ahead("the store says of it that it was accepted in the future", epoch.accepted_at)
        proofs = [self._prove(authority, epoch, record, documents) for record in epoch.records]
        if epoch.issuer_key not in {"", proofs[-1].issuer_key}:  # the newest is the last one
            raise CRLRejected("the store names another key of the CA than the CRL is signed with")
        _require_together(epoch)

    def _take_vouchers(self, stored: Mapping[str, AuthorityFacts], documents: Documents) -> None:
        """Believe what processes of this member have judged, but for what has a time ahead of the clock, or no index.

        The first is judged at this moment, the second with the CRL that its index file is made of.
        """
        unknown = [
            (facts.authority, epoch)
            for facts in stored.values()
            for epoch in facts.epochs
            if any(self._known(epoch.issuing_point, crl) is None for crl in epoch.records)
        ]
        if self._vouchers is None or not unknown:
            return
        latest = self._clock.now() + FUTURE_TOLERANCE_SECONDS
        for authority, epoch in self._vouchers.of(unknown):
            if all(crl.this_update <= latest for crl in epoch.records) and documents.is_indexed(epoch):
                self._believe(authority, epoch)

    def _unproved(self, stored: Mapping[str, AuthorityFacts]) -> Iterator[StoredCRL]:
        """The CRLs that are to be judged for the first time."""
        for facts in stored.values():
            for epoch in facts.epochs:
                if epoch.issuing_point not in self._refused:
                    for record in epoch.records:
                        if self._known(epoch.issuing_point, record) is None:
                            yield StoredCRL(facts.authority, epoch, record)

    def _prove(self, authority: Authority, epoch: Epoch, record: CRLRecord, documents: Documents) -> Proof:
        issuers = issuers_of(authority)
        known = self._known(epoch.issuing_point, record)
        if known is not None and known.issuers <= issuers and known.idp_der == epoch.idp_der:
            return known
        with self._tracing.span(record.sha256, "followed", ca=authority.id):
            proof = proof_of(authority, epoch, record, documents.document(record), documents, self._clock.now())
        self._proofs.setdefault(authority.id, {})[epoch.issuing_point, record] = proof
        return proof

    def _known(self, point: IssuingPointId, record: CRLRecord) -> Proof | None:
        """What a CRL of that point was verified by, if it was."""
        proof = self._proofs.get(point.authority_id, {}).get((point, record))
        if proof is not None or not self.served.verified:
            return proof
        facts, epoch = self.served.facts.get(point.authority_id), self.served.epoch(point)
        if facts is None or epoch is None or record not in epoch.records:
            return None
        return Proof(issuers_of(facts.authority), epoch.idp_der, epoch.issuer_key)

    def _record_keys(self, stored: Mapping[str, AuthorityFacts]) -> None:
        """Record which CAs have got keys or CRL issuers since what is served."""
        for each, facts in stored.items():
            former = self.served.facts.get(each)
            if former is None or self.audit is None:
                continue
            authority = facts.authority
            new = issuers_of(authority) - issuers_of(former.authority) - self._announced
            if not new:
                continue
            shown = ", ".join(sorted(hashlib.sha256(one).hexdigest() for one in new))
            _log.warning("%s: new keys or CRL issuers in the store: %s", authority.label, shown)
            self.audit.record("CA_KEYS_SEEN", STORE, "success", target=authority.id, certificates=shown)
            self._announced |= new

    def _record(
        self,
        refusals: Mapping[IssuingPointId, Refusal],
        stored: Mapping[str, AuthorityFacts],
        removed: Collection[str],
    ) -> None:
        """Log and record what was not refused before, and remember what is refused."""
        before = {
            point: refusal
            for point, (_, refusal) in self._refused.items()
            if point.authority_id in stored or point.authority_id in removed
        }
        for point, refusal in refusals.items():
            if before.get(point) != refusal and self.audit is not None:
                _log.error(
                    "%s, scope %s: not served as the store has it: %s", refusal.label, point.scope_id, refusal.why
                )
                self.audit.record("CRL_VALIDATION", STORE, "failure", target=_target(point), **_detail(refusal))
        for point in before.keys() - refusals.keys():
            _log.warning("%s: what the store has of scope %s is served again", before[point].label, point.scope_id)
        self._refused = {point: known for point, known in self._refused.items() if point not in before} | {
            point: (issuers_of(stored[point.authority_id].authority), refusal) for point, refusal in refusals.items()
        }


def _may_step(authority: Authority, epoch: Epoch, former: Epoch | None) -> bool:
    return former is not None and StepBack(former.index_name, epoch.index_name) in authority.steps_back


def _goes_back(epoch: Epoch, former: Epoch) -> bool:
    """Whether its CRLs are older; that one was accepted twice, and when, does not matter.

    A lower number that an administrator has had taken somewhere in the set is newer by its thisUpdate alone: the CA has
    signed that, and no store can make an old CRL look like it.
    """
    if epoch.renumbered > former.renumbered:
        return epoch.this_update < former.this_update
    return is_newer_crl(former, epoch)


def _older(epoch: Epoch, former: Epoch) -> str:
    numbers = [one.newest.crl_number for one in (epoch, former)]
    shown = ["without a number" if number is None else str(number) for number in numbers]
    return f"CRL {shown[0]} is older than CRL {shown[1]}, which this member has served"


def _require_together(epoch: Epoch) -> None:
    """The delta goes with the base (RFC 5280 5.2.4)."""
    delta, number = epoch.delta, epoch.base.crl_number
    if delta is None:
        return
    if number is None or delta.crl_number is None or delta.base_crl_number is None:
        raise CRLRejected("a delta CRL, or its base, without CRL number")
    if not delta.base_crl_number <= number < delta.crl_number:
        raise CRLRejected(f"delta CRL {delta.crl_number} does not go with complete CRL {number}")


def _target(point: IssuingPointId) -> str:
    return f"{point.authority_id} {point.scope_id}"


def _detail(refusal: Refusal) -> dict[str, str | int]:
    newest = refusal.epoch.newest if refusal.epoch else None
    number = newest.crl_number if newest else None
    return {
        "why": refusal.why,
        "crl_number": "none" if number is None else number,
        "sha256": newest.sha256 if newest else "",
        "origin": refusal.epoch.origin if refusal.epoch else "",
    }
