"""CRL issuing points and CRLs: upload, preview, download; CRLs held back: release, drop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from vouchd.api import shapes
from vouchd.api.model import SHA256, AuthorityId, Count, Label, Moment, Refusal, ScopeId, Serial, Words, about
from vouchd.api.operation import Call, Download, Operation, Waiting
from vouchd.api.pages import GONE, Page, page_of
from vouchd.api.services import Services
from vouchd.api.shapes import IssuingPoint, QuarantinedCRL
from vouchd.core import facts
from vouchd.core.facts import Caller, CRLRecord, Epoch, IssuingPointId
from vouchd.core.ports import StatusStore
from vouchd.errors import ConfigError, CRLStale, NotFound, VouchdError
from vouchd.pkix.textual import ObjectSource
from vouchd.service import previewing
from vouchd.service.cover import cover_notice
from vouchd.service.ingesting import MAX_REASON_CHARACTERS
from vouchd.service.permission import Action

MAX_UPLOAD_BYTES = 256 << 20
MAX_BATCH = 1000
MAX_BATCH_BYTES = 64 << 20
_TOGETHER = 100  # in one change: others wait for it
PKIX_CRL = "application/pkix-crl"
UPLOADS = (PKIX_CRL, "application/x-pem-file", "application/octet-stream")


class CoverNotice(Struct, frozen=True):
    """What the CRLs of a CA leave uncovered."""

    notice: Annotated[str, about("What it is.", "no CRL of this CA covers CA certificates")]
    mend: Annotated[str, about("What to do about it.", "add the CRL of the other scope")]


class Accepted(Struct, frozen=True):
    """A CRL that was taken in."""

    issuing_points: Annotated[list[IssuingPoint], about("The issuing points that it changed.")]
    served: Annotated[bool, about("Whether every worker answers from it.")]
    notices: Annotated[list[CoverNotice], about("What the CRLs of these CAs leave uncovered.")]


class NewCRLs(Struct, frozen=True, forbid_unknown_fields=True):
    """CRLs to take in, as few changes."""

    crls: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(min_length=1, max_length=MAX_BATCH),
        about(
            "PEM, or base64 of DER, one CRL each; the others do not mind one that is refused.",
            ["-----BEGIN X509 CRL-----\n…\n-----END X509 CRL-----\n"],
        ),
    ]


class TakenCRL(Struct, frozen=True):
    """What became of one of several CRLs."""

    issuing_points: Annotated[list[IssuingPoint], about("The issuing points that it changed.", [])] = []
    problem: Annotated[Refusal | None, about("Why it was refused, held back, or was held already.", None)] = None
    unchanged: Annotated[bool, about("It is the one in use already.")] = False


class TakenCRLs(Struct, frozen=True):
    """What became of several CRLs."""

    crls: Annotated[list[TakenCRL], about("In the order in which they were sent.")]
    served: Annotated[bool, about("Whether every worker answers from those that were taken in.")]
    notices: Annotated[list[CoverNotice], about("What the CRLs of these CAs leave uncovered.")]


class Change(Struct, frozen=True):
    """What taking a CRL in would change at one CA."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    label: Annotated[Label, about("What the CA is called.")]
    scope: Annotated[ScopeId, about("The scope of the issuing point.")]
    refusal: Annotated[Words, about("Why it would be refused; empty: it would not.")]
    hint: Annotated[Words, about("What to do about that.")]
    held_back: Annotated[Words, about("Why it would be held back; empty: it would not.")]
    lost: Annotated[Count, about("Entries that it does not have any more.", 1)]
    gained: Annotated[Count, about("Entries that are new.", 2)]
    before: Annotated[Count, about("Entries now.", 11)]
    after: Annotated[Count, about("Entries then.", 12)]
    some_lost: Annotated[list[Serial], about("The first serial numbers of those that are lost.")]
    some_gained: Annotated[list[Serial], about("The first serial numbers of those that are gained.")]
    current: Annotated[IssuingPoint | None, about("What is in use now; null: this is the first CRL.")]


