"""The status of a certificate, with what the answer rests on."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, convert

from vouchd.api import shapes
from vouchd.api.model import AuthorityId, Count, Label, Moment, Origin, ScopeId, SentPEM, Serial, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.core.key_history import issuer_of
from vouchd.errors import BadInput, NotFound
from vouchd.pkix import certs, pem
from vouchd.pkix.reasons import RevocationEntry
from vouchd.service import explaining
from vouchd.service.permission import Action

_ID = re.compile("[0-9a-f]{64}")


class Entry(Struct, frozen=True):
    """What a CRL says of a certificate that it lists."""

    revoked_at: Annotated[Moment, about("When it was revoked.")]
    reason: Annotated[str, about("The reason as RFC 5280 names it; `absent`: the CRL gives none.", "keyCompromise")]
    invalidity_date: Annotated[Moment | None, about("From when its key is to be doubted; null: not told.")]


class ExaminedPoint(Struct, frozen=True):
    """An issuing point of the CA, and what it says of the serial number."""

    scope: Annotated[ScopeId, about("`complete`, or the id of a partitioned CRL's scope.")]
    crl_number: Annotated[int | None, about("The number of the newest CRL.", 42)]
    this_update: Annotated[Moment, about("thisUpdate of the newest CRL.")]
    next_update: Annotated[Moment | None, about("nextUpdate of the newest CRL; null: it names none.")]
    accepted_at: Annotated[Moment, about("When the CRL was taken in.")]
    origin: Annotated[Origin, about("Whence it came.")]
    lower_number_reason: Annotated[Words, about("Why an administrator had it taken with a lower number; else empty.")]
    base: Annotated[shapes.CRL, about("The complete CRL.")]
    delta: Annotated[shapes.CRL | None, about("The delta CRL on top of it.")]
    sequence: Annotated[Count, about("The number of this state; it rises with each CRL taken.", 3)]
    entries: Annotated[Count, about("Revoked certificates, of base and delta together.", 12)]
    relied_upon: Annotated[bool, about("Whether the answer rests on it.")]
    expired: Annotated[bool, about("Whether nextUpdate has passed.")]
    entry: Annotated[Entry | None, about("What it says of the serial number; null: it does not list it.")]


class EffectivePolicy(Struct, frozen=True):
    """The settings that bear on the answer, those of the CA over those of the instance."""

    not_found_as_good: Annotated[bool, about("Whether a serial that no CRL lists is good.")]
    include_next_update: Annotated[bool, about("Whether answers tell nextUpdate.")]
    reasons: Annotated[bool, about("Whether answers tell why a certificate was revoked.")]
    expired_crl: Annotated[str, about("What a CRL past its nextUpdate means.", "tryLater")]
    extended_revoke: Annotated[bool, about("Whether a serial that was not issued is revoked.")]
    issued_serials_known: Annotated[bool, about("Whether it is known which serials were issued.")]
    expected_scopes: Annotated[list[str], about("The scopes that together cover every serial.", [])]
    by_name: Annotated[bool, about("Whether the responder names itself by its subject, not by its key.")]


class CertificateStatus(Struct, frozen=True):
    """How a serial number is answered, and why."""

    serial: Annotated[Serial, about("The serial number.")]
    answer: Annotated[
        Literal["good", "revoked", "unknown", "unauthorized", "tryLater"],
        about("The status, or the error status of the OCSP response."),
    ]
    why: Annotated[str, about("Why it is answered so.", "CRL 42 lists it")]
    hint: Annotated[Words, about("What to do about an error status, or a serial that no CRL covers.")]
    authority: Annotated[AuthorityId | None, about("The id of the CA; null: it is none of ours.")]
    authority_label: Annotated[Label | None, about("What the CA is called.")]
    signer: Annotated[str | None, about("The signer of the answer; null: nothing is signed.", "ocspSigningCert")]
    revoked_at: Annotated[Moment | None, about("When it was revoked; null: it is not.")]
    reason: Annotated[str | None, about("Why it was revoked.", "keyCompromise")]
    this_update: Annotated[Moment | None, about("thisUpdate of the answer.")]
    next_update: Annotated[Moment | None, about("nextUpdate of the answer.")]
    produced_at: Annotated[Moment | None, about("producedAt of the answer.")]
    issuing_points: Annotated[list[ExaminedPoint], about("The CA's issuing points.")]
    policy: Annotated[EffectivePolicy | None, about("The settings that bear on it; null: the CA is none of ours.")]


class IssuingKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the CA's keys issued the certificate, where it has had several."""

    key: Annotated[
        Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")],
        about("SHA-256 of the bits of its public key, in hexadecimal; empty: the newest one.", ""),
    ] = ""


