"""CRL issuing points and CRLs: upload, preview, download; CRLs held back: release, drop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vouchd.api import shapes
from vouchd.api.operation import WAIT, Call, Download, Operation, Parameter
from vouchd.api.schema import BOOLEAN, COUNT, MAYBE_NUMBER, TEXT, Schema, array, record, reference
from vouchd.api.services import Services
from vouchd.core.facts import Caller, CRLRecord, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.errors import ConfigError, NotFound
from vouchd.service.cover import cover_notice
from vouchd.service.ingesting import MAX_REASON_CHARACTERS
from vouchd.service.permission import Action
from vouchd.service.previewing import Change, Preview, Previewing

MAX_UPLOAD_BYTES = 256 << 20
PKIX_CRL = "application/pkix-crl"
UPLOADS = (PKIX_CRL, "application/x-pem-file", "application/octet-stream")
BINARY: Schema = {"type": "string", "format": "binary"}

SCHEMAS: dict[str, Schema] = {
    "Accepted": record(
        {
            "issuing_points": shapes.POINTS,
            "served": BOOLEAN,
            "notices": array(record({"notice": TEXT, "mend": TEXT})),
        }
    ),
    "Change": record(
        {
            "authority": TEXT,
            "label": TEXT,
            "scope": TEXT,
            "refusal": TEXT,
            "hint": TEXT,
            "held_back": TEXT,
            "lost": COUNT,
            "gained": COUNT,
            "before": COUNT,
            "after": COUNT,
        }
    ),
    "Preview": record(
        {
            "issuer": TEXT,
            "scope": TEXT,
            "crl_number": MAYBE_NUMBER,
            "acceptable": BOOLEAN,
            "changes": array(reference("Change")),
        }
    ),
}


def _points(call: Call) -> list[dict[str, Any]]:
    call.services.permission.allow(call.caller, Action.READ_CRL, "*")
    at = call.services.clock.now()
    return [shapes.issuing_point(epoch, at) for epoch in call.services.store.epochs()]


def _point(call: Call) -> dict[str, Any]:
    return shapes.issuing_point(_epoch(call), call.services.clock.now())


def _epoch(call: Call) -> Epoch:
    """The epoch of the issuing point that the path names. Raises: NotFound; PermissionDenied."""
    point = _point_id(call)
    call.services.permission.allow(call.caller, Action.READ_CRL, f"{point.authority_id} {point.scope_id}")
    for epoch in call.services.store.epochs():
        if epoch.issuing_point == point:
            return epoch
    raise NotFound("the CA has no CRL of this scope", hint="GET /api/v1/issuing-points lists those there are")


def _point_id(call: Call) -> IssuingPointId:
    return IssuingPointId(call.services.authorities.find(call.path["authority"]).id, call.path["scope"])


def _download(call: Call) -> Download:
    epoch = _epoch(call)
    wanted = call.query.get("which", "newest")
    record_ = {"base": epoch.base, "delta": epoch.delta}.get(wanted, epoch.newest)
    if record_ is None:
        raise NotFound("no delta CRL is in use for this issuing point")
    return _document(call, record_)


def _document(call: Call, crl_record: CRLRecord) -> Download:
    store = call.services.store

    def chunks() -> Iterator[bytes]:
        return store.document_chunks(crl_record.sha256)

    return Download(chunks, PKIX_CRL, f"{crl_record.sha256[:16]}.crl")


def _add(call: Call) -> dict[str, Any]:
    return _accepted(call, take_crl(call.services, call.body, call.origin, call.caller))


def _add_lower(call: Call) -> dict[str, Any]:
    services = call.services
    _require_size(services, call.body)
    with services.ingest_lock():
        at, reason = services.clock.now(), call.query["reason"]
        epochs = services.ingesting.accept_lower_number(call.body, call.origin, call.caller, at, reason)
    return _accepted(call, epochs)


def _accepted(call: Call, epochs: tuple[Epoch, ...]) -> dict[str, Any]:
    """The new epochs, with what the CAs' CRLs leave uncovered."""
    at, store = call.services.clock.now(), call.services.store
    concerned = {epoch.issuing_point.authority_id for epoch in epochs}
    stored = store.epochs()
    notices = [cover_notice(authority, stored) for authority in store.authorities() if authority.id in concerned]
    return {
        "issuing_points": [shapes.issuing_point(epoch, at) for epoch in epochs],
        "served": call.settle(epochs),
        "notices": [{"notice": notice, "mend": mend} for notice, mend in notices if notice],
    }


def _is_pending(answer: Mapping[str, Any]) -> bool:
    return not answer["served"]


def _require_size(services: Services, crl: bytes) -> None:
    limit = services.settings.max_crl_bytes
    if len(crl) > limit:
        raise ConfigError(f"larger than {limit} bytes", hint="vouchd.crl.maxBytes in CS.cfg sets the limit")


def take_crl(services: Services, crl: bytes, origin: str, caller: Caller) -> tuple[Epoch, ...]:
    """Take a CRL in, while nobody else does; the epochs that it made.

    Raises: ConfigError when it is larger than the settings allow; what `Ingesting.accept_crl` does.
    """
    _require_size(services, crl)
    with services.ingest_lock():
        return services.ingesting.accept_crl(crl, origin, caller, services.clock.now())


def _preview(call: Call) -> dict[str, Any]:
    services = call.services
    with services.ingest_lock():
        previewing = Previewing(services.store, services.indexing, services.permission)
        return _previewed(previewing.preview(call.body, call.caller, services.clock.now()))


def _preview_held(call: Call) -> dict[str, Any]:
    services = call.services
    with services.ingest_lock():
        previewing = Previewing(services.store, services.indexing, services.permission)
        return _previewed(previewing.preview_quarantined(_point_id(call), call.caller, services.clock.now()))


