"""CAs: add, list, show, remove; their policies and the serials that they have issued."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Any

from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct
from msgspec.structs import asdict, fields

from vouchd.api import shapes
from vouchd.api.model import PEM, SHA256, AuthorityId, Changes, Count, Label, Moment, Refusal, ScopeId, SentPEM, about
from vouchd.api.operation import Call, Operation, Waiting
from vouchd.api.pages import GONE, Page, page_of
from vouchd.cloning.our_certificates import our_certificates
from vouchd.core import facts
from vouchd.core.facts import ExpiredCRLPolicy, ExpiredDeltaPolicy
from vouchd.errors import BadInput, NotFound, VouchdError
from vouchd.pkix import pem
from vouchd.service.authorities import (
    MAX_LABEL_CHARACTERS,
    MAX_SLOT_SECONDS,
    AuthoritySummary,
    read_authorities,
)
from vouchd.service.authorities import NewAuthority as Candidate
from vouchd.service.permission import Action

MAX_SERIALS_BYTES = 1 << 30
MAX_BATCH = 1000
MAX_BATCH_BYTES = 64 << 20
MAX_SCOPES = 1000
MAX_CRL_ISSUERS = 16
Signer = Annotated[str, Meta(min_length=1, max_length=200, examples=["ocspSigningCert"])]
Size = Annotated[int, Meta(ge=0, le=2**31)]


class PolicySettings(Struct, frozen=True):
    """How a CA is answered for, as an administrator sets it."""

    not_found_as_good: Annotated[bool | None, about("Whether a serial that no CRL lists is good, else unknown.")]
    include_next_update: Annotated[bool | None, about("Whether answers tell the CRL's nextUpdate.")]
    reasons: Annotated[bool | None, about("Whether answers tell why a certificate was revoked.")]
    expired_crl: Annotated[ExpiredCRLPolicy | None, about("What a CRL past its nextUpdate means.")]
    invalidity_date: Annotated[bool, about("Whether answers tell the invalidity date of the CRL entry.")]
    crl_reference: Annotated[bool, about("Whether answers tell which CRL they rest on.")]
    archive_cutoff_seconds: Annotated[
        Size | None, about("For how long revocations are kept beyond expiry: the archive cutoff; null: none.", 31536000)
    ]
    extended_revoke: Annotated[bool, about("Whether a serial that was not issued is revoked (RFC 6960 section 4.4.8).")]
    signer: Annotated[Signer | None, about("The signer for this CA; null: the default signer.")]
    trusted_responder: Annotated[
        bool, about("Whether its signer is one that it need not have issued: clients trust that by configuration.")
    ]
    crl_issuers: Annotated[
        Annotated[list[SentPEM], Meta(max_length=MAX_CRL_ISSUERS)],
        about("Certificates of CRL issuers whose CRLs are taken for this CA, PEM or base64 of DER."),
    ]
    expected_scopes: Annotated[
        Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=MAX_SCOPES)],
        about("The scopes that together cover every serial; none: one complete CRL does.", []),
    ]
    named_point_covers_all: Annotated[
        bool, about("Whether a CRL that restricts nothing but names its distribution point is complete.")
    ]
    expired_delta: Annotated[
        ExpiredDeltaPolicy, about("What a delta CRL past its nextUpdate means while its base is fresh.")
    ]
    live_times: Annotated[bool, about("Whether producedAt is the start of the current slot.")]
    live_this_update: Annotated[bool, about("Whether thisUpdate is, too.")]
    slot_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_SLOT_SECONDS)] | None, about("The length of a slot; null: 30.", 30)
    ]
    quarantine_entries: Annotated[Size, about("A CRL that loses so many entries or fewer is not held back.", 10)]
    quarantine_gains: Annotated[bool, about("Whether entries gained hold a CRL back too.")]
    quarantine_percent: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        about("A CRL that loses more than this share of its entries is held back; null: none is.", 10),
    ]


class Policy(PolicySettings, frozen=True):
    """How a CA is answered for; null means as the instance's settings say."""

    issued_serials: Annotated[SHA256 | None, about("The SHA-256 of the list of issued serials; null: there is none.")]
    compromised_at: Annotated[Moment | None, about("Since when it is compromised, as an agent has declared.")]
    compromised_answer: Annotated[
        facts.CompromisedAnswer, about("What is answered then of all that it issued: `revoked`, or `tryLater`.")
    ]


def _names_a_change(change: Struct) -> None:
    if all(getattr(change, name) is UNSET for name in change.__struct_fields__):
        raise ValueError("Names no change")


