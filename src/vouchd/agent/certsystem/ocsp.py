"""The OCSP service on the agent port, for clients that were told its address there; answered in this process.

The EE port is the one made for load: here nothing is cached. Who may ask, what is counted and what is recorded is as
there.
"""

from __future__ import annotations

from aiohttp import web

from vouchd.agent.routes import Route
from vouchd.api.operation import Access
from vouchd.core.facts import Caller
from vouchd.ee.getpath import decode
from vouchd.ee.in_process import InProcessAnswers
from vouchd.ee.replies import error_der
from vouchd.errors import MalformedRequest, OCSPResponseStatus, VouchdError, outcome

PATH = "/ocsp/ee/ocsp"


def routes(answers: InProcessAnswers, max_request_bytes: int) -> tuple[Route, ...]:
    """GET and POST of OCSP (RFC 6960 appendix A.1)."""

    async def post(request: web.Request, caller: Caller) -> web.StreamResponse:
        if not answers.lets_in(caller.origin):
            return _stranger()
        return _response(await answers.answer("POST", await request.read(), caller.origin))

    async def get(request: web.Request, caller: Caller) -> web.StreamResponse:
        if not answers.lets_in(caller.origin):
            return _stranger()
        try:
            request_der = decode(request.raw_path.encode("latin-1", "replace"))
        except MalformedRequest as error:
            return _response(answers.malformed(request.method, error.cause))
        return _response(await answers.answer(request.method, request_der, caller.origin))

    return (
        Route("POST", PATH, Access.PUBLIC, post, max_body_bytes=max_request_bytes, show_error=_show_error),
        Route("GET", PATH, Access.PUBLIC, get, show_error=_show_error),
        Route("GET", PATH + "/{request:.*}", Access.PUBLIC, get, show_error=_show_error),
    )


def _show_error(_: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
    """OCSP whatever happens, never text."""
    return _response(error_der(outcome(error).ocsp_status), status)


def _stranger() -> web.Response:
    return _response(error_der(OCSPResponseStatus.UNAUTHORIZED), 403)


def _response(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, content_type="application/ocsp-response", status=status)
