"""Settings: what CS.cfg says and what would hold without it; a change is shown before it is made."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.forms import Form, read_form
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.configuration import Configuration, ConfigurationChange, Setting, SettingsToChange, SettingsToTry
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError

_LONGEST = {"key": 300, "value": 4096}


@dataclass(frozen=True, slots=True)
class SettingsPages:
    """The list, the form for one key, what a change would do, and the restart that takes it on."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """The lines of CS.cfg, or all keys in which the words that are sought occur."""
        words = request.query.get("q", "").lower().split()
        now = await self._configuration(caller)
        chosen = (
            [one for one in now.settings if _has(one, words)] if words else [one for one in now.settings if one.set]
        )
        return self.pages.page(
            request,
            caller,
            "settings.html",
            settings=chosen,
            sought=" ".join(words),
            known=len(now.settings),
            configuration=now,
            done=done_text(request),
        )

    async def changing(self, request: web.Request, caller: Caller) -> web.Response:
        """The form for a key."""
        return await self._form(request, caller, request.query.get("key", ""), None)

    async def preview(self, request: web.Request, caller: Caller) -> web.Response:
        """What the change would do to the file."""
        form = await read_form(request, self.pages.tokens)
        key, value = _wanted(form)
        now = await self._configuration(caller)
        try:
            body = SettingsToTry(changes={key: value})
            change: ConfigurationChange = await act(self.services, caller, "configuration.validate", {}, body=body)
        except VouchdError as error:
            return await self._form(request, caller, key, value, error)
        return self.pages.page(
            request, caller, "preview_setting.html", key=key, value=value, change=change, revision=now.revision
        )

    async def commit(self, request: web.Request, caller: Caller) -> web.Response:
        """Write it, unless the file has been changed since it was shown."""
        form = await read_form(request, self.pages.tokens)
        key, value = _wanted(form)
        body = SettingsToChange(changes={key: value}, revision=form.text("revision"))
        await act(self.services, caller, "configuration.change", {}, body=body)
        return see_done(menu.SETTINGS, f"{key} was changed. The instance goes by it after a restart.")

    async def restart(self, request: web.Request, caller: Caller) -> web.Response:
        """Take on what CS.cfg says."""
        await read_form(request, self.pages.tokens)
        await act(self.services, caller, "instance.restart", {})
        return see_done(menu.SETTINGS, "The instance restarts with these settings; no request is dropped.")

    async def _configuration(self, caller: Caller) -> Configuration:
        now: Configuration = await act(self.services, caller, "configuration.get", {})
        return now

    async def _form(
        self, request: web.Request, caller: Caller, key: str, value: str | None, error: VouchdError | None = None
    ) -> web.Response:
        now = await self._configuration(caller)
        setting = next((one for one in now.settings if one.key == key), None)
        typed = value if value is not None or setting is None or not setting.set else setting.value
        return self.pages.page(
            request, caller, "change_setting.html", key=key, value=typed, setting=setting, error=error
        )


def _wanted(form: Form) -> tuple[str, str | None]:
    """Key and text of the form; the text is None where the line is to be taken out. Raises: BadInput."""
    for name, longest in _LONGEST.items():
        if len(form.text(name)) > longest:
            raise BadInput(f"the {name} is longer than {longest} characters")
    if not form.text("key"):
        raise BadInput("no key was named", hint="docs/use/configuration.md has all of them")
    return form.text("key"), None if form.text("default") == "yes" else form.text("value")


def _has(setting: Setting, words: list[str]) -> bool:
    text = f"{setting.key} {setting.about} {setting.value}".lower()
    return all(word in text for word in words)
