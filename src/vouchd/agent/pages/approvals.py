"""Approvals: what one agent asked for, with all that will be done, and the decision of a second one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import read_form
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.approvals import Approval, FourEyes
from vouchd.api.operation import operation_of
from vouchd.api.services import Services
from vouchd.core.approval_facts import ApprovalState
from vouchd.core.facts import Caller
from vouchd.errors import VouchdError
from vouchd.service.permission import Action
from vouchd.settings.four_eyes import Guarded

_TONES = {
    ApprovalState.WAITING: Tone.INFO,
    ApprovalState.APPROVED: Tone.WARNING,
    ApprovalState.DONE: Tone.GOOD,
    ApprovalState.FAILED: Tone.BAD,
}


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """One of them; `arguments` are name and value of what was given, `may` what the caller may do about it."""

    approval: Approval
    condition: Condition
    arguments: tuple[tuple[str, str], ...]
    own: bool
    may: bool


@dataclass(frozen=True, slots=True)
class ApprovalPages:
    """One page, and the two decisions."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """Those that wait first, then what became of others."""
        return await self._page(request, caller)

    async def approve(self, request: web.Request, caller: Caller) -> web.Response:
        """Have it carried out."""
        return await self._decide(request, caller, "approvals.approve")

    async def deny(self, request: web.Request, caller: Caller) -> web.Response:
        """Have it not be done."""
        return await self._decide(request, caller, "approvals.deny")

    async def _decide(self, request: web.Request, caller: Caller, name: str) -> web.Response:
        await read_form(request, self.pages.tokens)
        place = {"approval": request.match_info["approval"]}
        try:
            decided: Approval = await act(self.services, caller, name, place)
        except VouchdError as error:
            return await self._page(request, caller, error)
        words = "; ".join(decided.changes or ())
        return see_done(menu.APPROVALS, f"{words[:1].upper()}{words[1:]}.")

    async def _page(self, request: web.Request, caller: Caller, error: VouchdError | None = None) -> web.Response:
        listed: list[Approval] = await act(self.services, caller, "approvals.list", {})
        setting: FourEyes = await act(self.services, caller, "approvals.setting", {})
        rows = [self._row(one, caller) for one in reversed(listed)]
        return self.pages.page(
            request,
            caller,
            "approvals.html",
            waiting=[row for row in rows if row.approval.state is ApprovalState.WAITING],
            over=[row for row in rows if row.approval.state is not ApprovalState.WAITING],
            setting=setting,
            error=error,
            done=done_text(request),
        )

    def _row(self, approval: Approval, caller: Caller) -> ApprovalRow:
        own = approval.requester == caller.name
        access = operation_of(approval.operation).access if approval.operation in set(Guarded) else None
        may = isinstance(access, Action) and self.pages.permission.grants(caller, access)
        condition = Condition(_TONES.get(approval.state, Tone.NEUTRAL), approval.state.capitalize())
        return ApprovalRow(approval, condition, _arguments(approval), own=own, may=may)


def _arguments(approval: Approval) -> tuple[tuple[str, str], ...]:
    query, body = dict(parse_qsl(approval.query)), json.loads(approval.body) if approval.body else {}
    return tuple(
        (name, value if isinstance(value, str) else json.dumps(value, indent=1))
        for name, value in (query | body).items()
    )
