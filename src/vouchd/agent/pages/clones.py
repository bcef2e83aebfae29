"""Clones: the members of the set, what each has, how far behind it is, how the last comparison went; and each of them.

The page of one member shows what handing the role over or taking it out would change, and does so. Who may join does it
with a token.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act, carry_out
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import read_form, require_typed
from vouchd.agent.pages.rendering import Pages, done_text, see_done, see_other
from vouchd.agent.pages.showing import duration
from vouchd.api.cloning import JoinToken, JoinTokenRequest, KnownToken, LeftMember, SetRenewal, TakingOut
from vouchd.api.member_changes import MemberChanges
from vouchd.api.members import Place, VerificationRun, read_shape
from vouchd.api.model import plain
from vouchd.api.services import Services
from vouchd.cloning.verdicts import DIFFERENT, IDENTICAL, NO_ANSWER, Verification, VerifiedMember
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, ConfigError, NotFound, StoreUnavailable, VouchdError
from vouchd.instance.report import InstanceReport, MemberReport, ServerReport
from vouchd.threads import in_thread

_SKEW_SECONDS = 10
_COMPARED = {
    IDENTICAL: Condition(Tone.GOOD, "Identical"),
    DIFFERENT: Condition(Tone.BAD, "Different"),
    NO_ANSWER: Condition(Tone.WARNING, "No answer"),
}


@dataclass(frozen=True, slots=True)
class PointLag:
    """Of one issuing point: which CRL a member answers from, and how that stands to the one here, in words."""

    label: str
    scope: str
    number: int | None
    words: str


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member; `seen_at` is None for this instance and for one that was never reached."""

    id: str
    role: str
    here: bool
    condition: Condition
    points: tuple[PointLag, ...] = ()
    seen_at: int | None = None
    skew_seconds: int = 0
    verified: VerifiedMember | None = None
    compared: Condition | None = None
    replication: Condition | None = None  # of its directory server with this instance's

    @property
    def skewed(self) -> bool:
        """Whether its clock differs by more than a question may take on its way."""
        return abs(self.skew_seconds) > _SKEW_SECONDS


@dataclass(frozen=True, slots=True)
class ClonePages:
    """One page, and the comparison that it starts."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All members, this one first."""
        return await self._page(request, caller)

    async def compare(self, request: web.Request, caller: Caller) -> web.Response:
        """Compare this instance with the others now."""
        await read_form(request, self.pages.tokens)
        try:
            await act(self.services, caller, "members.verify", {}, body=VerificationRun())
        except VouchdError as error:
            return await self._page(request, caller, error=error)
        return see_other(menu.CLONES)

    async def _page(self, request: web.Request, caller: Caller, error: VouchdError | None = None) -> web.Response:
        report = self.services.running.report()
        rows, verification, away = await in_thread(lambda: self._rows(caller, report))
        tokens = await in_thread(lambda: self._tokens(caller)) if rows and not away else None
        domain = self.services.settings.of_set.domain
        renewal = await in_thread(lambda: self._renewal(caller))
        return self.pages.page(
            request,
            caller,
            "clones.html",
            error=error,
            rows=rows,
            away=away,
            verification=verification,
            renewal=renewal,
            every=self.services.settings.of_set.verify_seconds,
            domain=domain,
            replicating=report.replication is not None,
            tokens=tokens,
            done=done_text(request),
        )

    def _tokens(self, caller: Caller) -> list[KnownToken] | None:
        """The join tokens that are good; None where that cannot be told, as where this member keeps a copy alone."""
        try:
            tokens: list[KnownToken] = carry_out(self.services, caller, "cloning.list_tokens", {})
        except (ConfigError, StoreUnavailable):
            return None
        return tokens

    def _renewal(self, caller: Caller) -> SetRenewal:
        """How far the renewal of what a member knew that was taken out is; as of none while the registry is away."""
        try:
            state: SetRenewal = carry_out(self.services, caller, "cloning.renewal", {})
        except VouchdError:
            return SetRenewal(renewing=False, steps=[])
        return state

    def _compared(self, caller: Caller) -> Verification | None:
        """The newest comparison; None where nothing was compared yet."""
        try:
            return read_shape(plain(carry_out(self.services, caller, "members.verification", {})))
        except NotFound:
            return None

    def _rows(self, caller: Caller, report: InstanceReport) -> tuple[tuple[MemberRow, ...], Verification | None, str]:
        """The rows, the newest comparison, and why the registry cannot be read, which is empty when it can."""
        verification = self._compared(caller)
        try:
            place: Place = carry_out(self.services, caller, "members.place", {})
        except NotFound:  # in no set
            return (), verification, ""
        away = place.registry_error
        if away and not report.members:
            return (), verification, away
        verdicts = {member.id: member for member in verification.members} if verification else {}
        others = (_other(member, report, verdicts.get(member.id)) for member in report.members)
        return (_own(place.this_instance, place.role, report), *others), verification, away


def _own(member_id: str, role: str, report: InstanceReport) -> MemberRow:
    late = f"Answers tryLater for {', '.join(report.behind)}: a newer CRL is known and not answered from yet."
    condition = Condition(Tone.BAD, "Behind", late) if report.behind else Condition(Tone.GOOD, "Up to date")
    points = tuple(PointLag(one.label, one.scope_id, one.crl_number, "in use") for one in report.issuing_points)
    return MemberRow(member_id, role, here=True, condition=condition, points=points)