PolicyChange = defstruct(
    "PolicyChange",
    [(one.name, one.type | UnsetType, UNSET) for one in fields(PolicySettings)],
    namespace={"__doc__": "What to change of a policy; what is not named stays.", "__post_init__": _names_a_change},
    module=__name__,
    frozen=True,
    forbid_unknown_fields=True,
)


class Compromise(Struct, frozen=True, forbid_unknown_fields=True):
    """Since when a CA is compromised or has ended, and what is answered of it."""

    since: Annotated[Moment | UnsetType, about("Since when; without it since now. Never in the future.")] = UNSET
    answer: Annotated[
        facts.CompromisedAnswer, about("`revoked`: all that it issued is, cACompromise; `tryLater`: nothing is said.")
    ] = facts.CompromisedAnswer.REVOKED

    def __post_init__(self) -> None:
        if self.since is not UNSET:
            try:
                shapes.posix(self.since, "since")
            except BadInput as error:
                raise ValueError(
                    f"Expected as since a time such as 2026-11-24T05:41:44Z, got {self.since[:40]!r}"
                ) from error


class Authority(Struct, frozen=True):
    """A CA that the instance answers for."""

    id: Annotated[AuthorityId, about("Its id, for good.")]
    label: Annotated[Label, about("What it is called.")]
    subject: Annotated[str, about("Its subject.", "CN=Example Root,O=Example")]
    not_after: Annotated[Moment, about("Until when its newest certificate is valid.")]
    entries: Annotated[Count, about("Revoked certificates, of all its issuing points.", 12)]
    issuing_points: Annotated[list[shapes.IssuingPoint], about("Its issuing points.")]
    quarantined: Annotated[list[shapes.QuarantinedCRL], about("Its CRLs that are held back.")]
    policy: Annotated[Policy, about("How it is answered for.")]
    history: Annotated[list[SHA256], about("The SHA-256 of each other certificate of the CA.")]
    retired_scopes: Annotated[list[ScopeId], about("The scopes of issuing points that will not come again.", [])]
    certificate: Annotated[PEM, about("Its newest certificate.")]
    doubts: Annotated[list[str], about("Of its signer, or of what came with a change: told after it.", [])]
    changes: Changes = UNSET


class NewAuthority(Struct, frozen=True, forbid_unknown_fields=True):
    """A CA to answer for, or one more certificate of one that is known."""

    certificate: Annotated[SentPEM, about("Its certificate, PEM or base64 of DER.")]
    label: Annotated[
        str, Meta(max_length=MAX_LABEL_CHARACTERS), about("What it is called; without it its subject.", "Example Root")
    ] = ""
    signer: Annotated[
        str, Meta(max_length=200), about("The signer for it; without it the default signer.", "ocspSigningCert")
    ] = ""
    trusted_responder: Annotated[
        bool, about("The CA need not have issued that signer: clients trust it by their own configuration.")
    ] = False


class NewAuthorities(Struct, frozen=True, forbid_unknown_fields=True):
    """CAs to answer for, added as one change."""

    authorities: Annotated[
        list[NewAuthority],
        Meta(min_length=1, max_length=MAX_BATCH),
        about("One CA each; the others do not mind one that is refused."),
    ]


class AddedAuthority(Struct, frozen=True):
    """What became of one of several."""

    id: Annotated[AuthorityId | None, about("The id of the CA; none where it was refused.")] = None
    label: Annotated[Label | None, about("What the CA is called.")] = None
    changes: Changes = UNSET
    problem: Annotated[Refusal | None, about("Why it was refused.", None)] = None


class SerialsUpload(Waiting, frozen=True, forbid_unknown_fields=True):
    """How the serials are written, and how long to wait."""

    hexadecimal: Annotated[bool, about("The serials are hexadecimal; without it decimal, but for those with `0x`.")] = (
        False
    )
    unlisted: Annotated[bool, about("Take a list that lacks certificates of this set: they are refused then.")] = False


def _all(call: Call) -> list[Authority]:
    at, authorities = call.services.clock.now(), call.services.authorities
    page = page_of(authorities.every(call.caller), lambda one: one.id, call.query)
    return [_shape(authorities.summary(one), at) for one in page]


def _one(call: Call) -> Authority:
    return _shown(call, call.services.authorities.find(call.path["authority"]))


