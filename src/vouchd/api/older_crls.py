"""Going back to an older CRL that the store has, on all members of a set."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vouchd.api import shapes
from vouchd.api.model import about
from vouchd.api.operation import Call, Operation, Waiting
from vouchd.api.shapes import IssuingPoint
from vouchd.service.ingesting import MAX_REASON_CHARACTERS
from vouchd.service.permission import Action
from vouchd.service.stepping_back import SteppingBack


class StepBackWord(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the older CRL is right."""

    reason: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_REASON_CHARACTERS),
        about("What happened; it stays with the CRL and stands in the audit log.", "CRL 9 was a mistake of the CA"),
    ]


class SteppedBack(Struct, frozen=True):
    """An older CRL that is served in place of a newer one."""

    instead_of: Annotated[IssuingPoint, about("What was served.")]
    issuing_point: Annotated[IssuingPoint, about("What all members serve in its place.")]
    served: Annotated[bool, about("Whether every worker of this instance answers from it.")]


def _step_back(call: Call) -> SteppedBack:
    services = call.services
    word: StepBackWord = call.body
    stepping = SteppingBack(services.store, services.indexing, services.permission, services.audit)
    authority, at = services.authorities.find(call.path["authority"]), services.clock.now()
    with services.ingest_lock():
        former, epoch = stepping.step_back(authority, call.path["scope"], call.caller, at, word.reason)
    return SteppedBack(
        instead_of=shapes.issuing_point(former, at),
        issuing_point=shapes.issuing_point(epoch, at),
        served=call.settle([epoch]),
    )


OPERATIONS = (
    Operation(
        "POST",
        "/authorities/{authority}/issuing-points/{scope}/step-back",
        "older_crls.step_back",
        "Serve the older CRL that the store has in place of the newer one that is served, on all members of the set",
        Action.STEP_BACK,
        _step_back,
        SteppedBack,
        body=StepBackWord,
        query=Waiting,
        refusals={422: "The older CRL would not be served for another reason than its age."},
    ),
)
