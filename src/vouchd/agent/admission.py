"""What every request of the agent port passes, outermost first: headers, errors, identity, right, body."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web

from vouchd.agent.routes import ANYONE, INTAKE, Intake, Route
from vouchd.api.operation import Access
from vouchd.core.facts import Caller
from vouchd.errors import PermissionDenied, RequestError, VouchdError, outcome
from vouchd.pkix.textual import PIECE_OCTETS
from vouchd.service.permission import READINGS, Action, Permission
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
_SMALL_OCTETS = 1 << 15
_INTERNAL = "internal error, see the log"
# A page that needs more sets its own Content-Security-Policy; what is set already stays.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Server": "vouchd",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Identifying(Protocol):
    """Knows who sends a request."""

    async def caller(self, request: web.Request) -> Caller:
        """Who it is. Raises: PermissionDenied for nobody who is known."""


class Admission:
    """Turns the handler of a route into one that is only reached by who may use it."""

    def __init__(
        self, identity: Identifying, permission: Permission, body_seconds: float, public_body_seconds: float
    ) -> None:
        """A body has to come in time; less of it for strangers, who could else hold every place with little effort."""
        self._identity = identity
        self._permission = permission
        self._body_seconds = body_seconds
        self._public_body_seconds = public_body_seconds

    def guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler to be registered for `route`."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                response = await self._admit(route, request)
            except VouchdError as error:
                response = route.show_error(request, error, outcome(error).http_status)
            except web.HTTPRedirection as redirection:
                response = web.Response(
                    status=redirection.status, headers={"Location": redirection.headers["Location"]}
                )
            except web.HTTPException as error:
                response = route.show_error(request, RequestError(error.reason), error.status)
            except Exception:  # noqa: BLE001  outermost: a bug must not show its traceback to the client
                _log.exception("agent: %s %s failed", route.method, route.path)
                response = route.show_error(request, VouchdError(_INTERNAL), 500)
            return secured(response)

        return handle

    async def _admit(self, route: Route, request: web.Request) -> web.StreamResponse:
        caller = replace(ANYONE, origin=request.remote or ANYONE.origin)
        if route.access is not Access.PUBLIC:
            caller = await self._identity.caller(request)
            await self._require_right(route, caller)
            require_same_site(route, request)
        return await route.handler(await self._with_body(route, request), caller)

    async def _require_right(self, route: Route, caller: Caller) -> None:
        action = route.access
        if isinstance(action, Action) and not self._permission.grants(caller, action):
            # Refuses, and leaves the record of it.
            await in_thread(lambda: self._permission.allow(caller, action, route.path))

    async def _with_body(self, route: Route, request: web.Request) -> web.Request:
        """The request with its body read or taken in, all of it and no more than the route takes."""
        intake = None if route.intake is None else route.intake()
        if intake is not None:
            request[INTAKE] = intake
        if not request.body_exists:
            return request
        if (request.content_length or 0) > route.max_body_bytes:
            raise web.HTTPRequestEntityTooLarge(route.max_body_bytes, request.content_length or 0)
        limited = request.clone(client_max_size=route.max_body_bytes)
        try:
            public = route.access is Access.PUBLIC
            async with asyncio.timeout(self._public_body_seconds if public else self._body_seconds):
                # A multipart form can be read once only; who asks for it later gets what was read here.
                if limited.content_type.startswith("multipart/"):
                    await _form(limited)
                elif intake is not None:
                    await _take_in(limited, intake, route.max_body_bytes)
                else:
                    await limited.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except ConnectionError as error:  # no fault of ours, and nobody is left who would read of it
            error.__traceback__ = None  # the body keeps the error, which would keep what was taken in of it
            raise web.HTTPBadRequest(reason="broken off") from None
        return limited


async def _take_in(request: web.Request, intake: Intake, limit: int) -> None:
    """Hand the body to the intake as it comes; while some of it is taken in what follows is received."""
    octets, batch = 0, bytearray()
    request.content.set_read_chunk_size(PIECE_OCTETS)
    while piece := await request.content.readany():
        octets += len(piece)
        if octets > limit:
            raise web.HTTPRequestEntityTooLarge(limit, octets)
        batch += piece
        if len(batch) >= PIECE_OCTETS:
            await in_thread(partial(intake.add, bytes(batch)))
            batch.clear()
    if octets <= _SMALL_OCTETS:  # a thread would cost more, and no disk is waited for
        intake.add(bytes(batch))
    else:
        await in_thread(partial(intake.add, bytes(batch)))


async def _form(request: web.Request) -> None:
    """Read a multipart form; one that is none is the client's fault."""
    try:
        await request.post()
    except (ValueError, LookupError, RuntimeError, AssertionError) as error:  # what aiohttp's reader raises for it
        raise web.HTTPBadRequest(reason="not a multipart form") from error


def require_same_site(route: Route, request: web.Request) -> None:
    """Refuse what a page of another site makes a browser send along with its user's certificate (CSRF).

    Programs send neither of the headers; browsers send them and let no script change them. Raises: PermissionDenied.
    """
    if request.method in _SAFE_METHODS and (isinstance(route.access, Access) or route.access in READINGS):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    foreign = site is not None and site not in _OWN_SITES
    if origin is not None and _authority(origin) != request.headers.get("Host", ""):
        foreign = True
    if foreign:
        raise PermissionDenied("sent by the page of another site", hint="open the agent pages and do it there")


def _authority(origin: str) -> str | None:
    """Host and port of an origin; None where it is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def secured(response: web.StreamResponse) -> web.StreamResponse:
    """The response with the security headers that it does not set itself."""
    if not response.prepared:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
    return response
