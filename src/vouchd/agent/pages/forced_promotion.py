"""This clone made the master where the one before is gone for good: what is lost, what is fenced off, and the order.

The order is signed with the administrator's key, which stays with him: the page gives out what is to be signed, and
takes the signature. Who orders it is whose certificate the browser came with.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.identity import peer_certificate
from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.forms import read_form, require_typed
from vouchd.agent.pages.rendering import Pages, see_done
from vouchd.api.cloning import MovedRole
from vouchd.api.forced_promotion import ForcedPromotion, SignedOrder
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, ConfigError, VouchdError
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for

_FILE = "statement.bin"


@dataclass(frozen=True, slots=True)
class ForcedPromotionPage:
    """The page; the act is an operation of the table."""

    services: Services
    pages: Pages

    async def shown(self, request: web.Request, caller: Caller) -> web.Response:
        """What it would change, and how it is ordered."""
        return await self._page(request, caller)

    async def statement(self, _: web.Request, caller: Caller) -> web.Response:
        """What is to be signed, as a file."""
        changes = await self._changes(caller)
        if not changes.statement:
            raise ConfigError(changes.refusal, hint=changes.hint)
        return web.Response(
            body=changes.statement,
            content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="{_FILE}"'},
        )

    async def carry_out(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the role, where it was typed what is passed over and the signature is right."""
        form = await read_form(request, self.pages.tokens)
        changes = await self._changes(caller)
        try:
            if changes.refusal:
                raise ConfigError(changes.refusal, hint=changes.hint)
            require_typed(form, changes.former or changes.member)
            signature, term = _signature(form.document("signature")), form.text("term")
            if not (term.isascii() and term.isdigit()):
                raise BadInput("the term is missing", hint="load the page again")
            certificate = base64.b64encode(peer_certificate(request) or b"").decode()
            body = SignedOrder(term=int(term[:9]), certificate=certificate, signature=signature)
            done: MovedRole = await act(self.services, caller, "forced_promotion.claim", {}, body=body)
        except VouchdError as error:
            return await self._page(request, caller, error)
        return see_done(menu.CLONES, f"{done.master} is the master, and takes the role within seconds.")

    async def _changes(self, caller: Caller) -> ForcedPromotion:
        changes: ForcedPromotion = await act(self.services, caller, "forced_promotion.preview", {})
        return changes

    async def _page(self, request: web.Request, caller: Caller, error: VouchdError | None = None) -> web.Response:
        return self.pages.page(
            request,
            caller,
            "forced_promotion.html",
            changes=await self._changes(caller),
            command=_command(peer_certificate(request)),
            file=_FILE,
            error=error,
        )


def _command(certificate_der: bytes | None) -> str:
    """How openssl signs the file with the key of that certificate, by the algorithm that the members expect."""
    if certificate_der is None:  # pragma: no cover  nobody comes to the pages without one
        return ""
    digest = ALGORITHMS[algorithms_for(load_certificate(certificate_der).public_key())[0]].digest
    if not digest:  # the algorithm hashes inside
        return f"openssl pkeyutl -sign -rawin -inkey admin.key -in {_FILE} -out statement.sig"
    return f"openssl dgst -{digest.replace('-', '').lower()} -sign admin.key -out statement.sig {_FILE}"


def _signature(content: bytes) -> bytes:
    """The signature as openssl wrote it, or base64 of it that was pasted."""
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except ValueError:
        return content
