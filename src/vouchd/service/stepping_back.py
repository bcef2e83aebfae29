"""An operator's word that the older CRL in the store is served in place of the newer one: see service.admitting."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vouchd.core.facts import Caller, Epoch
from vouchd.core.ports import AuditSink
from vouchd.errors import NotFound
from vouchd.service.admitting import StepBack
from vouchd.service.permission import Action, Permission

EVENT = "CRL_STEP_BACK"


def step_back(
    stored: Epoch,
    served: Iterable[Epoch],
    keep: Callable[[StepBack], None],
    permission: Permission,
    audit: AuditSink,
    caller: Caller,
    reason: str,
) -> Epoch:
    """Allow the step from what is `served` to what is `stored`, with `keep`; the epoch that was served.

    The word counts on this member and for this step only; the CRL must pass all other checks.

    Raises: PermissionDenied; NotFound when the store has no other CRL than the one that is served.
    """
    point = stored.issuing_point
    target = f"{point.authority_id} {point.scope_id}"
    permission.allow(caller, Action.STEP_BACK, target)
    former = next((epoch for epoch in served if epoch.issuing_point == point), None)
    if former is None or former.index_name == stored.index_name:
        raise NotFound(
            "the store has no other CRL than the one that is served", hint="vouchd status shows what is refused"
        )
    numbers = [epoch.newest.crl_number for epoch in (former, stored)]
    before, after = ("none" if number is None else number for number in numbers)
    keep(StepBack(former.index_name, stored.index_name))
    audit.record(EVENT, caller, "success", target=target, crl_number=after, instead_of=before, reason=reason)
    return former
