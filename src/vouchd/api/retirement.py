"""Issuing points that will not come again: what retiring one would change, retiring it, and letting it come again."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from vouchd.api.model import AuthorityId, Count, Label, ScopeId, about
from vouchd.api.operation import Call, Operation, Waiting
from vouchd.service.permission import Action
from vouchd.service.previewing import Previewing


class Retirement(Struct, frozen=True):
    """What retiring an issuing point would change."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    label: Annotated[Label, about("What the CA is called.")]
    scope: Annotated[ScopeId, about("The scope of the issuing point.")]
    entries: Annotated[Count, about("How many certificates its CRL lists.", 12)]
    lost: Annotated[Count, about("How many of these, at most, are in no other CRL.", 2)]
    covered_before: Annotated[bool, about("Whether the CRLs speak for every serial now.")]
    covered_after: Annotated[bool, about("Whether those that are left would.")]


def _preview(call: Call) -> Retirement:
    services = call.services
    authority = services.authorities.find(call.path["authority"])
    with services.ingest_lock():
        previewing = Previewing(services.store, services.indexing, services.permission)
        change = previewing.preview_retirement(authority, call.path["scope"], call.caller)
    return Retirement(
        authority=authority.id,
        label=authority.label,
        scope=change.epoch.issuing_point.scope_id,
        entries=change.entries,
        lost=change.lost,
        covered_before=change.covered_before,
        covered_after=change.covered_after,
    )


def _retire(call: Call) -> None:
    services = call.services
    with services.ingest_lock():
        services.ingesting.retire(services.authorities.find(call.path["authority"]), call.path["scope"], call.caller)
    call.settle()


def _restore(call: Call) -> None:
    services = call.services
    with services.ingest_lock():
        services.ingesting.restore(services.authorities.find(call.path["authority"]), call.path["scope"], call.caller)
    call.settle()


_PATH = "/authorities/{authority}/issuing-points/{scope}/retirement"
OPERATIONS = (
    Operation(
        "GET",
        _PATH,
        "retirement.preview",
        "What retiring an issuing point would change; nothing is changed. At most `lost` entries are in no other CRL",
        Action.READ_CRL,
        _preview,
        Retirement,
    ),
    Operation(
        "POST",
        _PATH,
        "retirement.retire",
        "Take away an issuing point that will not come again: its CRL counts no longer, and no other is taken",
        Action.RETIRE_POINT,
        _retire,
        status=204,
        query=Waiting,
    ),
    Operation(
        "DELETE",
        _PATH,
        "retirement.restore",
        "Let CRLs of a scope that was retired be taken again",
        Action.RETIRE_POINT,
        _restore,
        status=204,
        query=Waiting,
    ),
)
