"""Templates -> HTML responses, with the Content-Security-Policy under which the pages live."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from vouchd import __version__
from vouchd.agent.identity import peer_certificate
from vouchd.agent.pages import showing
from vouchd.agent.pages.forms import FormTokens
from vouchd.agent.pages.menu import SECTIONS, entries
from vouchd.agent.pages.static import address
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS
from vouchd.core.facts import Caller
from vouchd.core.ports import Clock
from vouchd.errors import VouchdError, outcome
from vouchd.service.permission import Permission
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout

# Everything comes from this port itself, in files; nothing inline, nothing from elsewhere, no framing.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# What a page says was done comes back with the browser: sealed, so that no link can put words into its mouth.
_SEAL_KEY = secrets.token_bytes(32)
_TEMPLATES = "vouchd.agent.pages"
FRAGMENT = "fragment"  # query parameter: only the part of the page that is refreshed


@dataclass(frozen=True, slots=True)
class Instance:
    """What the head of every page says of whose pages these are; `domain` is empty outside a set."""

    name: str
    domain: str
    role: str

    @classmethod
    def of(cls, layout: Layout, settings: Settings) -> Instance:
        """The instance of these settings: by host and port in a set, alone by its folder."""
        if not settings.of_set.host:
            return cls(layout.root.name, "", "")
        role = "clone" if settings.refresh_seconds == CLONE_REFRESH_SECONDS else "master"
        return cls(settings.member_id, settings.of_set.domain, role)


@dataclass(frozen=True, slots=True)
class Pages:
    """Renders the templates of this package for whoever asks."""

    environment: Environment
    permission: Permission
    tokens: FormTokens
    clock: Clock

    @classmethod
    def of(cls, permission: Permission, tokens: FormTokens, clock: Clock, instance: Instance) -> Pages:
        """The pages of that instance."""
        return cls(environment_of(instance, _TEMPLATES), permission, tokens, clock)

    def page(
        self, request: web.Request, caller: Caller, template: str, *, error: VouchdError | None = None, **facts: Any
    ) -> web.Response:
        """The template as a whole page, or only its part that changes when the request asks for that.

        With the `error` of an act the page says it, and has its HTTP status: what was typed can be mended there.
        """
        name = f"_{template}" if FRAGMENT in request.query else template
        html = self.environment.get_template(name).render(
            now=self.clock.now(),
            caller=caller,
            path=request.path,
            menu=entries(self.permission, caller),
            sections=SECTIONS,
            token=self.tokens.token(peer_certificate(request) or b""),
            may=lambda action: self.permission.grants(caller, action),
            error=error,
            **facts,
        )
        return html_response(html, outcome(error).http_status if error else 200)

    def error(self, request: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
        """The page that stands for an error of a request."""
        html = self.environment.get_template("error.html").render(
            now=self.clock.now(),
            error=error,
            status=status,
            identified=peer_certificate(request) is not None,
            path=request.path,
            menu=(),
            caller=None,
        )
        return html_response(html, status)


def environment_of(instance: Instance, *packages: str) -> Environment:
    """Templates of these packages, the first one's before the others', on pages of that instance."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        utc=showing.utc,
        iso=showing.iso,
        seconds=showing.seconds_of,
        serial=showing.serial_text,
        number=showing.number_text,
        duration=showing.duration,
        reason=showing.reason_text,
        fingerprint=showing.fingerprint_text,
        size=showing.size_text,
    )
    environment.globals.update(version=__version__, address=address, apart=showing.apart, instance=instance)
    return environment


def see_other(location: str) -> web.Response:
    """Look at `location` next, by GET: what a form that has done its work answers."""
    return web.Response(status=303, headers={"Location": location, "Content-Security-Policy": PAGE_POLICY})


def see_done(path: str, text: str) -> web.Response:
    """Look at `path` next, which says what was done: `text`."""
    return see_other(done_address(path, text))


def done_address(path: str, text: str) -> str:
    """The address of a page of ours that says what was done."""
    return f"{path}?done={quote(text)}&seal={_seal(path, text)}"


def done_text(request: web.Request) -> str:
    """What this process said was done, for the page that it sends the browser to; of words from elsewhere nothing."""
    text, seal = request.query.get("done", ""), request.query.get("seal", "")
    expected = _seal(quote(request.path), text).encode()
    return text if hmac.compare_digest(expected, seal.encode("utf-8", "replace")) else ""


def _seal(path: str, text: str) -> str:
    sealed = f"{path}\n{text}".encode("utf-8", "replace")
    return hmac.new(_SEAL_KEY, sealed, hashlib.sha256).hexdigest()[:32]


def html_response(text: str, status: int) -> web.Response:
    """A page."""
    return web.Response(
        text=text, status=status, content_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY}
    )