class Preview(Struct, frozen=True):
    """What taking a CRL in would change."""

    issuer: Annotated[str, about("Its issuer.", "CN=Example Root,O=Example")]
    scope: Annotated[ScopeId, about("Its scope.")]
    crl_number: Annotated[int | None, about("Its number.", 43)]
    base_crl_number: Annotated[int | None, about("Of a delta CRL: the number of the base that it is for.", 40)]
    this_update: Annotated[Moment, about("Its thisUpdate.")]
    next_update: Annotated[Moment | None, about("Its nextUpdate; null: it names none.")]
    bytes: Annotated[Count, about("Its size.", 1187)]
    sha256: Annotated[SHA256, about("SHA-256 of its DER, hexadecimal.")]
    why_held: Annotated[Words, about("Why it is held back; empty: it is not.")]
    acceptable: Annotated[bool, about("Whether any CA would take it.")]
    lost: Annotated[Count, about("Certificates that would be revoked no longer, of all CAs together.", 1)]
    changes: Annotated[list[Change], about("What it would change, CA by CA.")]


class PreviewAs(Struct, frozen=True, forbid_unknown_fields=True):
    """As what a CRL would be taken in."""

    lower_number: Annotated[bool, about("As one whose number is lower because one before went up by mistake.")] = False


class WhichCRL(Struct, frozen=True, forbid_unknown_fields=True):
    """Which CRL of an issuing point."""

    which: Annotated[Literal["newest", "base", "delta"], about("Which CRL; `newest` is the delta if there is one.")] = (
        "newest"
    )


