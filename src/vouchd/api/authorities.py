"""CAs: add, list, show, remove; their policies and the serials that they have issued."""

from __future__ import annotations

from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.api import shapes
from vouchd.api.operation import WAIT, Call, Operation, Parameter
from vouchd.api.schema import (
    BOOLEAN,
    COUNT,
    MAYBE_TEXT,
    MOMENT,
    TEXT,
    Schema,
    array,
    described,
    record,
    reference,
    text,
)
from vouchd.core.facts import Authority, AuthorityPolicy, ExpiredCRLPolicy, ExpiredDeltaPolicy
from vouchd.errors import BadInput
from vouchd.pkix import pem
from vouchd.service.authorities import (
    MAX_LABEL_CHARACTERS,
    MAX_SLOT_SECONDS,
    AuthoritySummary,
    read_authorities,
    summary_of,
)
from vouchd.service.permission import Action

MAX_SERIALS_BYTES = 1 << 30
MAX_SCOPES = 1000
MAX_CRL_ISSUERS = 16
_PEM = text("PEM, or base64 of DER", low=1, high=1 << 17)
_MAYBE_FLAG: Schema = {"type": ["boolean", "null"]}
_POLICY: dict[str, Schema] = {
    "not_found_as_good": _MAYBE_FLAG,
    "include_next_update": _MAYBE_FLAG,
    "expired_crl": {"type": ["string", "null"], "enum": [*ExpiredCRLPolicy, None]},
    "invalidity_date": BOOLEAN,
    "crl_reference": BOOLEAN,
    "archive_cutoff_seconds": {"type": ["integer", "null"], "minimum": 0, "maximum": 2**31},
    "extended_revoke": BOOLEAN,
    "signer": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
    "crl_issuers": array(_PEM, high=MAX_CRL_ISSUERS),
    "expected_scopes": array(text(high=64), high=MAX_SCOPES),
    "named_point_covers_all": BOOLEAN,
    "expired_delta": {"type": "string", "enum": [*ExpiredDeltaPolicy]},
    "live_times": BOOLEAN,
    "live_this_update": BOOLEAN,
    "slot_seconds": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_SLOT_SECONDS},
    "quarantine_entries": {"type": "integer", "minimum": 0, "maximum": 2**31},
    "quarantine_gains": BOOLEAN,
    "quarantine_percent": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
}
SCHEMAS: dict[str, Schema] = {
    "Authority": record(
        {
            "id": TEXT,
            "label": TEXT,
            "subject": TEXT,
            "not_after": MOMENT,
            "entries": COUNT,
            "issuing_points": shapes.POINTS,
            "quarantined": array(reference("QuarantinedCRL")),
            "policy": reference("Policy"),
            "history": array(described(TEXT, "The SHA-256 of another certificate of the CA.")),
            "retired_scopes": array(TEXT),
            "certificate": TEXT,
            "doubts": described(array(TEXT), "Of its signer, or of what came with a change: told after it."),
        }
    ),
    "Policy": record({**_POLICY, "issued_serials": MAYBE_TEXT}),
    "PolicyChange": record({}, _POLICY, minProperties=1),
    "NewAuthority": record(
        {"certificate": _PEM},
        {
            "label": text("What it is called; default: its subject", high=MAX_LABEL_CHARACTERS),
            "signer": text("The signer for it; default: the default signer", high=200),
        },
    ),
}


def _all(call: Call) -> list[dict[str, Any]]:
    at = call.services.clock.now()
    return [_shape(summary, at) for summary in call.services.authorities.summaries(call.caller)]


def _one(call: Call) -> dict[str, Any]:
    return _shown(call, call.services.authorities.find(call.path["authority"]))


def _add(call: Call) -> dict[str, Any]:
    label, signer = call.body.get("label", ""), call.body.get("signer", "")
    bundle = read_authorities(call.body["certificate"].encode())
    if len(bundle.certificates) > 1:
        names = "; ".join(one.subject.rfc4514_string() for one in bundle.certificates)
        raise BadInput(f"{len(bundle.certificates)} CAs where one is expected: {names}", hint="send each by itself")
    certificate = bundle.certificates[0].public_bytes(Encoding.DER)
    authority = call.services.authorities.add(certificate, call.caller, label=label, signer=signer)
    call.settle()
    shown = _shown(call, authority, doubts=True)
    return shown | {"doubts": [*bundle.notes, *shown["doubts"]]}


def _remove(call: Call) -> None:
    call.services.authorities.remove(call.path["authority"], call.caller)
    call.settle()


def _remove_certificate(call: Call) -> dict[str, Any]:
    services = call.services
    authority = services.authorities.remove_certificate(call.path["authority"], call.path["certificate"], call.caller)
    call.settle()
    return _shown(call, authority)


