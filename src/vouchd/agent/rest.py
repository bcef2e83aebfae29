"""From a row of the table to a route: parameters and body checked, run in a thread, the answer encoded."""

from __future__ import annotations

from functools import cache
from typing import Any

from aiohttp import web
from msgspec import UNSET

from vouchd.agent.admission import secured
from vouchd.agent.routes import Handler, Route, intake_of
from vouchd.agent.uploads import CRLUpload
from vouchd.api import openapi
from vouchd.api.crls import UPLOADS as CRL_UPLOADS
from vouchd.api.model import encoded, read_json
from vouchd.api.openapi import PROBLEM
from vouchd.api.operation import JSON, PREFIX, Access, Call, Download, Operation
from vouchd.api.services import Services
from vouchd.api.shapes import Problem
from vouchd.api.table import DOCUMENT_PATH, OPERATIONS
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError
from vouchd.threads import in_thread


def route(operation: Operation, services: Services) -> Route:
    """The route that the agent port registers for an operation."""
    return Route(
        method=operation.method,
        path=PREFIX + operation.path,
        access=operation.access,
        handler=_handler(operation, services),
        max_body_bytes=operation.max_body_bytes,
        show_error=problem,
        intake=CRLUpload if operation.upload == CRL_UPLOADS else None,
    )


def problem(request: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
    """An error as a problem document (RFC 9457)."""
    document = Problem(
        type="about:blank",
        title=str(error),
        status=status,
        error=type(error).__name__,
        instance=request.path,
        hint=error.hint or UNSET,
    )
    return web.Response(body=encoded(document), status=status, content_type=PROBLEM)


def _handler(operation: Operation, services: Services) -> Handler:
    async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
        path, query, body = dict(request.match_info), _query(request), await _body(request, operation)
        call = Call(lambda: services, services.layout, services.running, caller, path, query, body, caller.origin)
        answer = await in_thread(lambda: operation.perform(call))
        if isinstance(answer, Download):
            return await _send(request, answer)
        if operation.answer is None:
            return web.Response(status=operation.status)
        return web.Response(body=encoded(answer), status=operation.status_of(answer), content_type=JSON)

    return handle


def _query(request: web.Request) -> dict[str, str]:
    """The parameters in the query, each once. Raises: BadInput."""
    values: dict[str, str] = {}
    for name, text in request.query.items():
        if name in values:
            raise BadInput(f"the parameter {name[:80]} stands there twice")
        values[name] = text
    return values


async def _body(request: web.Request, operation: Operation) -> Any:
    wanted = (JSON,) if operation.body is not None else operation.upload
    if not wanted:
        return None
    if request.content_type not in wanted:
        raise web.HTTPUnsupportedMediaType(reason=f"send {' or '.join(wanted)}")
    if operation.upload == CRL_UPLOADS:
        return intake_of(request, CRLUpload).crl
    data = await request.read()
    return data if operation.body is None else read_json(data)


async def _send(request: web.Request, download: Download) -> web.StreamResponse:
    disposition = f'attachment; filename="{download.file_name}"'
    headers = {"Content-Type": download.media_type, "Content-Disposition": disposition}
    response = secured(web.StreamResponse(headers=headers))
    chunks = await in_thread(download.chunks)
    piece = await in_thread(lambda: next(chunks, b""))  # what cannot be had is noticed before the answer has begun
    await response.prepare(request)
    while piece:
        await response.write(piece)
        piece = await in_thread(lambda: next(chunks, b""))
    await response.write_eof()
    return response


@cache
def _description() -> bytes:
    """The document of the API, made when somebody first wants it: it takes longer than all else of a start."""
    return encoded(openapi.document(OPERATIONS))


def routes(services: Services) -> tuple[Route, ...]:
    """The REST API."""

    async def describe(_request: web.Request, _caller: Caller) -> web.StreamResponse:
        return web.Response(body=await in_thread(_description), content_type=JSON)

    described = Route("GET", DOCUMENT_PATH, Access.IDENTIFIED, describe, show_error=problem)
    return (described, *(route(operation, services) for operation in OPERATIONS))
