"""One member: what handing the role over or taking it out would change, and doing so; and who may join, by tokens."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.forms import read_form, require_typed
from vouchd.agent.pages.rendering import Pages, see_done
from vouchd.api.cloning import JoinToken, JoinTokenRequest, LeftMember, TakingOut
from vouchd.api.member_changes import MemberChanges
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError


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
