"""Add Certificate Revocation List: given, looked at, confirmed."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import carry_out
from vouchd.agent.pages.forms import read_form, require_number_lost
from vouchd.agent.pages.rendering import Pages, see_done
from vouchd.agent.pages.staging import Staging
from vouchd.api.crls import Accepted
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError, outcome
from vouchd.service.previewing import Preview, Previewing
from vouchd.threads import in_thread


@dataclass(frozen=True, slots=True)
class CRLPages:
    """The two steps of adding a CRL."""

    services: Services
    pages: Pages
    previewing: Previewing
    staging: Staging

    async def adding(self, request: web.Request, caller: Caller) -> web.Response:
        """The form."""
        return self.pages.page(request, caller, "add_crl.html", error=None)

    async def preview(self, request: web.Request, caller: Caller) -> web.Response:
        """What the CRL would change, with the button that takes it."""
        form = await read_form(request, self.pages.tokens)
        try:
            crl = form.document("crl")
            preview = await in_thread(lambda: self._preview(crl, caller))
        except VouchdError as error:
            return self.pages.page(request, caller, "add_crl.html", status=outcome(error).http_status, error=error)
        staged = self.staging.put(caller.name, crl, self.services.clock.now()) if preview.acceptable else ""
        return self.pages.page(request, caller, "preview_crl.html", preview=preview, staged=staged, error=None)

    def _preview(self, crl: bytes, caller: Caller) -> Preview:
        with self.services.ingest_lock():
            return self.previewing.preview(crl, caller, self.services.clock.now())

    async def commit(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the CRL that was looked at."""
        form = await read_form(request, self.pages.tokens)
        try:
            crl = self.staging.take(caller.name, form.text("staged"), self.services.clock.now())
            preview = await in_thread(lambda: self._preview(crl, caller))
        except VouchdError as error:
            return self.pages.page(request, caller, "add_crl.html", status=outcome(error).http_status, error=error)
        try:
            require_number_lost(form, preview.lost)
        except BadInput as error:
            staged = self.staging.put(caller.name, crl, self.services.clock.now())
            facts = {"preview": preview, "staged": staged, "error": error}
            return self.pages.page(request, caller, "preview_crl.html", status=400, **facts)
        try:
            taken: Accepted = await in_thread(lambda: carry_out(self.services, caller, "crls.add", {}, body=crl))
        except VouchdError as error:
            return self.pages.page(request, caller, "add_crl.html", status=outcome(error).http_status, error=error)
        done = "The CRL was added" + (" and is answered from." if taken.served else "; the workers are loading it.")
        return see_done(f"{menu.AUTHORITIES}/{taken.issuing_points[0].authority}", done)
