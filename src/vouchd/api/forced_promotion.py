"""This clone made the master where the one before is gone for good: what is lost and fenced off, and doing so."""

from __future__ import annotations

from typing import Annotated

from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta, Struct

from vouchd.api import shapes
from vouchd.api.cloning import MovedRole
from vouchd.api.model import Count, MemberId, Moment, SentPEM, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.cloning.forced_promotion import Candidacy, Order, candidacy, take_role
from vouchd.cloning.registry import find, master_of
from vouchd.core.facts import Member
from vouchd.errors import BadInput, ConfigError, LifecycleError
from vouchd.instance.report import MemberReport
from vouchd.pkix.pem import leaf, read_bundle
from vouchd.service.permission import Action


class ForcedPromotion(Struct, frozen=True):
    """What it would change that this clone takes the role of the master."""

    member: Annotated[MemberId, about("This instance.")]
    refusal: Annotated[Words, about("Why it would be refused now; empty: it would not.")]
    hint: Annotated[Words, about("What to do about that.")]
    former: Annotated[MemberId | None, about("The master that is passed over; null: nobody is the master.")]
    seen_at: Annotated[Moment | None, about("When that one was seen last; null: not since this instance started.")]
    term: Annotated[Count, about("The number of the term that would begin.", 2)]
    lost: Annotated[list[str], about("What may be lost with the master before.", ["join tokens that it gave"])]
    fenced: Annotated[list[str], about("What keeps the master before from doing harm.", ["its term is lower"])]
    statement: Annotated[
        bytes, about("What an administrator signs with the key of his certificate, base64; empty: nothing.", "dm91Y2g=")
    ]


class SignedOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """The order of an administrator, signed with a key that stays with him."""

    term: Annotated[int, Meta(ge=1), about("The term that he was told of.", 2)]
    certificate: Annotated[SentPEM, about("His certificate, PEM or base64 of DER.")]
    signature: Annotated[
        bytes,
        Meta(min_length=1, max_length=1 << 13),
        about("The signature over the statement: by the usual algorithm of his key, base64.", "MEUCIQ=="),
    ]


def _preview(call: Call) -> ForcedPromotion:
    services = call.services
    members = services.domain.members(call.caller)
    member, former = find(members, services.settings.member_id), master_of(members)
    refusal = hint = ""
    standing = Candidacy(member, former, 1 + max(one.term for one in members), b"")
    try:
        standing = candidacy(services)
    except ConfigError as error:
        refusal, hint = str(error), error.hint
    seen = _seen(call, former)
    if not refusal and seen is not None and seen.reachable:
        refusal = f"the master {seen.id} answers: it hands its role over by itself, and nothing is lost"
        hint = f"there: vouchd clone promote {member.id}, or its page of this member"
    others = former if former != member else None
    return ForcedPromotion(
        member=member.id,
        refusal=refusal,
        hint=hint,
        former=others.id if others else None,
        seen_at=shapes.maybe_moment(seen.seen_at) if seen else None,
        term=standing.term,
        lost=_lost(others, embedded=services.settings.directory is None) if others else [],
        fenced=_fenced(others) if others else [],
        statement=b"" if refusal else standing.statement,
    )


def _seen(call: Call, member: Member | None) -> MemberReport | None:
    try:
        return next((one for one in call.running.report().members if member and one.id == member.id), None)
    except LifecycleError:
        return None


def _lost(former: Member, *, embedded: bool) -> list[str]:
    if not embedded:
        where = former.directory.address if former.directory else former.id
        return [
            f"CRLs that were published to {former.id} and that {where} has not passed on: their CAs publish them again",
            f"changes of CAs, users, signers and settings that {where} has not passed on",
        ]
    return [
        f"CRLs that {former.id} accepted and this clone has not fetched: they are to be published or fetched again",
        f"changes of CAs, users, signers and settings that were made on {former.id} since this clone saw it last",
        f"join tokens that {former.id} gave: make new ones here",
    ]


def _fenced(former: Member) -> list[str]:
    return [
        f"when {former.id} comes back, or sees any member, it takes itself for a clone: the term here is higher",
        "the other members believe the appointment that you sign, whatever the one before says",
        "where it runs and is only cut off, it goes on answering and taking CRLs: stop it, or keep all from it",
        "where its host is lost or in wrong hands: take it out of the set afterwards, and renew what it knew",
    ]


def _der(certificate: str) -> bytes:
    try:
        return leaf(read_bundle(certificate.encode()).certificates).public_bytes(Encoding.DER)
    except ValueError as error:
        raise BadInput(f"not a certificate: {error}", hint="give it as PEM, or base64 of DER") from error


def _claim(call: Call) -> MovedRole:
    services, wanted = call.services, call.body
    order = Order(wanted.term, _der(wanted.certificate), wanted.signature)
    promoted = take_role(services, order, call.caller)
    call.running.settle(0)
    return MovedRole(master=promoted.id, term=promoted.term, changes=["the role was taken"])


OPERATIONS = (
    Operation(
        "GET",
        "/members/forced-promotion",
        "forced_promotion.preview",
        "What taking the role of a master that is gone for good would change; nothing is changed",
        Action.READ_DOMAIN,
        _preview,
        ForcedPromotion,
        refusals={404: "This instance is in no security domain."},
    ),
    Operation(
        "POST",
        "/members/forced-promotion",
        "forced_promotion.claim",
        "Take the role of a master that is gone for good, in the order of an administrator who has signed it",
        Action.MOVE_ROLE,
        _claim,
        MovedRole,
        body=SignedOrder,
        refusals={
            400: "The master answers, this instance is the master, or the signature is not that of the certificate.",
            404: "This instance is in no security domain.",
            409: "Another term would begin by now.",
        },
    ),
)
