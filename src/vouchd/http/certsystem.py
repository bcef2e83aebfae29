"""The paths of the Certificate System, wire-compatible: what publishers and scripts already call."""

from __future__ import annotations

from aiohttp import web

from vouchd import __version__
from vouchd.core.facts import Caller
from vouchd.http.agent import AgentServices
from vouchd.http.routes import Access, Route

GET_STATUS = "/ocsp/admin/ocsp/getStatus"


def routes(services: AgentServices) -> tuple[Route, ...]:  # noqa: ARG001  more routes are to come
    """The Certificate System's endpoints."""
    return (Route("GET", GET_STATUS, Access.PUBLIC, _get_status),)


async def _get_status(_request: web.Request, _caller: Caller) -> web.StreamResponse:
    return web.Response(text=f"running {__version__}\n")