class LowerNumber(Waiting, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why a CRL is taken though its number is lower, and how long to wait."""

    reason: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_REASON_CHARACTERS),
        about("What happened; it stays with the CRL and stands in the audit log.", "number mistyped on 24 November"),
    ]


def _points(call: Call) -> list[IssuingPoint]:
    call.services.permission.allow(call.caller, Action.READ_CRL, "*")
    at = call.services.clock.now()
    page = page_of(call.services.store.epochs(), _name, call.query)
    return [shapes.issuing_point(epoch, at) for epoch in page]


def _name(epoch: Epoch) -> str:
    """What a page names it by."""
    return f"{epoch.issuing_point.authority_id}/{epoch.issuing_point.scope_id}"


def _point(call: Call) -> IssuingPoint:
    return shapes.issuing_point(_epoch(call), call.services.clock.now())


def _epoch(call: Call) -> Epoch:
    """The epoch of the issuing point that the path names. Raises: NotFound; PermissionDenied."""
    point = _point_id(call)
    call.services.permission.allow(call.caller, Action.READ_CRL, f"{point.authority_id} {point.scope_id}")
    epoch = call.services.store.epoch(point)
    if epoch is None:
        raise NotFound("the CA has no CRL of this scope", hint="GET /api/v1/issuing-points lists those there are")
    return epoch


def _point_id(call: Call) -> IssuingPointId:
    return IssuingPointId(call.services.authorities.find(call.path["authority"]).id, call.path["scope"])


def _download(call: Call) -> Download:
    epoch = _epoch(call)
    wanted: WhichCRL = call.query
    crl_record = {"base": epoch.base, "delta": epoch.delta, "newest": epoch.newest}[wanted.which]
    if crl_record is None:
        raise NotFound("no delta CRL is in use for this issuing point")
    return _document(call, crl_record)


def _document(call: Call, crl_record: CRLRecord) -> Download:
    store = call.services.store

    def chunks() -> Iterator[bytes]:
        return store.document_chunks(crl_record.sha256)

    return Download(chunks, PKIX_CRL, f"{crl_record.sha256[:16]}.crl")


def _add(call: Call) -> Accepted:
    return _accepted(call, take_crl(call.services, call.body, call.origin, call.caller))


def _add_all(call: Call) -> TakenCRLs:
    new: NewCRLs = call.body
    services, outcomes = call.services, list[tuple[Epoch, ...] | VouchdError]()
    for start in range(0, len(new.crls), _TOGETHER):
        together = [(one.encode(), call.origin) for one in new.crls[start : start + _TOGETHER]]
        with services.ingest_lock():  # others may take theirs in between
            outcomes += services.ingesting.accept_all(together, call.caller, services.clock.now())
    epochs = [epoch for one in outcomes if not isinstance(one, VouchdError) for epoch in one]
    at, served = services.clock.now(), bool(call.query.wait) and call.settle(epochs)
    return TakenCRLs([_taken(one, at) for one in outcomes], served, _notices(services.store, epochs))


def _taken(outcome: tuple[Epoch, ...] | VouchdError, at: int) -> TakenCRL:
    if isinstance(outcome, VouchdError):
        unchanged = isinstance(outcome, CRLStale) and outcome.changes_nothing
        return TakenCRL(problem=Refusal.of(outcome), unchanged=unchanged)
    return TakenCRL([shapes.issuing_point(epoch, at) for epoch in outcome])


def _add_lower(call: Call) -> Accepted:
    services = call.services
    word: LowerNumber = call.query
    _require_size(services, call.body)
    with services.ingest_lock():
        at = services.clock.now()
        epochs = services.ingesting.accept_lower_number(call.body, call.origin, call.caller, at, word.reason)
    return _accepted(call, epochs)


def _accepted(call: Call, epochs: tuple[Epoch, ...]) -> Accepted:
    """The new epochs, with what the CAs' CRLs leave uncovered."""
    at = call.services.clock.now()
    return Accepted(
        issuing_points=[shapes.issuing_point(epoch, at) for epoch in epochs],
        served=call.settle(epochs),
        notices=_notices(call.services.store, epochs),
    )


def _notices(store: StatusStore, epochs: Iterable[Epoch]) -> list[CoverNotice]:
    """What the CRLs of the CAs of these epochs leave uncovered."""
    concerned = dict.fromkeys(epoch.issuing_point.authority_id for epoch in epochs)
    notices = [
        cover_notice(authority, store.epochs_of(authority.id))
        for authority_id in concerned
        if (authority := store.authority(authority_id)) is not None
    ]
    return [CoverNotice(notice=notice, mend=mend) for notice, mend in notices if notice]


def _is_pending(answer: Accepted) -> bool:
    return not answer.served


def _require_size(services: Services, crl: ObjectSource) -> None:
    limit = services.settings.max_crl_bytes
    if len(crl) > limit:
        raise ConfigError(f"larger than {limit} bytes", hint="vouchd.crl.maxBytes in CS.cfg sets the limit")


def take_crl(services: Services, crl: ObjectSource, origin: str, caller: Caller) -> tuple[Epoch, ...]:
    """Take a CRL in, while nobody else does; the epochs that it made.

    Raises: ConfigError when it is larger than the settings allow; what `Ingesting.accept_crl` does.
    """
    _require_size(services, crl)
    with services.ingest_lock():
        return services.ingesting.accept_crl(crl, origin, caller, services.clock.now())


def _preview(call: Call) -> Preview:
    services, wanted = call.services, call.query
    with services.ingest_lock():
        at = services.clock.now()
        previewing = _previewing(services)
        return _previewed(previewing.preview(call.body, call.caller, at, lower_number=wanted.lower_number), at)


def _preview_held(call: Call) -> Preview:
    services = call.services
    with services.ingest_lock():
        at = services.clock.now()
        pending, preview = _previewing(services).preview_quarantined(_point_id(call), call.caller, at)
        return _previewed(preview, at, pending.why)


def _previewing(services: Services) -> previewing.Previewing:
    return previewing.Previewing(services.store, services.indexing, services.permission)


def _previewed(preview: previewing.Preview, at: int, why_held: str = "") -> Preview:
    return Preview(
        issuer=preview.issuer,
        scope=preview.scope_id,
        crl_number=preview.record.crl_number,
        base_crl_number=preview.record.base_crl_number,
        this_update=shapes.moment(preview.record.this_update),
        next_update=shapes.maybe_moment(preview.record.next_update),
        bytes=preview.record.size_bytes,
        sha256=preview.record.sha256,
        why_held=why_held,
        acceptable=preview.acceptable,
        lost=preview.lost,
        changes=[_change(change, at) for change in preview.changes],
    )


def _change(change: previewing.Change, at: int) -> Change:
    return Change(
        authority=change.authority.id,
        label=change.authority.label,
        scope=change.issuing_point.scope_id,
        refusal=change.refusal,
        hint=change.hint,
        held_back=change.held_back,
        lost=change.lost,
        gained=change.gained,
        before=change.before,
        after=change.after,
        some_lost=[shapes.serial_text(serial) for serial in change.some_lost],
        some_gained=[shapes.serial_text(serial) for serial in change.some_gained],
        current=shapes.issuing_point(change.current, at) if change.current else None,
    )


def _quarantined(call: Call) -> list[QuarantinedCRL]:
    call.services.permission.allow(call.caller, Action.READ_CRL, "*")
    return [shapes.quarantined(crl) for crl in call.services.store.quarantined()]


def _held_one(call: Call) -> facts.QuarantinedCRL:
    point = _point_id(call)
    call.services.permission.allow(call.caller, Action.READ_CRL, f"{point.authority_id} {point.scope_id}")
    for crl in call.services.store.quarantined_of(point.authority_id):
        if crl.issuing_point == point:
            return crl
    raise NotFound("no CRL is held back for this issuing point", hint="GET /api/v1/quarantine lists those there are")


def _download_held(call: Call) -> Download:
    return _document(call, _held_one(call).record)


def _release(call: Call) -> Accepted:
    services = call.services
    with services.ingest_lock():
        epoch = services.ingesting.release_quarantined(_point_id(call), call.caller, services.clock.now())
    return _accepted(call, (epoch,))


def _drop(call: Call) -> None:
    with call.services.ingest_lock():
        call.services.ingesting.drop_quarantined(_point_id(call), call.caller)


_REFUSED = {
    409: "Another CRL of the same issuing point was quicker; nothing was changed.",
    422: "The CRL was refused: unreadable, not of a CA of ours, older, forked, or a delta whose base is not held.",
}
_POINT = "/authorities/{authority}/issuing-points/{scope}"
_QUARANTINE = "/quarantine/{authority}/{scope}"
OPERATIONS = (
    Operation(
        "GET",
        "/issuing-points",
        "crls.list",
        "All CRL issuing points",
        Action.READ_CRL,
        _points,
        list[IssuingPoint],
        query=Page,
        refusals=GONE,
    ),
    Operation("GET", _POINT, "crls.get", "One issuing point", Action.READ_CRL, _point, IssuingPoint),
    Operation(
        "GET",
        _POINT + "/crl",
        "crls.download",
        "The CRL in use, DER",
        Action.READ_CRL,
        _download,
        Download,
        query=WhichCRL,
        media_type=PKIX_CRL,
    ),
    Operation(
        "POST",
        "/crls",
        "crls.add",
        "Take a CRL in (DER, PEM or base64, full or delta) and wait a little until it is served",
        Action.ADD_CRL,
        _add,
        Accepted,
        status=201,
        query=Waiting,
        upload=UPLOADS,
        refusals=_REFUSED | {202: "The CRL is held back because it changes too much; an agent releases or drops it."},
        max_body_bytes=MAX_UPLOAD_BYTES,
        pending=_is_pending,
    ),
    Operation(
        "POST",
        "/crls/batch",
        "crls.add_all",
        "Take several CRLs in, as few changes, and wait a little until they are served",
        Action.ADD_CRL,
        _add_all,
        TakenCRLs,
        body=NewCRLs,
        query=Waiting,
        max_body_bytes=MAX_BATCH_BYTES,
    ),
    Operation(
        "POST",
        "/crls/lower-number",
        "crls.add_lower",
        "Take a complete CRL whose number is lower than one that has been in use, when that went up by mistake",
        Action.LOWER_NUMBER,
        _add_lower,
        Accepted,
        status=201,
        query=LowerNumber,
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
        Preview,
        query=PreviewAs,
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
        list[QuarantinedCRL],
    ),
    Operation(
        "GET",
        _QUARANTINE + "/crl",
        "crls.download_held",
        "The CRL held back, DER",
        Action.READ_CRL,
        _download_held,
        Download,
        media_type=PKIX_CRL,
    ),
    Operation(
        "GET",
        _QUARANTINE + "/preview",
        "crls.preview_held",
        "What releasing the CRL held back would change; nothing is changed",
        Action.READ_CRL,
        _preview_held,
        Preview,
        refusals=_REFUSED,
    ),
    Operation(
        "POST",
        _QUARANTINE + "/release",
        "crls.release",
        "Answer from the CRL held back: its change is right",
        Action.RELEASE_CRL,
        _release,
        Accepted,
        query=Waiting,
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