def _add(call: Call) -> Authority:
    new: NewAuthority = call.body
    authorities, bundle = call.services.authorities, read_authorities(new.certificate.encode())
    if len(bundle.certificates) > 1:
        names = "; ".join(one.subject.rfc4514_string() for one in bundle.certificates)
        raise BadInput(f"{len(bundle.certificates)} CAs where one is expected: {names}", hint="send each by itself")
    certificate = bundle.certificates[0].public_bytes(Encoding.DER)
    effect = authorities.add(
        certificate, call.caller, label=new.label, signer=new.signer, trusted_responder=new.trusted_responder
    )
    call.settle()
    doubts = (*bundle.notes, *authorities.doubts(effect.subject))
    return _shown(call, effect.subject, doubts, list(effect.changes))


def _add_all(call: Call) -> list[AddedAuthority]:
    new: NewAuthorities = call.body
    wanted = [
        Candidate(one.certificate.encode(), one.label, one.signer, one.trusted_responder) for one in new.authorities
    ]
    outcomes = call.services.authorities.add_all(wanted, call.caller)
    if call.query.wait:
        call.settle()
    return [
        AddedAuthority(problem=Refusal.of(one))
        if isinstance(one, VouchdError)
        else AddedAuthority(one.subject.id, one.subject.label, list(one.changes))
        for one in outcomes
    ]


def _remove(call: Call) -> None:
    call.services.authorities.remove(call.path["authority"], call.caller)
    call.settle()


def _remove_certificate(call: Call) -> Authority:
    services = call.services
    authority = services.authorities.remove_certificate(call.path["authority"], call.path["certificate"], call.caller)
    call.settle()
    return _shown(call, authority)


def _set_policy(call: Call) -> Authority:
    services = call.services
    before = services.authorities.find(call.path["authority"])
    changed: dict[str, Any] = {name: value for name, value in asdict(call.body).items() if value is not UNSET}
    if "crl_issuers" in changed:
        changed["crl_issuers"] = tuple(_der(certificate) for certificate in changed["crl_issuers"])
    if "expected_scopes" in changed:
        changed["expected_scopes"] = tuple(changed["expected_scopes"])
    after = services.authorities.set_policy(before.id, replace(before.policy, **changed), call.caller)
    call.settle()
    return _shown(call, after, services.authorities.doubts(after), _policy_changes(before, after))


def _compromised(call: Call) -> Authority:
    declared: Compromise = call.body
    now = call.clock.now()
    since = shapes.posix(declared.since, "since") if declared.since else now
    authorities = call.services.authorities
    before = authorities.find(call.path["authority"])
    after = authorities.declare_compromised(before.id, since, declared.answer, call.caller, at=now)
    call.settle()
    return _shown(call, after, changes=_policy_changes(before, after))


def _not_compromised(call: Call) -> Authority:
    authorities = call.services.authorities
    before = authorities.find(call.path["authority"])
    answer = facts.CompromisedAnswer.REVOKED
    after = authorities.declare_compromised(before.id, None, answer, call.caller, at=call.clock.now())
    call.settle()
    return _shown(call, after, changes=_policy_changes(before, after))


def _policy_changes(before: facts.Authority, after: facts.Authority) -> list[str]:
    former, policy = dataclasses.asdict(before.policy), dataclasses.asdict(after.policy)
    return [f"{name} was changed" for name in policy if policy[name] != former[name]]


def _der(pem_text: str) -> bytes:
    try:
        (certificate,) = pem.read_one(pem_text.encode()).certificates
    except ValueError as error:
        raise BadInput(f"crl_issuers: not a certificate: {error}") from error
    return certificate.public_bytes(Encoding.DER)


def _set_serials(call: Call) -> Authority:
    upload: SerialsUpload = call.query
    authorities = call.services.authorities
    before, radix = authorities.find(call.path["authority"]), 16 if upload.hexadecimal else 10
    ours, silent = ({}, ()) if upload.unlisted else our_certificates(call.services)
    authority = authorities.set_issued_serials(before.id, call.body, call.caller, radix=radix, ours=ours)
    call.settle()
    doubts = [f"whether the list has the TLS server's certificate of {name} is not known: no answer" for name in silent]
    return _shown(call, authority, doubts, _policy_changes(before, authority))


def _drop_serials(call: Call) -> None:
    authority = call.services.authorities.find(call.path["authority"])
    if authority.policy.issued_serials is None:
        raise NotFound("the CA has no list of issued serials", hint="nothing was changed: without one all are known")
    call.services.authorities.set_issued_serials(authority.id, None, call.caller)
    call.settle()


