"""Tokens: those that keys of the instance are on, how each does, and trying one; a PIN is never shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages.acts import act
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import read_form
from vouchd.agent.pages.rendering import Pages
from vouchd.api.services import Services
from vouchd.api.tokens import KeyTrial, Token, TokenTrial
from vouchd.core.facts import Caller
from vouchd.errors import VouchdError
from vouchd.instance.certificates.host_tokens import GOOD


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token, and how it does in a word."""

    token: Token
    condition: Condition


@dataclass(frozen=True, slots=True)
class TokenPages:
    """One page, and the trials that it starts."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All tokens."""
        return await self._page(request, caller)

    async def test(self, request: web.Request, caller: Caller) -> web.Response:
        """Sign with each key on the token of that label."""
        form = await read_form(request, self.pages.tokens)
        label = form.text("label")
        try:
            trials: list[KeyTrial] = await act(
                self.services, caller, "tokens.test", {"token": label}, body=TokenTrial()
            )
        except VouchdError as error:
            return await self._page(request, caller, error=error)
        return await self._page(request, caller, tried=label, trials=trials)

    async def _page(
        self,
        request: web.Request,
        caller: Caller,
        *,
        error: VouchdError | None = None,
        tried: str = "",
        trials: Sequence[KeyTrial] = (),
    ) -> web.Response:
        tokens: list[Token] = await act(self.services, caller, "tokens.list", {})
        rows = [TokenRow(token, _condition(token)) for token in tokens]
        failed = any(trial.result != GOOD for trial in trials)
        facts = {"rows": rows, "tried": tried, "trials": trials, "failed": failed}
        return self.pages.page(request, caller, "tokens.html", error=error, **facts)


def _condition(token: Token) -> Condition:
    if token.usable:
        return Condition(Tone.GOOD, "In use")
    if token.usable is None:
        return Condition(Tone.NEUTRAL, "Not in use", token.state)
    return Condition(Tone.BAD, "Fails", token.state)