class CertificateToCheck(Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate whose status is asked."""

    certificate: Annotated[SentPEM, about("The certificate, PEM or base64 of DER.")]


def _by_serial(call: Call) -> CertificateStatus:
    reference, query = call.path["authority"], call.query
    serial = shapes.serial_octets(call.path["serial"])
    # Of a CA that is not ours too: a client asks about those as well.
    known = _ID.fullmatch(reference) is not None
    authority_id = reference if known else call.services.authorities.find(reference).id
    return _explained(call, authority_id, serial, query.key)


def _by_certificate(call: Call) -> CertificateStatus:
    question: CertificateToCheck = call.body
    try:
        certificate = pem.read_leaf(question.certificate.encode())
        serial = certs.serial_octets(certificate)
    except ValueError as error:
        raise BadInput(f"not a certificate: {error}", hint="give one certificate as PEM") from error
    issuer = issuer_of(certificate, call.services.store.authorities_of(certs.issuer_der(certificate)))
    if issuer is None:
        raise NotFound("the certificate is of no CA that this instance answers for", hint="add its CA first")
    return _explained(call, issuer.authority.id, serial, issuer.key)


def _explained(call: Call, authority_id: str, serial: bytes, key: str) -> CertificateStatus:
    services = call.services
    services.permission.allow(call.caller, Action.CHECK_STATUS, f"{authority_id} {shapes.serial_text(serial)}")
    return _shape(call.running.explain(authority_id, serial, services.clock.now(), key))


def _shape(explanation: explaining.Explanation) -> CertificateStatus:
    decision, authority = explanation.decision, explanation.authority
    entry = decision.entry if decision else None
    return CertificateStatus(
        serial=shapes.serial_text(explanation.serial),
        answer=explanation.answer,  # type: ignore[arg-type]  # one of those
        why=explanation.why,
        hint=explanation.hint,
        authority=authority.id if authority else None,
        authority_label=authority.label if authority else None,
        signer=explanation.signer,
        revoked_at=shapes.maybe_moment(entry.revocation_time) if entry else None,
        reason=shapes.reason(entry.reason) if entry else None,
        this_update=shapes.moment(decision.this_update) if decision else None,
        next_update=shapes.maybe_moment(decision.next_update) if decision else None,
        produced_at=shapes.moment(decision.produced_at) if decision else None,
        issuing_points=[_point(one) for one in explanation.points],
        policy=convert(explanation.policy, EffectivePolicy | None, from_attributes=True),
    )


def _point(examined: explaining.ExaminedPoint) -> ExaminedPoint:
    epoch, entry = examined.point.epoch, examined.entry
    return ExaminedPoint(
        scope=epoch.issuing_point.scope_id,
        crl_number=epoch.newest.crl_number,
        this_update=shapes.moment(epoch.this_update),
        next_update=shapes.maybe_moment(epoch.next_update),
        accepted_at=shapes.moment(epoch.accepted_at),
        origin=epoch.origin,
        lower_number_reason=epoch.renumbering,
        base=shapes.crl(epoch.base),
        delta=shapes.crl(epoch.delta) if epoch.delta else None,
        sequence=epoch.sequence,
        entries=len(examined.point.index),
        relied_upon=examined.relied_upon,
        expired=examined.stale,
        entry=_entry(entry) if entry else None,
    )


def _entry(entry: RevocationEntry) -> Entry:
    return Entry(
        revoked_at=shapes.moment(entry.revocation_time),
        reason=shapes.reason(entry.reason),
        invalidity_date=shapes.maybe_moment(entry.invalidity_date),
    )


OPERATIONS = (
    Operation(
        "GET",
        "/authorities/{authority}/certificates/{serial}",
        "certificate_status.get",
        "How a serial number is answered, and why: by the newest key of the CA, or by the one of `key`",
        Action.CHECK_STATUS,
        _by_serial,
        CertificateStatus,
        query=IssuingKey,
    ),
    Operation(
        "POST",
        "/certificate-status",
        "certificate_status.check",
        "How a certificate is answered, and why",
        Action.CHECK_STATUS,
        _by_certificate,
        CertificateStatus,
        body=CertificateToCheck,
        refusals={404: "The certificate is of no CA that this instance answers for."},
    ),
)
