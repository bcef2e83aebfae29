"""The status of a certificate, with what the answer rests on."""

from __future__ import annotations

import re
from typing import Any

from vouchd.api import shapes
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import (
    BOOLEAN,
    COUNT,
    MAYBE_MOMENT,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    MOMENT,
    TEXT,
    Schema,
    array,
    record,
    reference,
    text,
)
from vouchd.core.facts import CertStatus
from vouchd.errors import BadInput, NotFound
from vouchd.pkix import certs, pem
from vouchd.service.explaining import TRY_LATER, UNAUTHORIZED, EffectivePolicy, ExaminedPoint, Explanation
from vouchd.service.permission import Action

_ID = re.compile("[0-9a-f]{64}")
_ENTRY = record({"revoked_at": MOMENT, "reason": TEXT, "invalidity_date": MAYBE_MOMENT})
_NULL: Schema = {"type": "null"}
SCHEMAS: dict[str, Schema] = {
    "CertificateStatus": record(
        {
            "serial": TEXT,
            "answer": {"type": "string", "enum": [*CertStatus, UNAUTHORIZED, TRY_LATER]},
            "why": TEXT,
            "hint": TEXT,
            "authority": MAYBE_TEXT,
            "authority_label": MAYBE_TEXT,
            "signer": MAYBE_TEXT,
            "revoked_at": MAYBE_MOMENT,
            "reason": MAYBE_TEXT,
            "this_update": MAYBE_MOMENT,
            "next_update": MAYBE_MOMENT,
            "produced_at": MAYBE_MOMENT,
            "issuing_points": array(reference("ExaminedPoint")),
            "policy": {"anyOf": [reference("EffectivePolicy"), _NULL]},
        }
    ),
    "ExaminedPoint": record(
        {
            "scope": TEXT,
            "crl_number": MAYBE_NUMBER,
            "this_update": MOMENT,
            "next_update": MAYBE_MOMENT,
            "accepted_at": MOMENT,
            "origin": TEXT,
            "lower_number_reason": TEXT,
            "base": reference("CRL"),
            "delta": {"anyOf": [reference("CRL"), _NULL]},
            "sequence": COUNT,
            "entries": COUNT,
            "relied_upon": BOOLEAN,
            "expired": BOOLEAN,
            "entry": {"anyOf": [_ENTRY, _NULL]},
        }
    ),
    "EffectivePolicy": record(
        {
            "not_found_as_good": BOOLEAN,
            "include_next_update": BOOLEAN,
            "expired_crl": TEXT,
            "extended_revoke": BOOLEAN,
            "issued_serials_known": BOOLEAN,
            "expected_scopes": array(TEXT),
            "by_name": BOOLEAN,
        }
    ),
    "CertificateToCheck": record({"certificate": text("PEM, or base64 of DER", low=1, high=1 << 17)}),
}


def _by_serial(call: Call) -> dict[str, Any]:
    reference = call.path["authority"]
    serial = shapes.serial_octets(call.path["serial"])
    if _ID.fullmatch(reference):  # of a CA that is not ours too: a client asks about those as well
        return _explained(call, reference, serial)
    return _explained(call, call.services.authorities.find(reference).id, serial)


def _by_certificate(call: Call) -> dict[str, Any]:
    try:
        certificate = pem.read_leaf(call.body["certificate"].encode())
        serial = certs.serial_octets(certificate)
    except ValueError as error:
        raise BadInput(f"not a certificate: {error}", hint="give one certificate as PEM") from error
    for authority in call.services.store.authorities():
        if certs.is_issued_by_any(certificate, authority.certificates):
            return _explained(call, authority.id, serial)
    raise NotFound("the certificate is of no CA that this instance answers for", hint="add its CA first")


def _explained(call: Call, authority_id: str, serial: bytes) -> dict[str, Any]:
    services = call.services
    services.permission.allow(call.caller, Action.CHECK_STATUS, f"{authority_id} {shapes.serial_text(serial)}")
    return _shape(call.running.explain(authority_id, serial, services.clock.now()))


def _shape(explanation: Explanation) -> dict[str, Any]:
    decision, authority = explanation.decision, explanation.authority
    entry = decision.entry if decision else None
    return {
        "serial": shapes.serial_text(explanation.serial),
        "answer": explanation.answer,
        "why": explanation.why,
        "hint": explanation.hint,
        "authority": authority.id if authority else None,
        "authority_label": authority.label if authority else None,
        "signer": explanation.signer,
        "revoked_at": shapes.maybe_moment(entry.revocation_time) if entry else None,
        "reason": shapes.reason(entry.reason) if entry else None,
        "this_update": shapes.moment(decision.this_update) if decision else None,
        "next_update": shapes.maybe_moment(decision.next_update) if decision else None,
        "produced_at": shapes.moment(decision.produced_at) if decision else None,
        "issuing_points": [_point(one) for one in explanation.points],
        "policy": _policy(explanation.policy) if explanation.policy else None,
    }


def _point(examined: ExaminedPoint) -> dict[str, Any]:
    epoch, entry = examined.point.epoch, examined.entry
    return {
        "scope": epoch.issuing_point.scope_id,
        "crl_number": epoch.newest.crl_number,
        "this_update": shapes.moment(epoch.this_update),
        "next_update": shapes.maybe_moment(epoch.next_update),
        "accepted_at": shapes.moment(epoch.accepted_at),
        "origin": epoch.origin,
        "lower_number_reason": epoch.renumbering,
        "base": shapes.crl(epoch.base),
        "delta": shapes.crl(epoch.delta) if epoch.delta else None,
        "sequence": epoch.sequence,
        "entries": len(examined.point.index),
        "relied_upon": examined.relied_upon,
        "expired": examined.stale,
        "entry": {
            "revoked_at": shapes.moment(entry.revocation_time),
            "reason": shapes.reason(entry.reason),
            "invalidity_date": shapes.maybe_moment(entry.invalidity_date),
        }
        if entry
        else None,
    }


def _policy(policy: EffectivePolicy) -> dict[str, Any]:
    return {
        "not_found_as_good": policy.not_found_as_good,
        "include_next_update": policy.include_next_update,
        "expired_crl": policy.expired_crl,
        "extended_revoke": policy.extended_revoke,
        "issued_serials_known": policy.issued_serials_known,
        "expected_scopes": list(policy.expected_scopes),
        "by_name": policy.by_name,
    }


_STATUS = reference("CertificateStatus")
OPERATIONS = (
    Operation(
        "GET",
        "/authorities/{authority}/certificates/{serial}",
        "certificate_status.get",
        "How a serial number is answered, and why",
        Action.CHECK_STATUS,
        _by_serial,
        _STATUS,
    ),
    Operation(
        "POST",
        "/certificate-status",
        "certificate_status.check",
        "How a certificate is answered, and why",
        Action.CHECK_STATUS,
        _by_certificate,
        _STATUS,
        body=reference("CertificateToCheck"),
        refusals={404: "The certificate is of no CA that this instance answers for."},
    ),
)
