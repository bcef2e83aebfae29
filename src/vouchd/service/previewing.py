"""What a CRL would change, told before it is taken: judged and compared as `ingesting` does, committed by nobody.

An index file that is built for the comparison is one that no epoch names: it is garbage until the CRL is accepted, and
then spares building it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vouchd.core.facts import Authority, Caller, CRLRecord, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.core.ports import StatusStore
from vouchd.core.status import cover_every_serial
from vouchd.errors import CRLError, NotFound
from vouchd.pkix.der import Buffer
from vouchd.pkix.names import readable
from vouchd.pkix.scope import Scope
from vouchd.pkix.textual import ObjectSource
from vouchd.service.arrivals import Received, Recipient, next_epoch, recipients
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import require_not_retired
from vouchd.service.permission import Action, Permission
from vouchd.service.weighing import Weighing

SHOWN_SERIALS = 20
_LOWER = "preview"  # in place of the reason that it will be taken for


@dataclass(frozen=True, slots=True)
class Change:
    """What taking the CRL would do to one CA's issuing point.

    `current` is the epoch in use, None for the first CRL. `lost`, `gained`, `before` count entries; they are 0 where
    `refusal` says why the CRL would be refused. `held_back` says why it would go to quarantine, else it is empty.
    `some_lost` and `some_gained` are the first of those serials (DER INTEGER content octets), at most SHOWN_SERIALS.
    """

    authority: Authority
    issuing_point: IssuingPointId
    current: Epoch | None
    refusal: str = ""
    hint: str = ""
    lost: int = 0
    gained: int = 0
    before: int = 0
    held_back: str = ""
    some_lost: tuple[bytes, ...] = ()
    some_gained: tuple[bytes, ...] = ()

    @property
    def after(self) -> int:
        """How many entries there would be."""
        return self.before - self.lost + self.gained


@dataclass(frozen=True, slots=True)
class Retirement:
    """What retiring an issuing point would change.

    `entries` are in its CRL, and of them at most `lost` are in no other CRL of the CA: these serials are revoked no
    longer. `covered_before` and `covered_after` tell whether the CA's CRLs speak of every serial, so that one that none
    lists can be `good`.
    """

    authority: Authority
    epoch: Epoch
    entries: int
    lost: int
    covered_before: bool
    covered_after: bool


def _covered(authority: Authority, epochs: Iterable[Epoch]) -> bool:
    scopes = [(epoch.issuing_point.scope_id, Scope.from_idp(epoch.idp_der)) for epoch in epochs]
    return cover_every_serial(scopes, authority.policy)


@dataclass(frozen=True, slots=True)
class Preview:
    """A CRL that can be read: who issued it, its facts (entries not counted), and what would become of it."""

    issuer: str
    record: CRLRecord
    scope_id: str
    changes: tuple[Change, ...]

    @property
    def acceptable(self) -> bool:
        """Whether at least one CA would take it."""
        return any(not change.refusal for change in self.changes)

    @property
    def lost(self) -> int:
        """How many certificates would no longer be revoked, of all CAs together."""
        return sum(change.lost for change in self.changes)


class Previewing:
    """Looks at a CRL; to be called under the lock under which CRLs are taken in, so that nobody tidies meanwhile."""

    def __init__(self, store: StatusStore, indexing: Indexing, permission: Permission) -> None:
        self._store = store
        self._indexing = indexing
        self._weighing = Weighing(store, indexing)
        self._permission = permission

    def preview_quarantined(self, point: IssuingPointId, caller: Caller, at: int) -> tuple[QuarantinedCRL, Preview]:
        """The CRL held back for a point, and what releasing it would change. Raises: NotFound; as `preview`."""
        crl = next((one for one in self._store.quarantined_of(point.authority_id) if one.issuing_point == point), None)
        if crl is None:
            raise NotFound("no CRL is held back for this issuing point", hint="somebody has released or dropped it")
        return crl, self.preview(self._indexing.document(crl.record), caller, at)

    def preview_retirement(self, authority: Authority, scope_id: str, caller: Caller) -> Retirement:
        """What retiring the issuing point of that scope would change. Raises: NotFound when it has no CRL in use."""
        self._permission.allow(caller, Action.READ_CRL, scope_id)
        ours = self._store.epochs_of(authority.id)
        epoch = next((one for one in ours if one.issuing_point.scope_id == scope_id), None)
        if epoch is None:
            raise NotFound(f"the CA has no CRL of the scope {scope_id}", hint="vouchd crl list shows those there are")
        self._indexing.ensure_index(authority, epoch)
        rest = [one for one in ours if one is not epoch]
        for one in rest:
            self._indexing.ensure_index(authority, one)
        entries = self._indexing.difference(epoch, epoch)[2]
        lost = min((self._indexing.difference(epoch, one)[0] for one in rest), default=entries)
        return Retirement(authority, epoch, entries, lost, _covered(authority, ours), _covered(authority, rest))

    def preview(self, crl: ObjectSource, caller: Caller, at: int, *, lower_number: bool = False) -> Preview:
        """What accepting the CRL (DER, PEM or base64) at POSIX time `at` would change; no facts change.

        With `lower_number` as an administrator takes one, whose number went up by mistake before. Raises: CRLRejected
        when it cannot be read or its issuer is no CA of ours; StoreUnavailable; PermissionDenied.
        """
        self._permission.allow(caller, Action.READ_CRL, "*")
        arrival = Received.of(crl, "preview", at)
        takers = recipients(arrival.header, self._store.authorities_of(arrival.header.issuer_name_der))
        return Preview(
            issuer=readable(arrival.header.issuer_name_der),
            record=arrival.record(),
            scope_id=arrival.header.point_scope_id,
            changes=tuple(self._changes(arrival, takers, _LOWER if lower_number else "")),
        )

    def _changes(self, arrival: Received, takers: tuple[Recipient, ...], renumbering: str) -> Iterator[Change]:
        for recipient in takers:
            point = IssuingPointId(recipient.authority.id, arrival.header.point_scope_id)
            current = self._indexing.standing(recipient.authority, self._store.epoch(point))
            try:
                yield self._change(arrival, recipient, point, current, renumbering)
            except CRLError as error:
                yield Change(recipient.authority, point, current, refusal=str(error), hint=error.hint)

    def _change(
        self,
        arrival: Received,
        recipient: Recipient,
        point: IssuingPointId,
        current: Epoch | None,
        renumbering: str,
    ) -> Change:
        """Raises: CRLError when the CRL would be refused."""
        authority = recipient.authority
        require_not_retired(authority, point.scope_id)
        lower = bool(renumbering)
        high_water = self._indexing.high_water(point, current)
        issuer_der = arrival.judge(recipient.issuers, current, high_water, lower_number=lower)
        epoch = next_epoch(arrival, current, point, issuer_der, renumbering)
        counts = self._indexing.build(authority, epoch, lambda record: self._document(record, arrival))
        weight = self._weighing.weigh(authority, arrival, current, epoch)
        if current is None:
            return Change(authority, point, None, gained=counts.together, held_back="" if lower else weight.why)
        return Change(
            authority,
            point,
            current,
            lost=weight.lost,
            gained=weight.gained,
            before=weight.before,
            held_back="" if lower else weight.why,  # an administrator's word goes before
            some_lost=self._indexing.missing(current, epoch, SHOWN_SERIALS) if weight.lost else (),
            some_gained=self._indexing.missing(epoch, current, SHOWN_SERIALS) if weight.gained else (),
        )

    def _document(self, record: CRLRecord, arrival: Received) -> Buffer:
        if record.sha256 == arrival.sha256:
            return arrival.crl
        try:
            return self._indexing.document(record)
        except NotFound as error:  # another process replaced the epoch just now
            raise CRLError("the CRL in use has just been replaced", hint="look again") from error