def _other(member: MemberReport, report: InstanceReport, verified: VerifiedMember | None) -> MemberRow:
    lags = {(authority, scope): seconds for authority, scope, seconds in member.lags}
    numbers = member.crl_numbers(report.issuing_points)
    points = tuple(
        PointLag(one.label, one.scope_id, numbers.get(place), _words(lags.get(place, 0)))
        for one, place in ((one, (one.authority_id, one.scope_id)) for one in report.issuing_points)
    )
    return MemberRow(
        member.id,
        member.role,
        here=False,
        condition=_condition(member),
        points=points,
        seen_at=member.seen_at,
        skew_seconds=member.skew_seconds,
        verified=verified,
        compared=_COMPARED[verified.state] if verified else None,
        replication=_replication(report, member.id),
    )


def _condition(member: MemberReport) -> Condition:
    if not member.reachable:
        return Condition(Tone.BAD, "Not reachable", member.error)
    worst = max((seconds for _, _, seconds in member.lags), default=0)
    if worst > 0:
        return Condition(Tone.WARNING, "Behind", f"It has had an older CRL for {duration(worst)}.")
    if member.lags:
        return Condition(Tone.WARNING, "Ahead", "It has a newer CRL than this instance.")
    return Condition(Tone.GOOD, "Up to date")


def _replication(report: InstanceReport, member_id: str) -> Condition | None:
    servers = report.replication.servers if report.replication else ()
    return next((_replicating(one) for one in servers if one.member == member_id), None)


def _replicating(server: ServerReport) -> Condition:
    if server.why:
        return Condition(
            Tone.BAD, "Not replicating", f"{server.server}: {server.why}. {_sentence(server.hint)}".rstrip()
        )
    if server.lag_seconds:
        return Condition(Tone.WARNING, "Behind", f"{server.server} lacks changes for {duration(server.lag_seconds)}.")
    if server.ahead:
        return Condition(Tone.WARNING, "Ahead", f"{server.server} has changes that are not here yet.")
    return Condition(Tone.GOOD, "Replicating", server.server)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _words(seconds: int) -> str:
    if not seconds:
        return "the same"
    return f"older, for {duration(seconds)}" if seconds > 0 else f"newer, for {duration(-seconds)}"


@dataclass(frozen=True, slots=True)
class MemberPages:
    """The pages behind that of the clones; each act is an operation of the table."""

    services: Services
    pages: Pages

    async def shown(self, request: web.Request, caller: Caller) -> web.Response:
        """What could be done with a member."""
        return await self._page(request, caller)

    async def promote(self, request: web.Request, caller: Caller) -> web.Response:
        """Hand the role of the master over."""
        return await self._act(request, caller, "cloning.promote")

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the member out, and have those who stay renew what it knew where that is ticked."""
        return await self._act(request, caller, "cloning.remove")

    async def renew(self, request: web.Request, caller: Caller) -> web.Response:
        """Have those who stay renew what a member knew that was taken out before."""
        await read_form(request, self.pages.tokens)
        await act(self.services, caller, "cloning.renew", {})
        return see_done(menu.CLONES, "The keys of the set are being renewed.")

    async def invite(self, request: web.Request, caller: Caller) -> web.Response:
        """Make a join token, which this answer alone shows."""
        minutes = (await read_form(request, self.pages.tokens)).text("minutes")
        if not (minutes.isascii() and minutes.isdigit()):
            raise BadInput(f"{minutes[:20]!r} is no number of minutes", hint="such as 60")
        body = JoinTokenRequest(seconds=60 * int(minutes[:9]))
        made: JoinToken = await act(self.services, caller, "cloning.issue_token", {}, body=body)
        return self.pages.page(request, caller, "join_token.html", made=made)

    async def void(self, request: web.Request, caller: Caller) -> web.Response:
        """Take a join token back."""
        name = (await read_form(request, self.pages.tokens)).text("id")
        await act(self.services, caller, "cloning.void_token", {"join_token": name})
        return see_done(menu.CLONES, f"The join token {name} is void.")

    async def _act(self, request: web.Request, caller: Caller, name: str) -> web.Response:
        form = await read_form(request, self.pages.tokens)
        place = {"member": request.match_info["member"]}
        try:
            require_typed(form, place["member"])
            query = TakingOut(renew=bool(form.text("renew"))) if name == "cloning.remove" else None
            done = await act(self.services, caller, name, place, query=query)
        except VouchdError as error:
            return await self._page(request, caller, error)
        if isinstance(done, LeftMember):
            return see_done(menu.CLONES, f"{done.left} is out of the set.")
        return see_done(menu.CLONES, f"{done.master} is the master, and takes the role within seconds.")

    async def _page(self, request: web.Request, caller: Caller, error: VouchdError | None = None) -> web.Response:
        place = {"member": request.match_info["member"]}
        changes: MemberChanges = await act(self.services, caller, "member_changes.preview", place)
        return self.pages.page(request, caller, "member.html", changes=changes, error=error)
