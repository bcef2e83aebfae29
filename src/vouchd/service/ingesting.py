"""THE way in for a CRL: every push and every pull ends in `accept_crl`.

The order makes it safe to be cut short anywhere: judge, build the index file, then commit epoch and CRL in one step. An
index file without an epoch is garbage; an epoch without its index file is rebuilt from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from vouchd.core.facts import Authority, Caller, CRLRecord, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.core.ports import AuditSink, StatusStore
from vouchd.errors import (
    ConfigError,
    CRLError,
    CRLQuarantined,
    CRLRejected,
    CRLStale,
    NotFound,
    StoreConflict,
    VouchdError,
)
from vouchd.pkix.crl_entries import oddities
from vouchd.pkix.der import Buffer
from vouchd.pkix.textual import ObjectSource
from vouchd.service.arrivals import NOTHING_KEPT, Received, Recipient, Retention, next_epoch, recipients
from vouchd.service.indexing import Indexing
from vouchd.service.permission import Action, Permission
from vouchd.service.tracing import NO_TRACING, Tracing
from vouchd.service.weighing import Weighing

MAX_REASON_CHARACTERS = 500
_ATTEMPTS = 2


class Ingesting:
    """Takes CRLs into `store`; `indexing` builds their index files, `audit` records what became of each.

    `allow` passes before anything is looked at. One writer at a time is enough for safety (epochs are compared and
    set); a lock around it, as the callers in one instance share, spares work done twice. `refused` is told of a CRL
    that names a CA and is not taken: the CA's id, how many it has taken, the CRL, why. `retention` says which CRLs of
    before stay in the store; `tracing` is told of each step.
    """

    def __init__(
        self,
        store: StatusStore,
        indexing: Indexing,
        permission: Permission,
        audit: AuditSink,
        refused: Callable[[str, int, Received, CRLError], None] = lambda *_: None,
        retention: Retention = NOTHING_KEPT,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._store = store
        self._indexing = indexing
        self._weighing = Weighing(store, indexing)
        self._permission = permission
        self._audit = audit
        self._refused = refused
        self._retention = retention
        self._tracing = tracing

    def accept_crl(self, crl: ObjectSource, origin: str, caller: Caller, at: int) -> tuple[Epoch, ...]:
        """Take a CRL (DER, PEM or base64, full or delta) received at POSIX time `at`; returns the new epochs.

        There is one epoch, or for an indirect CRL one of each CA that it is for. `crl` may be a view of a mapped file.
        When this returns the epochs are durable and their index files are in place.

        Raises: CRLRejected, CRLStale, CRLForked, CRLOutOfOrder; CRLQuarantined when it was held back (of the CAs of an
        indirect CRL the others have taken it); StoreUnavailable, StoreConflict; PermissionDenied.
        """
        self._permission.allow(caller, Action.ADD_CRL, origin)
        with self._refusal_recorded(caller, origin):
            arrival = Received.of(crl, origin, at)
            with self._tracing.span(arrival.sha256, "received", origin=origin, octets=len(arrival.crl)):
                return self._accept(arrival, caller)

    def accept_all(
        self, crls: Sequence[tuple[Buffer, str]], caller: Caller, at: int
    ) -> list[tuple[Epoch, ...] | VouchdError]:
        """Do what `accept_crl` does for each CRL and its origin; what became of each, in their order.

        Those that are for one CA alone are committed as one change. One that is refused costs itself alone. Raises:
        PermissionDenied.
        """
        self._permission.allow(caller, Action.ADD_CRL, f"{len(crls)} CRLs")
        begin = self._tracing.now_ns()
        outcomes: dict[int, tuple[Epoch, ...] | VouchdError] = {}
        for place, (arrival, epoch) in self._accept_together(crls, at).items():
            self._record_taken(epoch, arrival, caller)
            self._tracing.past(arrival.sha256, "received", begin, origin=arrival.origin, octets=len(arrival.crl))
            outcomes[place] = (epoch,)
        for place, (crl, origin) in enumerate(crls):
            if place not in outcomes:
                try:
                    with self._refusal_recorded(caller, origin):
                        outcomes[place] = self._accept(Received.of(crl, origin, at), caller)
                except VouchdError as error:
                    outcomes[place] = error
        return [outcomes[place] for place in range(len(crls))]

    def _accept_together(self, crls: Sequence[tuple[Buffer, str]], at: int) -> dict[int, tuple[Received, Epoch]]:
        """Those that are taken without a second look, by their place; the others are to be taken one by one."""
        ready: dict[IssuingPointId, tuple[int, Received, Epoch]] = {}
        for place, (crl, origin) in enumerate(crls):
            with suppress(VouchdError):  # why will be told when it is taken by itself
                arrival = Received.of(crl, origin, at)
                takers = self._recipients(arrival)
                point = IssuingPointId(takers[0].authority.id, arrival.header.point_scope_id)
                if len(takers) == 1 and point not in ready:
                    epoch = self._next(takers[0], arrival, released=False, renumbering="")
                    ready[point] = place, arrival, epoch
        try:
            self._commit([(epoch, arrival) for _, arrival, epoch in ready.values()])
        except (StoreConflict, NotFound):
            return {}
        return {place: (arrival, epoch) for place, arrival, epoch in ready.values()}

    def accept_lower_number(
        self, crl: ObjectSource, origin: str, caller: Caller, at: int, reason: str
    ) -> tuple[Epoch, ...]:
        """Take a complete CRL although its number is lower than what has been in use; for administrators.

        A number that went up by mistake would lock the CA out for ever. This once thisUpdate decides which CRL is
        newer, and from here on numbers count from this CRL's; the reason stays with the epoch. Raises: ConfigError
        without a reason; what `accept_crl` does.
        """
        if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS or not reason.isprintable():
            raise ConfigError(
                f"a lower CRL number is taken for a reason of 1 to {MAX_REASON_CHARACTERS} printable characters",
                hint="say what happened: --reason TEXT",
            )
        self._permission.allow(caller, Action.LOWER_NUMBER, f"{origin}: {reason}")
        with self._refusal_recorded(caller, origin):
            return self._accept(Received.of(crl, origin, at), caller, reason)

    def retire(self, authority: Authority, scope_id: str, caller: Caller) -> Authority:
        """Take away an issuing point that will not come again: its CRL counts no longer, and no other is taken.

        Raises: NotFound when it has no CRL; PermissionDenied.
        """
        target = f"{authority.id} {scope_id}"
        self._permission.allow(caller, Action.RETIRE_POINT, target)
        left = replace(authority, retired_scopes=tuple(sorted({*authority.retired_scopes, scope_id})))
        self._store.retire(left, scope_id)
        self._audit.record("CONFIG_OCSP_PROFILE", caller, "success", ca=authority.id, retired=scope_id)
        return left

    def restore(self, authority: Authority, scope_id: str, caller: Caller) -> Authority:
        """Let CRLs of a scope that was retired be taken again. Raises: NotFound; PermissionDenied."""
        self._permission.allow(caller, Action.RETIRE_POINT, f"{authority.id} {scope_id}")
        if scope_id not in authority.retired_scopes:
            raise NotFound(
                f"the scope {scope_id} is not retired", hint="vouchd authority list --json shows those that are"
            )
        left = replace(authority, retired_scopes=tuple(one for one in authority.retired_scopes if one != scope_id))
        self._store.put_authority(left)
        self._audit.record("CONFIG_OCSP_PROFILE", caller, "success", ca=authority.id, restored=scope_id)
        return left

    def release_quarantined(self, issuing_point: IssuingPointId, caller: Caller, at: int) -> Epoch:
        """Take the CRL that is held back for the issuing point, if it is still newer than the one in use.

        Raises: NotFound; what `accept_crl` does, and the CRL stays held back.
        """
        self._permission.allow(caller, Action.RELEASE_CRL, _target(issuing_point))
        with self._refusal_recorded(caller, _target(issuing_point)):
            return self._release(issuing_point, caller, at)

    def drop_quarantined(self, issuing_point: IssuingPointId, caller: Caller) -> None:
        """Forget the CRL that is held back for the issuing point. Raises: NotFound."""
        self._permission.allow(caller, Action.DROP_CRL, _target(issuing_point))
        self._store.drop_quarantined(issuing_point)

    @contextmanager
    def _refusal_recorded(self, caller: Caller, target: str) -> Iterator[None]:
        try:
            yield
        except VouchdError as error:
            why = f"{type(error).__name__}: {error}"
            self._audit.record("CRL_VALIDATION", caller, "failure", target=target, why=why)
            raise

    def _accept(self, arrival: Received, caller: Caller, renumbering: str = "") -> tuple[Epoch, ...]:
        epochs: list[Epoch] = []
        errors: list[CRLError] = []
        for recipient in self._recipients(arrival):
            try:
                epochs.append(self._take(recipient, arrival, caller, renumbering=renumbering))
            except CRLError as error:
                errors.append(error)
                if not isinstance(error, CRLStale | CRLQuarantined):
                    self._refused(recipient.authority.id, self._taken(recipient.authority), arrival, error)
        # A CA of the same name and another key rejects it, one of several that take an indirect CRL may have it
        # already: neither is news when another CA took it, and neither hides what a third one says.
        telling = [error for error in errors if not isinstance(error, CRLRejected | CRLStale)]
        if telling:
            raise telling[0]
        if not epochs:
            raise min(errors, key=lambda error: isinstance(error, CRLRejected))
        return tuple(epochs)

    def _recipients(self, arrival: Received) -> tuple[Recipient, ...]:
        return recipients(arrival.header, self._store.authorities_of(arrival.header.issuer_name_der))

    def _taken(self, authority: Authority) -> int:
        """How many CRLs the CA has taken, all its issuing points together."""
        return sum(epoch.sequence for epoch in self._store.epochs_of(authority.id))

    def _take(
        self,
        recipient: Recipient,
        arrival: Received,
        caller: Caller,
        *,
        released: bool = False,
        renumbering: str = "",
    ) -> Epoch:
        """Make the CRL the recipient's and record it; a second look when another process was quicker."""
        for attempt in range(_ATTEMPTS):
            try:
                epoch = self._next(recipient, arrival, released=released, renumbering=renumbering)
                self._commit([(epoch, arrival)])
            except (StoreConflict, NotFound):  # NotFound: the other's epoch took a document with it
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                self._record_taken(epoch, arrival, caller)
                return epoch
        raise AssertionError("unreachable")

    def _record_taken(self, epoch: Epoch, arrival: Received, caller: Caller) -> None:
        odd = oddities(arrival.crl, arrival.header)
        detail = _detail(epoch) | ({"odd": "; ".join(odd)} if odd else {})
        self._audit.record("CRL_RETRIEVAL", caller, "success", target=arrival.origin, **detail)

    def _commit(self, taken: Sequence[tuple[Epoch, Received]]) -> None:
        """Raises: StoreConflict, NotFound when another process was quicker."""
        if taken:
            begin = self._tracing.now_ns()
            self._store.commit_epochs([(epoch, {arrival.sha256: arrival.crl}) for epoch, arrival in taken])
            self._indexing.accepted([epoch for epoch, _ in taken])
            for epoch, arrival in taken:
                self._tracing.past(arrival.sha256, "stored", begin, ca=epoch.issuing_point.authority_id)

    def _next(self, recipient: Recipient, arrival: Received, *, released: bool, renumbering: str) -> Epoch:
        """The epoch that the CRL makes, judged and vouched for, its index file in place; to be committed."""
        authority = recipient.authority
        point = IssuingPointId(authority.id, arrival.header.point_scope_id)
        require_not_retired(authority, point.scope_id)
        stored = self._store.epoch(point)
        current = self._indexing.standing(authority, stored)
        high_water = self._indexing.high_water(point, current)
        with self._tracing.span(arrival.sha256, "judged", ca=authority.id):
            issuer_der = arrival.judge(recipient.issuers, current, high_water, lower_number=bool(renumbering))
        with self._tracing.span(arrival.sha256, "indexed", ca=authority.id):
            epoch = self._built(authority, arrival, next_epoch(arrival, current, point, issuer_der, renumbering))
        before = None if current is None else replace(current, former=stored.former if stored else ())
        epoch = replace(epoch, former=self._retention.former(before, epoch))
        if not released and not renumbering and authority.policy.quarantine_percent is not None:
            weight = self._weighing.weigh(authority, arrival, current, epoch)
            if weight.why:
                self._hold_back(arrival, epoch, weight.why)
        self._indexing.vouch(authority, epoch)
        return epoch

    def _built(self, authority: Authority, arrival: Received, epoch: Epoch) -> Epoch:
        """The next epoch, its index file in place and its entries counted."""
        counts = self._indexing.build(authority, epoch, lambda record: self._document(record, arrival))
        merged = None if counts.delta is None else counts.together
        if arrival.header.is_delta:
            delta = replace(arrival.record(), entry_count=counts.delta or 0)
            return replace(epoch, merged_count=merged, delta=delta)
        return replace(epoch, merged_count=merged, base=replace(epoch.base, entry_count=counts.base))

    def _document(self, record: CRLRecord, arrival: Received) -> Buffer:
        return arrival.crl if record.sha256 == arrival.sha256 else self._indexing.document(record)

    def _hold_back(self, arrival: Received, epoch: Epoch, why: str) -> None:
        """Raises: CRLQuarantined, always."""
        record = epoch.newest if arrival.header.is_delta else epoch.base
        pending = self._store.quarantined_of(epoch.issuing_point.authority_id)
        known = {(crl.issuing_point, crl.record.sha256) for crl in pending}
        if (epoch.issuing_point, record.sha256) not in known:  # sent again it keeps its time of arrival
            quarantined = QuarantinedCRL(epoch.issuing_point, record, arrival.at, arrival.origin, why)
            self._store.put_quarantined(quarantined, arrival.crl)
        raise CRLQuarantined(
            f"the CRL is held back: {why}", hint="look into it, then: vouchd crl quarantine release, or drop"
        )

    def _release(self, issuing_point: IssuingPointId, caller: Caller, at: int) -> Epoch:
        pending = self._store.quarantined_of(issuing_point.authority_id)
        crl = next((one for one in pending if one.issuing_point == issuing_point), None)
        if crl is None:
            raise NotFound("no CRL is held back for this issuing point")
        arrival = Received.of(self._indexing.document(crl.record), crl.origin, at)
        for recipient in self._recipients(arrival):
            if recipient.authority.id == issuing_point.authority_id:
                return self._take(recipient, arrival, caller, released=True)
        raise CRLRejected("the CRL held back is no longer for this CA", hint="its indirect CRL issuer was taken away")


def _target(point: IssuingPointId) -> str:
    return f"{point.authority_id} {point.scope_id}"


def require_not_retired(authority: Authority, scope_id: str) -> None:
    """Raise CRLRejected when the issuing point of that scope was taken away for good."""
    if scope_id in authority.retired_scopes:
        raise CRLRejected(
            f"the issuing point of the scope {scope_id} is retired",
            hint="an agent can restore it, if it comes again after all",
        )


def _detail(epoch: Epoch) -> dict[str, str | int]:
    newest = epoch.newest
    number = "none" if newest.crl_number is None else newest.crl_number
    return {
        "ca": epoch.issuing_point.authority_id,
        "scope": epoch.issuing_point.scope_id,
        "crl_number": number,
        "sha256": newest.sha256,
        "sequence": epoch.sequence,
        **({"lower_number": epoch.renumbering} if epoch.renumbering else {}),
    }
