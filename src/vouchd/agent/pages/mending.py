"""What was added to a CA taken away again: an issuing point retired, or let come again, and a certificate removed."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.forms import Form, read_form, require_number_lost, require_typed
from vouchd.agent.pages.rendering import Pages, see_done
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError


@dataclass(frozen=True, slots=True)
class MendingPages:
    """The page of an issuing point that is to be retired, and what the page of a CA does besides."""

    services: Services
    pages: Pages

    async def retiring(self, request: web.Request, caller: Caller) -> web.Response:
        """What retiring the issuing point would change."""
        return await self._preview(request, caller)

    async def retire(self, request: web.Request, caller: Caller) -> web.Response:
        """Retire it; where thousands of certificates would no longer be revoked only with their number."""
        form = await read_form(request, self.pages.tokens)
        place = _place(request)
        try:
            change = await act(self.services, caller, "retirement.preview", place)
            require_number_lost(form, change.lost)
            await act(self.services, caller, "retirement.retire", place)
        except BadInput as error:
            return await self._preview(request, caller, error)
        return see_done(_page_of(place), "The issuing point was retired.")

    async def restore(self, request: web.Request, caller: Caller) -> web.Response:
        """Let CRLs of a scope that was retired be taken again."""
        await read_form(request, self.pages.tokens)
        place = _place(request)
        await act(self.services, caller, "retirement.restore", place)
        return see_done(_page_of(place), "CRLs of that scope are taken again.")

    async def remove_certificate(self, request: web.Request, caller: Caller) -> web.Response:
        """Take one certificate out of the history of the CA's keys."""
        form = await read_form(request, self.pages.tokens)
        require_typed(form, form.text("certificate")[:8])
        place = {"authority": request.match_info["id"], "certificate": form.text("certificate")}
        await act(self.services, caller, "authorities.remove_certificate", place)
        return see_done(_page_of(place), "The certificate was taken out of the CA's history.")

    async def declare_compromised(self, request: web.Request, caller: Caller) -> web.Response:
        """Have all that the CA issued be answered revoked, or tryLater."""
        form = await self._confirmed(request, caller)
        body = {name: form.text(name) for name in ("since", "answer") if form.text(name)}
        await act(self.services, caller, "authorities.compromised", _authority(request), body=body)
        return see_done(_page_of(_authority(request)), "The CA was declared compromised.")

    async def withdraw_compromised(self, request: web.Request, caller: Caller) -> web.Response:
        """Take that declaration back."""
        await self._confirmed(request, caller)
        await act(self.services, caller, "authorities.not_compromised", _authority(request))
        return see_done(_page_of(_authority(request)), "The declaration was taken back.")

    async def _confirmed(self, request: web.Request, caller: Caller) -> Form:
        """The form in which the label of the CA was typed. Raises: BadInput."""
        form = await read_form(request, self.pages.tokens)
        authority = await act(self.services, caller, "authorities.get", _authority(request))
        require_typed(form, authority.label)
        return form

    async def _preview(self, request: web.Request, caller: Caller, error: VouchdError | None = None) -> web.Response:
        place = _place(request)
        change = await act(self.services, caller, "retirement.preview", place)
        return self.pages.page(request, caller, "retire.html", change=change, error=error)


def _authority(request: web.Request) -> dict[str, str]:
    return {"authority": request.match_info["id"]}


def _place(request: web.Request) -> dict[str, str]:
    return {"authority": request.match_info["id"], "scope": request.match_info["scope"]}


def _page_of(place: dict[str, str]) -> str:
    return f"{menu.AUTHORITIES}/{place['authority']}"
