"""Former CRLs of an issuing point as far as they are kept: list, download, and what differs between two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from vouchd.api import shapes
from vouchd.api.crls import PKIX_CRL
from vouchd.api.model import Count, Moment, Serial, about
from vouchd.api.operation import Call, Download, Operation
from vouchd.api.shapes import CRL
from vouchd.core.facts import CRLRecord, Epoch, IssuingPointId
from vouchd.core.key_history import name_of
from vouchd.errors import BadInput, NotFound
from vouchd.index.comparing import ChangeKind, Comparison, CRLState, EntryChange, compare_crls
from vouchd.pkix.reasons import RevocationEntry
from vouchd.service.permission import Action

MOST = 1000
_DIGITS = 8
_Which = Annotated[str, Meta(min_length=1, max_length=64)]


class KeptCRL(Struct, frozen=True):
    """A CRL of an issuing point whose bytes are in the store."""

    crl: Annotated[CRL, about("The CRL.")]
    in_use: Annotated[bool, about("Whether answers come from it.")]


class WhichTwo(Struct, frozen=True, forbid_unknown_fields=True):
    """Which two CRLs, and which part of what differs."""

    before: Annotated[_Which, about("The one: its CRL number, or 8 or more digits of its SHA-256.", "42")]
    after: Annotated[_Which, about("The other, named likewise.", "43")]
    skip: Annotated[int, Meta(ge=0), about("How many of the changes, by serial, to pass over.", 0)] = 0
    limit: Annotated[int, Meta(ge=1, le=MOST), about("At most so many of them.", 100)] = 100


class ListedEntry(Struct, frozen=True):
    """How a CRL lists a serial."""

    revoked_at: Annotated[Moment, about("revocationDate.")]
    reason: Annotated[str, about("The reason; `absent`: none is given.", "keyCompromise")]
    invalidity_date: Annotated[Moment | None, about("invalidityDate; null: none is given.")]


class SerialChange(Struct, frozen=True):
    """What became of a serial from one CRL to the other."""

    serial: Annotated[Serial, about("The serial number.")]
    change: Annotated[ChangeKind, about("What became of it.", "came")]
    before: Annotated[ListedEntry | None, about("How the one lists it; null: it does not.", None)]
    after: Annotated[ListedEntry | None, about("How the other lists it; null: it does not.")]


class CRLDifference(Struct, frozen=True):
    """What differs between two CRLs of an issuing point; a delta CRL counts with the complete one below it."""

    before: Annotated[CRL, about("The one.")]
    after: Annotated[CRL, about("The other.")]
    entries_before: Annotated[Count, about("How many serials the one lists.", 11)]
    entries_after: Annotated[Count, about("How many serials the other lists.", 12)]
    came: Annotated[Count, about("How many serials only the other lists.", 2)]
    went: Annotated[Count, about("How many serials only the one lists.", 1)]
    changed: Annotated[Count, about("How many both list, and not alike.", 0)]
    changes: Annotated[list[SerialChange], about("The part that was asked for, by serial.")]


def _history(call: Call) -> list[KeptCRL]:
    epoch = _epoch(call)
    return [KeptCRL(crl=shapes.crl(one), in_use=one in epoch.records) for one in _kept(epoch)]


def _kept(epoch: Epoch) -> list[CRLRecord]:
    """All that are there, the newest first; of one moment the delta before what it is laid over."""
    every = (*reversed(epoch.records), *epoch.former)
    return sorted(every, key=lambda one: (one.this_update, one.base_crl_number is not None), reverse=True)


def _epoch(call: Call) -> Epoch:
    """The epoch of the issuing point that the path names. Raises: NotFound; PermissionDenied."""
    point = IssuingPointId(call.services.authorities.find(call.path["authority"]).id, call.path["scope"])
    call.services.permission.allow(call.caller, Action.READ_CRL, f"{point.authority_id} {point.scope_id}")
    epoch = call.services.store.epoch(point)
    if epoch is None:
        raise NotFound("the CA has no CRL of this scope", hint="GET /api/v1/issuing-points lists those there are")
    return epoch


def _download(call: Call) -> Download:
    record, store = _named(_epoch(call), call.path["crl"]), call.services.store

    def chunks() -> Iterator[bytes]:
        return store.document_chunks(record.sha256)

    return Download(chunks, PKIX_CRL, f"{record.sha256[:16]}.crl")


def _named(epoch: Epoch, name: str) -> CRLRecord:
    """The CRL that a number or the beginning of a SHA-256 names. Raises: NotFound; BadInput where that is not one."""
    every = _kept(epoch)
    chosen = [one for one in every if str(one.crl_number) == name]
    if not chosen and len(name) >= _DIGITS:
        chosen = [one for one in every if one.sha256.startswith(name.lower())]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        shown = ", ".join(one.sha256[:16] for one in chosen)
        raise BadInput(f"{len(chosen)} CRLs have the number {name}", hint=f"name one by its SHA-256: {shown}")
    raise NotFound(
        f"no CRL {name[:64]} is kept", hint="`vouchd crl history` lists those that are; vouchd.crl.former keeps more"
    )


def _difference(call: Call) -> CRLDifference:
    wanted: WhichTwo = call.query
    epoch = _epoch(call)
    one, other = _named(epoch, wanted.before), _named(epoch, wanted.after)
    authority = call.services.authorities.find(call.path["authority"])
    compared = compare_crls(
        _state(call, epoch, one),
        _state(call, epoch, other),
        skip=wanted.skip,
        limit=wanted.limit,
        certificate_issuer=name_of(authority),
    )
    return difference(shapes.crl(one), shapes.crl(other), compared)


def difference(before: CRL, after: CRL, compared: Comparison) -> CRLDifference:
    """What is shown of a comparison of these two."""
    return CRLDifference(
        before=before,
        after=after,
        entries_before=compared.before,
        entries_after=compared.after,
        came=compared.came,
        went=compared.went,
        changed=compared.changed,
        changes=[_change(one) for one in compared.part],
    )


def _change(one: EntryChange) -> SerialChange:
    return SerialChange(shapes.serial_text(one.serial), one.kind, _entry(one.before), _entry(one.after))


def _entry(entry: RevocationEntry | None) -> ListedEntry | None:
    if entry is None:
        return None
    moment = shapes.moment(entry.revocation_time)
    return ListedEntry(moment, shapes.reason(entry.reason), shapes.maybe_moment(entry.invalidity_date))


def _state(call: Call, epoch: Epoch, record: CRLRecord) -> CRLState:
    """What the CRL says is revoked. Raises: NotFound when it is a delta and nothing that it goes over is kept."""
    document = call.services.indexing.document
    if record.base_crl_number is None:
        return CRLState(document(record))
    below = [
        one
        for one in _kept(epoch)
        if one.base_crl_number is None
        and one.crl_number is not None
        and record.base_crl_number <= one.crl_number <= (record.crl_number or one.crl_number)
    ]
    if not below:
        raise NotFound(
            f"the complete CRL below the delta {record.crl_number} is not kept any more",
            hint="compare with a complete CRL; vouchd.crl.former and vouchd.crl.formerBytes keep more",
        )
    base = max(below, key=lambda one: one.crl_number or 0)
    return CRLState(document(base), document(record))


_POINT = "/authorities/{authority}/issuing-points/{scope}"
OPERATIONS = (
    Operation(
        "GET",
        _POINT + "/history",
        "crl_history.list",
        "The CRLs of an issuing point that are kept, the newest first",
        Action.READ_CRL,
        _history,
        list[KeptCRL],
    ),
    Operation(
        "GET",
        _POINT + "/history/{crl}",
        "crl_history.download",
        "One of them, DER",
        Action.READ_CRL,
        _download,
        Download,
        media_type=PKIX_CRL,
    ),
    Operation(
        "GET",
        _POINT + "/difference",
        "crl_history.difference",
        "What differs between two of them: the serials that came, went, or are listed otherwise",
        Action.READ_CRL,
        _difference,
        CRLDifference,
        query=WhichTwo,
        refusals={404: "One of the two, or what a delta goes over, is not kept."},
    ),
)
