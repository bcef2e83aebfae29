"""Going back to an older CRL, in all members of a set: see service.admitting, which lets none do so by itself.

An administrator's word stands with the CA: which epoch may take the place of which newer one. It is good for that step
alone, and where others write into the store it is sealed as all that is said of a CA. The older CRL is then taken once
more, as one from which numbers count anew (`Epoch.renumbered`), so it is the newest for everybody who compares: the
other members, the watermark, the high-water marks. A member that was away steps when it comes back.
"""

from __future__ import annotations

from dataclasses import replace

from vouchd.core.facts import Authority, Caller, Epoch, IssuingPointId, StepBack
from vouchd.core.ports import AuditSink, StatusStore
from vouchd.errors import ConfigError, CRLRejected, NotFound
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import MAX_REASON_CHARACTERS
from vouchd.service.permission import Action, Permission

EVENT = "CRL_STEP_BACK"
_KEPT = 16  # words of a CA: a member that was away for longer needs a newer CRL


class SteppingBack:
    """Every step passes `permission` first and is recorded in `audit` when it is done."""

    def __init__(self, store: StatusStore, indexing: Indexing, permission: Permission, audit: AuditSink) -> None:
        self._store = store
        self._indexing = indexing
        self._permission = permission
        self._audit = audit

    def step_back(
        self, authority: Authority, scope_id: str, caller: Caller, at: int, reason: str
    ) -> tuple[Epoch, Epoch]:
        """Have all members serve the older CRL that the store has of that scope; what was served, and what will be.

        Raises: PermissionDenied; NotFound where the store has no other CRL than the one that is served; CRLRejected
        where it would not be taken for another reason; ConfigError without a reason.
        """
        if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS or not reason.isprintable():
            raise ConfigError(
                f"a step back is made for a reason of 1 to {MAX_REASON_CHARACTERS} printable characters",
                hint="say what happened: --reason TEXT",
            )
        point = IssuingPointId(authority.id, scope_id)
        target = f"{point.authority_id} {point.scope_id}"
        self._permission.allow(caller, Action.STEP_BACK, target)
        stored, admitting = self._store.epoch(point), self._indexing.admitting
        former = admitting.served.epoch(point) if admitting else None
        if stored is None or former is None or former.essence == stored.essence:
            raise NotFound(
                "the store has no other CRL than the one that is served", hint="vouchd status shows what is refused"
            )
        word = StepBack(former.index_name, stored.index_name)
        if word in authority.steps_back and stored.renumbered > former.renumbered:
            raise NotFound("this step back is under way", hint="vouchd status shows what is served")
        others = [step for step in authority.steps_back if step != word]
        allowed = replace(authority, steps_back=(*others[1 - _KEPT :], word))
        if self._indexing.standing(allowed, stored) != stored:
            raise CRLRejected(
                "the older CRL would not be served for another reason than its age",
                hint="vouchd status shows what is refused, and why",
            )
        self._store.put_authority(allowed)
        again = replace(
            stored,
            sequence=stored.sequence + 1,
            accepted_at=at,
            renumbered=max(stored.renumbered, former.renumbered) + 1,
            renumbering=reason,
        )
        self._store.commit_epoch(again, {})
        self._indexing.accepted([again])
        numbers = [epoch.newest.crl_number for epoch in (former, again)]
        before, after = ("none" if number is None else number for number in numbers)
        self._audit.record(EVENT, caller, "success", target=target, crl_number=after, instead_of=before, reason=reason)
        return former, again
