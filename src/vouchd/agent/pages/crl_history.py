"""The CRLs of an issuing point that are kept, and what differs between two of them, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from vouchd.agent.pages.acts import act
from vouchd.agent.pages.rendering import Pages
from vouchd.api.authorities import Authority
from vouchd.api.crl_history import CRLDifference, KeptCRL, WhichTwo
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import VouchdError

PART = 100


@dataclass(frozen=True, slots=True)
class CRLHistoryPages:
    """The list, in which two are chosen, and their difference."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """The CRLs that are kept."""
        return await self._list(request, caller)

    async def compared(self, request: web.Request, caller: Caller) -> web.Response:
        """What differs between the two that were chosen."""
        chosen = {name: request.query.get(name, "") for name in ("before", "after")}
        skip = int(text) if (text := request.query.get("skip", "0")[:9]).isascii() and text.isdigit() else 0
        wanted = WhichTwo(before=chosen["before"], after=chosen["after"], skip=skip, limit=PART)
        try:
            difference: CRLDifference = await act(
                self.services, caller, "crl_history.difference", _place(request), query=wanted
            )
        except VouchdError as error:
            return await self._list(request, caller, error)
        total = difference.came + difference.went + difference.changed
        return self.pages.page(
            request,
            caller,
            "crl_difference.html",
            authority=await self._authority(request, caller),
            scope=request.match_info["scope"],
            difference=difference,
            total=total,
            first=min(skip + 1, total),
            last=min(skip + PART, total),
            earlier="?" + urlencode({**chosen, "skip": max(0, skip - PART)}) if skip else "",
            later="?" + urlencode({**chosen, "skip": skip + PART}) if skip + PART < total else "",
        )

    async def _list(self, request: web.Request, caller: Caller, error: VouchdError | None = None) -> web.Response:
        kept: list[KeptCRL] = await act(self.services, caller, "crl_history.list", _place(request))
        return self.pages.page(
            request,
            caller,
            "crl_history.html",
            authority=await self._authority(request, caller),
            scope=request.match_info["scope"],
            kept=kept,
            error=error,
            most=self.services.settings.former_crls,
            most_bytes=self.services.settings.former_crl_bytes,
        )

    async def _authority(self, request: web.Request, caller: Caller) -> Authority:
        place = {"authority": request.match_info["id"]}
        authority: Authority = await act(self.services, caller, "authorities.get", place)
        return authority


def _place(request: web.Request) -> dict[str, str]:
    return {"authority": request.match_info["id"], "scope": request.match_info["scope"]}