def _shown(call: Call, authority: facts.Authority, doubts: Iterable[str] = (), changes: Changes = UNSET) -> Authority:
    """The CA as a list would show it now, after a change with what is doubtful about it."""
    services = call.services
    return _shape(services.authorities.summary(authority), services.clock.now(), doubts, changes)


def _shape(summary: AuthoritySummary, at: int, doubts: Iterable[str] = (), changes: Changes = UNSET) -> Authority:
    authority = summary.authority
    return Authority(
        id=authority.id,
        label=authority.label,
        subject=summary.subject,
        not_after=shapes.moment(summary.not_after),
        entries=summary.entry_count,
        issuing_points=[shapes.issuing_point(epoch, at) for epoch in summary.epochs],
        quarantined=[shapes.quarantined(crl) for crl in summary.quarantined],
        policy=_policy(authority.policy),
        history=[sha256(der).hexdigest() for der in authority.history],
        retired_scopes=list(authority.retired_scopes),
        certificate=pem.as_pem(authority.certificate_der),
        doubts=list(doubts),
        changes=changes,
    )


def _policy(policy: facts.AuthorityPolicy) -> Policy:
    values = {one.name: getattr(policy, one.name) for one in fields(Policy)}
    values |= {
        "compromised_at": shapes.maybe_moment(policy.compromised_at),
        "crl_issuers": [pem.as_pem(der) for der in policy.crl_issuers],
        "expected_scopes": list(policy.expected_scopes),
    }
    return Policy(**values)


_SERIALS = ("text/plain", "application/octet-stream")
OPERATIONS = (
    Operation(
        "GET",
        "/authorities",
        "authorities.list",
        "All CAs",
        Action.LIST_AUTHORITIES,
        _all,
        list[Authority],
        query=Page,
        refusals=GONE,
    ),
    Operation(
        "POST",
        "/authorities",
        "authorities.add",
        "Answer for a CA from now on",
        Action.ADD_AUTHORITY,
        _add,
        Authority,
        status=201,
        body=NewAuthority,
        may_be_there=True,
        query=Waiting,
    ),
    Operation(
        "POST",
        "/authorities/batch",
        "authorities.add_all",
        "Answer for several CAs from now on, as one change",
        Action.ADD_AUTHORITY,
        _add_all,
        list[AddedAuthority],
        body=NewAuthorities,
        query=Waiting,
        max_body_bytes=MAX_BATCH_BYTES,
    ),
    Operation("GET", "/authorities/{authority}", "authorities.get", "One CA", Action.LIST_AUTHORITIES, _one, Authority),
    Operation(
        "DELETE",
        "/authorities/{authority}",
        "authorities.remove",
        "Answer for a CA no longer and forget its CRLs",
        Action.REMOVE_AUTHORITY,
        _remove,
        status=204,
        query=Waiting,
    ),
    Operation(
        "DELETE",
        "/authorities/{authority}/history/{certificate}",
        "authorities.remove_certificate",
        "Take a certificate, by its SHA-256, out of the history of a CA's keys",
        Action.REMOVE_AUTHORITY,
        _remove_certificate,
        Authority,
        query=Waiting,
    ),
    Operation(
        "PATCH",
        "/authorities/{authority}/policy",
        "authorities.set_policy",
        "Change how a CA is answered for; null means as the instance's settings say",
        Action.SET_POLICY,
        _set_policy,
        Authority,
        body=PolicyChange,
        query=Waiting,
    ),
    Operation(
        "PUT",
        "/authorities/{authority}/compromise",
        "authorities.compromised",
        "Declare a CA compromised or ended: all that it issued is revoked (cACompromise) since a moment, or tryLater",
        Action.DECLARE_COMPROMISED,
        _compromised,
        Authority,
        body=Compromise,
        query=Waiting,
    ),
    Operation(
        "DELETE",
        "/authorities/{authority}/compromise",
        "authorities.not_compromised",
        "Take that declaration back",
        Action.DECLARE_COMPROMISED,
        _not_compromised,
        Authority,
        query=Waiting,
    ),
    Operation(
        "PUT",
        "/authorities/{authority}/issued-serials",
        "authorities.set_issued_serials",
        "Take the list of the serials that a CA has issued: no other is good then",
        Action.SET_ISSUED_SERIALS,
        _set_serials,
        Authority,
        query=SerialsUpload,
        refusals={409: "It lacks certificates of this set, which would be refused."},
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
        query=Waiting,
    ),
)