def _previewed(preview: Preview) -> dict[str, Any]:
    return {
        "issuer": preview.issuer,
        "scope": preview.scope_id,
        "crl_number": preview.record.crl_number,
        "acceptable": preview.acceptable,
        "changes": [_change(change) for change in preview.changes],
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "authority": change.authority.id,
        "label": change.authority.label,
        "scope": change.issuing_point.scope_id,
        "refusal": change.refusal,
        "hint": change.hint,
        "held_back": change.held_back,
        "lost": change.lost,
        "gained": change.gained,
        "before": change.before,
        "after": change.after,
    }


def _quarantined(call: Call) -> list[dict[str, Any]]:
    call.services.permission.allow(call.caller, Action.READ_CRL, "*")
    return [shapes.quarantined(crl) for crl in call.services.store.quarantined()]


def _held_one(call: Call) -> QuarantinedCRL:
    point = _point_id(call)
    call.services.permission.allow(call.caller, Action.READ_CRL, f"{point.authority_id} {point.scope_id}")
    for crl in call.services.store.quarantined():
        if crl.issuing_point == point:
            return crl
    raise NotFound("no CRL is held back for this issuing point", hint="GET /api/v1/quarantine lists those there are")


def _download_held(call: Call) -> Download:
    return _document(call, _held_one(call).record)


def _release(call: Call) -> dict[str, Any]:
    services = call.services
    with services.ingest_lock():
        epoch = services.ingesting.release_quarantined(_point_id(call), call.caller, services.clock.now())
    return _accepted(call, (epoch,))


def _drop(call: Call) -> None:
    with call.services.ingest_lock():
        call.services.ingesting.drop_quarantined(_point_id(call), call.caller)


_ACCEPTED = reference("Accepted")
_REFUSED = {
    409: "Another CRL of the same issuing point was quicker; nothing was changed.",
    422: "The CRL was refused: unreadable, not of a CA of ours, older, forked, or a delta whose base is not held.",
}
_WHICH = Parameter(
    "which",
    {"type": "string", "enum": ["newest", "base", "delta"]},
    "Which CRL; `newest` is the delta if there is one.",
)
_REASON = Parameter(
    "reason",
    {"type": "string", "minLength": 1, "maxLength": MAX_REASON_CHARACTERS},
    "What happened; it stays with the CRL and stands in the audit log.",
    required=True,
)
_POINT = "/authorities/{authority}/issuing-points/{scope}"
_QUARANTINE = "/quarantine/{authority}/{scope}"
OPERATIONS = (
    Operation("GET", "/issuing-points", "crls.list", "All CRL issuing points", Action.READ_CRL, _points, shapes.POINTS),
    Operation("GET", _POINT, "crls.get", "One issuing point", Action.READ_CRL, _point, reference("IssuingPoint")),
    Operation(
        "GET",
        _POINT + "/crl",
        "crls.download",
        "The CRL in use, DER",
        Action.READ_CRL,
        _download,
        BINARY,
        query=(_WHICH,),
        media_type=PKIX_CRL,
    ),
    Operation(
        "POST",
        "/crls",
        "crls.add",
        "Take a CRL in (DER, PEM or base64, full or delta) and wait a little until it is served",
        Action.ADD_CRL,
        _add,
        _ACCEPTED,
        status=201,
        query=(WAIT,),
        upload=UPLOADS,
        refusals=_REFUSED | {202: "The CRL is held back because it changes too much; an agent releases or drops it."},
        max_body_bytes=MAX_UPLOAD_BYTES,
        pending=_is_pending,
    ),
    Operation(
        "POST",
        "/crls/lower-number",
        "crls.add_lower",
        "Take a complete CRL whose number is lower than one that has been in use, when that went up by mistake",
        Action.LOWER_NUMBER,
        _add_lower,
        _ACCEPTED,
        status=201,
        query=(_REASON, WAIT),
        upload=UPLOADS,
        refusals=_REFUSED,
        max_body_bytes=MAX_UPLOAD_BYTES,
        pending=_is_pending,
    ),
    Operation(
        "POST",
        "/crls/preview",
        "crls.preview",
        "What taking a CRL in would change; nothing is changed",
        Action.READ_CRL,
        _preview,
        reference("Preview"),
        upload=UPLOADS,
        refusals=_REFUSED,
        max_body_bytes=MAX_UPLOAD_BYTES,
    ),
    Operation(
        "GET",
        "/quarantine",
        "crls.list_held",
        "CRLs held back, oldest first",
        Action.READ_CRL,
        _quarantined,
        array(reference("QuarantinedCRL")),
    ),
    Operation(
        "GET",
        _QUARANTINE + "/crl",
        "crls.download_held",
        "The CRL held back, DER",
        Action.READ_CRL,
        _download_held,
        BINARY,
        media_type=PKIX_CRL,
    ),
    Operation(
        "GET",
        _QUARANTINE + "/preview",
        "crls.preview_held",
        "What releasing the CRL held back would change; nothing is changed",
        Action.READ_CRL,
        _preview_held,
        reference("Preview"),
        refusals=_REFUSED,
    ),
    Operation(
        "POST",
        _QUARANTINE + "/release",
        "crls.release",
        "Answer from the CRL held back: its change is right",
        Action.RELEASE_CRL,
        _release,
        _ACCEPTED,
        query=(WAIT,),
        refusals=_REFUSED,
        pending=_is_pending,
    ),
    Operation(
        "DELETE",
        _QUARANTINE,
        "crls.drop",
        "Forget the CRL held back: its change is wrong",
        Action.DROP_CRL,
        _drop,
        status=204,
    ),
)