def _set_policy(call: Call) -> dict[str, Any]:
    services = call.services
    before = services.authorities.find(call.path["authority"])
    changed = dict(call.body)
    if changed.get("expired_crl") is not None:
        changed["expired_crl"] = ExpiredCRLPolicy(changed["expired_crl"])
    if "expired_delta" in changed:
        changed["expired_delta"] = ExpiredDeltaPolicy(changed["expired_delta"])
    if "crl_issuers" in changed:
        changed["crl_issuers"] = tuple(_der(certificate) for certificate in changed["crl_issuers"])
    if "expected_scopes" in changed:
        changed["expected_scopes"] = tuple(changed["expected_scopes"])
    after = services.authorities.set_policy(before.id, replace(before.policy, **changed), call.caller)
    call.settle()
    return _shown(call, after, doubts=True)


def _der(pem_text: str) -> bytes:
    try:
        (certificate,) = pem.read_one(pem_text.encode()).certificates
    except ValueError as error:
        raise BadInput(f"crl_issuers: not a certificate: {error}") from error
    return certificate.public_bytes(Encoding.DER)


def _set_serials(call: Call) -> dict[str, Any]:
    reference_ = call.services.authorities.find(call.path["authority"]).id
    radix = 16 if call.query.get("hexadecimal") else 10
    authority = call.services.authorities.set_issued_serials(reference_, call.body, call.caller, radix=radix)
    call.settle()
    return _shown(call, authority)


def _drop_serials(call: Call) -> None:
    reference_ = call.services.authorities.find(call.path["authority"]).id
    call.services.authorities.set_issued_serials(reference_, None, call.caller)
    call.settle()


def _shown(call: Call, authority: Authority, *, doubts: bool = False) -> dict[str, Any]:
    """The CA as a list would show it now, after a change with what is doubtful about its signer."""
    services = call.services
    epochs, quarantined = services.store.epochs(), services.store.quarantined()
    shape = _shape(summary_of(authority, epochs, quarantined), services.clock.now())
    return shape | {"doubts": list(services.authorities.doubts(authority)) if doubts else []}


def _shape(summary: AuthoritySummary, at: int) -> dict[str, Any]:
    authority = summary.authority
    return {
        "id": authority.id,
        "label": authority.label,
        "subject": summary.subject,
        "not_after": shapes.moment(summary.not_after),
        "entries": summary.entry_count,
        "issuing_points": [shapes.issuing_point(epoch, at) for epoch in summary.epochs],
        "quarantined": [shapes.quarantined(crl) for crl in summary.quarantined],
        "policy": _policy(authority.policy),
        "history": [sha256(der).hexdigest() for der in authority.history],
        "retired_scopes": list(authority.retired_scopes),
        "certificate": pem.as_pem(authority.certificate_der),
        "doubts": [],
    }


def _policy(policy: AuthorityPolicy) -> dict[str, Any]:
    return {
        **asdict(policy),
        "crl_issuers": [pem.as_pem(der) for der in policy.crl_issuers],
        "expected_scopes": list(policy.expected_scopes),
    }


_SHOWN = reference("Authority")
_SERIALS = ("text/plain", "application/octet-stream")
_HEX = Parameter("hexadecimal", BOOLEAN, "The serials are hexadecimal; without it decimal, but for those with `0x`.")
OPERATIONS = (
    Operation("GET", "/authorities", "authorities.list", "All CAs", Action.LIST_AUTHORITIES, _all, array(_SHOWN)),
    Operation(
        "POST",
        "/authorities",
        "authorities.add",
        "Answer for a CA from now on",
        Action.ADD_AUTHORITY,
        _add,
        _SHOWN,
        status=201,
        body=reference("NewAuthority"),
        query=(WAIT,),
    ),
    Operation("GET", "/authorities/{authority}", "authorities.get", "One CA", Action.LIST_AUTHORITIES, _one, _SHOWN),
    Operation(
        "DELETE",
        "/authorities/{authority}",
        "authorities.remove",
        "Answer for a CA no longer and forget its CRLs",
        Action.REMOVE_AUTHORITY,
        _remove,
        status=204,
        query=(WAIT,),
    ),
    Operation(
        "DELETE",
        "/authorities/{authority}/history/{certificate}",
        "authorities.remove_certificate",
        "Take a certificate, by its SHA-256, out of the history of a CA's keys",
        Action.REMOVE_AUTHORITY,
        _remove_certificate,
        _SHOWN,
        query=(WAIT,),
    ),
    Operation(
        "PATCH",
        "/authorities/{authority}/policy",
        "authorities.set_policy",
        "Change how a CA is answered for; null means as the instance's settings say",
        Action.SET_POLICY,
        _set_policy,
        _SHOWN,
        body=reference("PolicyChange"),
        query=(WAIT,),
    ),
    Operation(
        "PUT",
        "/authorities/{authority}/issued-serials",
        "authorities.set_issued_serials",
        "Take the list of the serials that a CA has issued: no other is good then",
        Action.SET_ISSUED_SERIALS,
        _set_serials,
        _SHOWN,
        query=(_HEX, WAIT),
        upload=_SERIALS,
        max_body_bytes=MAX_SERIALS_BYTES,
    ),
    Operation(
        "DELETE",
        "/authorities/{authority}/issued-serials",
        "authorities.drop_issued_serials",
        "Take that list away",
        Action.SET_ISSUED_SERIALS,
        _drop_serials,
        status=204,
        query=(WAIT,),
    ),
)
