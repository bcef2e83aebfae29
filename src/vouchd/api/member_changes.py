"""What handing the role of the master to a member, or taking the member out, would change; nothing is changed."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct, convert

from vouchd.api.cloning import StillKnown
from vouchd.api.model import Count, MemberId, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.cloning import leaving
from vouchd.cloning.registry import find, master_of, require_leavable
from vouchd.core.facts import Member
from vouchd.errors import ConfigError, LifecycleError
from vouchd.instance.report import MemberReport
from vouchd.service.permission import Action


class Promotion(Struct, frozen=True):
    """What handing the role over would change."""

    refusal: Annotated[Words, about("Why it would be refused here; empty: it would not.")]
    hint: Annotated[Words, about("What to do about that.")]
    former: Annotated[MemberId | None, about("The member that would become a clone; null: nobody is the master.")]
    term: Annotated[Count, about("The number of the term that would begin.", 2)]
    doubts: Annotated[list[str], about("What to look at first.", ["it cannot be reached"])]


class Removal(Struct, frozen=True):
    """What taking the member out would change."""

    refusal: Annotated[Words, about("Why it would be refused here; empty: it would not.")]
    hint: Annotated[Words, about("What to do about that.")]
    members_left: Annotated[Count, about("How many members are left.", 1)]
    tokens_voided: Annotated[Count, about("How many join tokens are good no longer.", 0)]
    directory: Annotated[Words, about("The directory server with which the others end their replication.")]
    still_known: Annotated[list[StillKnown], about("What the member still knows.")]


class MemberChanges(Struct, frozen=True):
    """What could be done with a member, and what that would change."""

    member: Annotated[MemberId, about("The member.")]
    role: Annotated[Literal["master", "clone"], about("What it is.", "clone")]
    this_instance: Annotated[bool, about("Whether it is this instance.", False)]  # noqa: FBT003  an example
    promotion: Annotated[Promotion, about("Made the master.")]
    removal: Annotated[Removal, about("Taken out.")]


def _preview(call: Call) -> MemberChanges:
    services = call.services
    members = services.domain.members(call.caller)
    member, master = find(members, call.path["member"]), master_of(members)
    return MemberChanges(
        member=member.id,
        role="master" if member == master else "clone",
        this_instance=member.id == services.settings.member_id,
        promotion=_promotion(call, member, master, members),
        removal=_removal(call, member, members),
    )


def _promotion(call: Call, member: Member, master: Member | None, members: tuple[Member, ...]) -> Promotion:
    refusal = hint = ""
    if member == master:
        refusal = "it is the master"
    elif master is None or master.id != call.services.settings.member_id:
        refusal = f"{master.id} is the master, and hands the role over itself" if master else "nobody is the master"
        by_force = f"if it is gone for good, on the page of {member.id} there, or: vouchd clone promote --force"
        hint = f"ask https://{master.id}; {by_force}" if master else by_force
    return Promotion(
        refusal=refusal,
        hint=hint,
        former=master.id if master else None,
        term=1 + max(one.term for one in members),
        doubts=[] if refusal else _doubts(_seen(call, member)),
    )


def _seen(call: Call, member: Member) -> MemberReport | None:
    try:
        return next((one for one in call.running.report().members if one.id == member.id), None)
    except LifecycleError:
        return None


def _doubts(seen: MemberReport | None) -> list[str]:
    if seen is None:
        return ["this instance has not seen it yet"]
    if not seen.reachable:
        return [f"it cannot be reached: {seen.error}"]
    behind = sum(seconds > 0 for _, _, seconds in seen.lags)
    return [f"it has an older CRL of {behind} issuing points"] if behind else []


def _removal(call: Call, member: Member, members: tuple[Member, ...]) -> Removal:
    services = call.services
    refusal = hint = ""
    try:
        services.membership.require_registrar()
        require_leavable(member, members)
    except ConfigError as error:
        refusal, hint = str(error), error.hint
    known = leaving.still_known(services.settings, member)
    return Removal(
        refusal=refusal,
        hint=hint,
        members_left=len(members) - 1,
        tokens_voided=0 if refusal else len(services.domain.tokens(call.caller)),
        directory=member.directory.address if member.directory else "",
        still_known=convert(known, list[StillKnown], from_attributes=True),
    )


OPERATIONS = (
    Operation(
        "GET",
        "/members/{member}/changes",
        "member_changes.preview",
        "What handing the role of the master to a member, or taking it out, would change; nothing is changed",
        Action.READ_DOMAIN,
        _preview,
        MemberChanges,
        refusals={404: "No such member."},
    ),
)
