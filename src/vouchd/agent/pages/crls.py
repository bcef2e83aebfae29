"""CRLs given on a page, looked at, confirmed: the next one, or with its reason one of a lower number.

Between being looked at and being confirmed they are held in memory. Of those that an issuing point
had before, as far as they are kept, two are chosen and compared, page by page.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.forms import Form, read_form, require_number_lost
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.authorities import Authority
from vouchd.api.crl_history import CRLDifference, KeptCRL, WhichTwo
from vouchd.api.crls import Accepted, LowerNumber, Preview, PreviewAs
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, NotFound, VouchdError

PART = 100


@dataclass(frozen=True, slots=True)
class Staged:
    """One CRL as it was given, whose it is and when it came (POSIX seconds)."""

    user: str
    crl: bytes
    at: int


class Staging:
    """One CRL per user, few altogether and not for long; what is dropped is pasted again."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._files: dict[str, Staged] = {}

    def put(self, user: str, crl: bytes, at: int) -> str:
        """Hold the CRL for `user` in place of the one before; returns the name to take it by."""
        self._expire(at)
        self._files = {name: staged for name, staged in self._files.items() if staged.user != user}
        name = hashlib.sha256(crl).hexdigest()
        self._files[f"{user} {name}"] = Staged(user, crl, at)
        while (
            len(self._files) > MAX_STAGED or sum(len(staged.crl) for staged in self._files.values()) > self._max_bytes
        ):
            self._files.pop(next(iter(self._files)))
        return name

    def take(self, user: str, name: str, at: int) -> bytes:
        """The CRL that `user` has put there, which is held no longer. Raises: NotFound."""
        self._expire(at)
        staged = self._files.pop(f"{user} {name}", None)
        if staged is None:
            raise NotFound("the CRL is not held any more", hint="give it once more")
        return staged.crl

    def _expire(self, at: int) -> None:
        self._files = {name: staged for name, staged in self._files.items() if staged.at + KEEP_SECONDS > at}


KEEP_SECONDS = 900
MAX_STAGED = 8


@dataclass(frozen=True, slots=True)
class CRLPages:
    """The two steps of adding a CRL."""

    services: Services
    pages: Pages
    staging: Staging

    async def adding(self, request: web.Request, caller: Caller) -> web.Response:
        """The form."""
        return self.pages.page(request, caller, "add_crl.html")

    async def preview(self, request: web.Request, caller: Caller) -> web.Response:
        """What the CRL would change, with the button that takes it."""
        form = await read_form(request, self.pages.tokens)
        try:
            crl = form.document("crl")
            preview = await self._preview(crl, caller)
        except VouchdError as error:
            return self.pages.page(request, caller, "add_crl.html", error=error)
        staged = self.staging.put(caller.name, crl, self.pages.clock.now()) if preview.acceptable else ""
        return self.pages.page(request, caller, "preview_crl.html", preview=preview, staged=staged)

    async def _preview(self, crl: bytes, caller: Caller) -> Preview:
        preview: Preview = await act(self.services, caller, "crls.preview", {}, body=crl)
        return preview

    async def commit(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the CRL that was looked at."""
        form = await read_form(request, self.pages.tokens)
        try:
            crl = self.staging.take(caller.name, form.text("staged"), self.pages.clock.now())
            preview = await self._preview(crl, caller)
        except VouchdError as error:
            return self.pages.page(request, caller, "add_crl.html", error=error)
        try:
            require_number_lost(form, preview.lost)
        except BadInput as error:
            staged = self.staging.put(caller.name, crl, self.pages.clock.now())
            return self.pages.page(request, caller, "preview_crl.html", error=error, preview=preview, staged=staged)
        try:
            taken: Accepted = await act(self.services, caller, "crls.add", {}, body=crl)
        except VouchdError as error:
            return self.pages.page(request, caller, "add_crl.html", error=error)
        done = "The CRL was added" + (" and is answered from." if taken.served else "; the workers are loading it.")
        return see_done(f"{menu.AUTHORITIES}/{taken.issuing_points[0].authority}", done)


@dataclass(frozen=True, slots=True)
class LowerNumberPages:
    """The two steps for a CRL whose number is lower because one before went up by mistake, for administrators alone."""

    services: Services
    pages: Pages
    staging: Staging

    async def giving(self, request: web.Request, caller: Caller) -> web.Response:
        """The form."""
        return self._form(request, caller)

    async def preview(self, request: web.Request, caller: Caller) -> web.Response:
        """What the CRL would change, with the button that takes it."""
        form = await read_form(request, self.pages.tokens)
        try:
            return await self._shown(request, caller, form.document("crl"), form)
        except VouchdError as error:
            return self._form(request, caller, error, form.text("reason"))

    async def commit(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the CRL that was looked at."""
        form = await read_form(request, self.pages.tokens)
        reason = form.text("reason")
        try:
            crl = self.staging.take(caller.name, form.text("staged"), self.pages.clock.now())
            preview = await self._preview(crl, caller)
        except VouchdError as error:
            return self._form(request, caller, error, reason)
        try:
            require_number_lost(form, preview.lost)
            word = LowerNumber(reason=reason)
            taken = await act(self.services, caller, "crls.add_lower", {}, query=word, body=crl)
        except VouchdError as error:
            return await self._shown(request, caller, crl, form, error)
        served = "is answered from" if taken.served else "the workers are loading it"
        done = f"The CRL with the lower number was taken, and {served}."
        return see_done(menu.LOWER_NUMBER, done)

    async def _preview(self, crl: bytes, caller: Caller) -> Preview:
        lower = PreviewAs(lower_number=True)
        preview: Preview = await act(self.services, caller, "crls.preview", {}, query=lower, body=crl)
        return preview

    async def _shown(
        self, request: web.Request, caller: Caller, crl: bytes, form: Form, error: VouchdError | None = None
    ) -> web.Response:
        preview = await self._preview(crl, caller)
        staged = self.staging.put(caller.name, crl, self.pages.clock.now()) if preview.acceptable else ""
        facts = {"preview": preview, "staged": staged, "reason": form.text("reason")}
        return self.pages.page(request, caller, "preview_lower_number.html", error=error, **facts)

    def _form(
        self, request: web.Request, caller: Caller, error: VouchdError | None = None, reason: str = ""
    ) -> web.Response:
        return self.pages.page(
            request, caller, "lower_number.html", error=error, reason=reason, done=done_text(request)
        )


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
