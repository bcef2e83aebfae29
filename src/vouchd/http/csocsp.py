"""The OCSP service on the agent port, for clients that were told its address there; answered in this process.

The EE port is the one made for load: here nothing is cached, and a request has no part in its counters.
"""

from __future__ import annotations

import logging

from aiohttp import web

from vouchd.core.facts import Caller
from vouchd.errors import MalformedRequest, SigningError, VouchdError, outcome
from vouchd.http.agent import AgentServices
from vouchd.http.cacheable import error_der
from vouchd.http.getpath import decode
from vouchd.http.routes import Access, Route

_log = logging.getLogger(__name__)

PATH = "/ocsp/ee/ocsp"


def routes(services: AgentServices) -> tuple[Route, ...]:
    """GET and POST of OCSP (RFC 6960 appendix A.1)."""

    async def post(request: web.Request, _caller: Caller) -> web.StreamResponse:
        return _answer(services, await request.read())

    async def get(request: web.Request, _caller: Caller) -> web.StreamResponse:
        return _answer(services, decode(request.raw_path.encode("latin-1", "replace")))

    limit = services.settings.responder.max_request_bytes
    return (
        Route("POST", PATH, Access.PUBLIC, post, max_body_bytes=limit, show_error=_show_error),
        Route("GET", PATH, Access.PUBLIC, get, show_error=_show_error),
        Route("GET", PATH + "/{request:.*}", Access.PUBLIC, get, show_error=_show_error),
    )


def _answer(services: AgentServices, request_der: bytes) -> web.StreamResponse:
    try:
        answer = services.responder.answer(request_der, services.clock.now())  # the loop owns the responder
    except SigningError as error:
        _log.error("agent: %s", error)
        return _response(error_der(outcome(error).ocsp_status))
    return _response(answer.response_der)


def _show_error(_: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
    """OCSP whatever happens, never text; an undecodable path is an answered request as on the EE port."""
    return _response(error_der(outcome(error).ocsp_status), 200 if isinstance(error, MalformedRequest) else status)


def _response(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, content_type="application/ocsp-response", status=status)
