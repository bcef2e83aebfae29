"""CRL Sources: where CRLs are fetched from, how each source does, and the acts on them."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import read_form, require_typed
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.services import Services
from vouchd.api.sources import Source, SourceChange
from vouchd.core.facts import Caller
from vouchd.errors import SourceError, VouchdError


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source as the page shows it."""

    source: Source
    condition: Condition


@dataclass(frozen=True, slots=True)
class SourcePages:
    """One page, and what its forms do; each is an operation of the table."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All sources."""
        return await self._page(request, caller)

    async def add(self, request: web.Request, caller: Caller) -> web.Response:
        """Have CRLs fetched from one more; what was typed stays when that is refused."""
        form = await read_form(request, self.pages.tokens)
        values = {name: form.text(name) for name in ("name", "url", "interval")}
        body = {"name": values["name"], "url": values["url"], "interval_seconds": values["interval"]}
        try:
            await act(self.services, caller, "sources.add", {}, body=body)
        except VouchdError as error:
            return await self._page(request, caller, error=error, values=values)
        return see_done(menu.SOURCES, f"{values['name']} is fetched from; the instance restarts with it.")

    async def set_paused(self, request: web.Request, caller: Caller) -> web.Response:
        """Pause a source, or have it go on."""
        paused = (await read_form(request, self.pages.tokens)).text("paused") == "yes"
        await self._act(request, caller, "sources.change", SourceChange(paused=paused))
        words = "is paused" if paused else "is fetched from again"
        return see_done(menu.SOURCES, f"{request.match_info['name']} {words}; the instance restarts with it.")

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        """Take a source away."""
        form = await read_form(request, self.pages.tokens)
        require_typed(form, request.match_info["name"])
        await self._act(request, caller, "sources.remove", None)
        return see_done(menu.SOURCES, f"{request.match_info['name']} was removed; the CRLs that came from it stay.")

    async def fetch(self, request: web.Request, caller: Caller) -> web.Response:
        """Ask a source now."""
        await read_form(request, self.pages.tokens)
        source: Source = await self._act(request, caller, "sources.fetch", None)
        if source.last_error:
            return await self._page(request, caller, error=SourceError(f"{source.name}: {source.last_error}"))
        return see_done(menu.SOURCES, f"{source.name} was asked: {source.accepted} CRLs taken from it so far.")

    async def _act(self, request: web.Request, caller: Caller, name: str, body: object) -> Source:
        place = {"source": request.match_info["name"]}
        done: Source = await act(self.services, caller, name, place, body=body)
        return done

    async def _page(
        self,
        request: web.Request,
        caller: Caller,
        *,
        error: VouchdError | None = None,
        values: dict[str, str] | None = None,
    ) -> web.Response:
        sources: list[Source] = await act(self.services, caller, "sources.list", {})
        return self.pages.page(
            request,
            caller,
            "sources.html",
            rows=[SourceRow(one, _condition(one)) for one in sources],
            error=error,
            values=values or {},
            done=done_text(request),
        )


def _condition(source: Source) -> Condition:
    if source.paused:
        return Condition(Tone.NEUTRAL, "Paused", "It is asked only when somebody says so.")
    if source.last_error:
        return Condition(Tone.BAD, "Failing", source.last_error)
    if not source.attempts:
        return Condition(Tone.NEUTRAL, "Not asked yet")
    return Condition(Tone.GOOD, "Good")
