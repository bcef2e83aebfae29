"""Signers: the keys of the set, where each is on its way, who is in the way, and the acts that move them along."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.forms import Form, read_form, require_typed
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.services import Services
from vouchd.api.shapes import NewKey
from vouchd.api.signers import SignerInstallation
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError
from vouchd.pkix.signatures import ALGORITHMS


@dataclass(frozen=True, slots=True)
class SignerPages:
    """One page, and what its forms do; each is an operation of the table."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All signers with their keys."""
        return await self._page(request, caller)

    async def add(self, request: web.Request, caller: Caller) -> web.Response:
        """Make a signer with its first key, whose request the page shows then."""
        form = await read_form(request, self.pages.tokens)
        body = {name: form.text(name) for name in ("nickname", "subject", "algorithm") if form.text(name)}
        return await self._done(
            request, caller, "signers.add", body, "The signer was added; its request is below.", form
        )

    async def request(self, request: web.Request, caller: Caller) -> web.Response:
        """Make a new key and its request, which the page shows then."""
        await read_form(request, self.pages.tokens)
        return await self._done(request, caller, "signers.request", NewKey(), "The request is below.")

    async def install(self, request: web.Request, caller: Caller) -> web.Response:
        """Take a certificate in, and have the set switch to it."""
        form = await read_form(request, self.pages.tokens)
        pasted = form.text("certificate")
        if not pasted:
            error = BadInput("no certificate was pasted", hint="PEM, with the CAs above it")
            return await self._page(request, caller, error)
        body = SignerInstallation(certificate=pasted)
        words = "The certificate was taken in; the set switches when every member could sign with it."
        return await self._done(request, caller, "signers.install", body, words, form)

    async def switch(self, request: web.Request, caller: Caller) -> web.Response:
        """Have the set sign with another key."""
        body = await self._choice(request)
        words = "The set switches when every member could sign with it."
        return await self._done(request, caller, "signers.switch", body, words)

    async def retire(self, request: web.Request, caller: Caller) -> web.Response:
        """Have a key sign no more."""
        form = await read_form(request, self.pages.tokens)
        number = form.text("number")
        try:
            if number:  # else it is said below that it is missing
                require_typed(form, f"{request.match_info['nickname']} {number}")
        except BadInput as error:
            return await self._page(request, caller, error)
        return await self._done(request, caller, "signers.retire", {"number": number}, "The key was retired.")

    async def _choice(self, request: web.Request) -> dict[str, str]:
        """Which of the keys was chosen, in the words of the form."""
        return {"number": (await read_form(request, self.pages.tokens)).text("number")}

    async def _done(
        self, request: web.Request, caller: Caller, name: str, body: object, words: str, form: Form | None = None
    ) -> web.Response:
        """What the page says after that operation; an error stands above what was typed."""
        try:
            await act(self.services, caller, name, dict(request.match_info), body=body)
        except VouchdError as error:
            return await self._page(request, caller, error, form)
        return see_done(menu.SIGNERS, words)

    async def _page(
        self, request: web.Request, caller: Caller, error: VouchdError | None = None, form: Form | None = None
    ) -> web.Response:
        signers = await act(self.services, caller, "signers.list", {})
        facts = {
            "signers": signers,
            "algorithms": list(ALGORITHMS),
            "values": form.fields if form else {},
            "at": request.match_info.get("nickname", ""),
            "done": done_text(request),
        }
        return self.pages.page(request, caller, "signers.html", error=error, **facts)
