"""Issuing points that will not come again: what retiring one would change, retiring it, and letting it come again."""

from __future__ import annotations

from typing import Any

from vouchd.api.operation import WAIT, Call, Operation
from vouchd.api.schema import BOOLEAN, COUNT, TEXT, Schema, record, reference
from vouchd.service.permission import Action
from vouchd.service.previewing import Previewing

SCHEMAS: dict[str, Schema] = {
    "Retirement": record(
        {
            "authority": TEXT,
            "label": TEXT,
            "scope": TEXT,
            "entries": COUNT,
            "lost": COUNT,
            "covered_before": BOOLEAN,
            "covered_after": BOOLEAN,
        }
    )
}


def _preview(call: Call) -> dict[str, Any]:
    services = call.services
    authority = services.authorities.find(call.path["authority"])
    with services.ingest_lock():
        previewing = Previewing(services.store, services.indexing, services.permission)
        change = previewing.preview_retirement(authority, call.path["scope"], call.caller)
    return {
        "authority": authority.id,
        "label": authority.label,
        "scope": change.epoch.issuing_point.scope_id,
        "entries": change.entries,
        "lost": change.lost,
        "covered_before": change.covered_before,
        "covered_after": change.covered_after,
    }


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
        reference("Retirement"),
    ),
    Operation(
        "POST",
        _PATH,
        "retirement.retire",
        "Take away an issuing point that will not come again: its CRL counts no longer, and no other is taken",
        Action.RETIRE_POINT,
        _retire,
        status=204,
        query=(WAIT,),
    ),
    Operation(
        "DELETE",
        _PATH,
        "retirement.restore",
        "Let CRLs of a scope that was retired be taken again",
        Action.RETIRE_POINT,
        _restore,
        status=204,
        query=(WAIT,),
    ),
)
