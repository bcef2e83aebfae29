"""From a row of the table to a route: parameters and body checked, run in a thread, the answer encoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vouchd.agent.admission import secured
from vouchd.agent.routes import Handler, Route
from vouchd.api import openapi
from vouchd.api.openapi import PROBLEM
from vouchd.api.operation import JSON, PREFIX, Access, Call, Download, Operation
from vouchd.api.schema import Schema, read_json
from vouchd.api.services import Services
from vouchd.api.table import DOCUMENT_PATH, OPERATIONS, SCHEMAS
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError
from vouchd.threads import in_thread


def route(operation: Operation, services: Services, schemas: Mapping[str, Schema]) -> Route:
    """The route that the agent port registers for an operation."""
    return Route(
        method=operation.method,
        path=PREFIX + operation.path,
        access=operation.access,
        handler=_handler(operation, services, schemas),
        max_body_bytes=operation.max_body_bytes,
        show_error=problem,
    )


def problem(request: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
    """An error as a problem document (RFC 9457)."""
    document = {
        "type": "about:blank",
        "title": str(error),
        "status": status,
        "error": type(error).__name__,
        "instance": request.path,
    }
    if error.hint:
        document["hint"] = error.hint
    return web.Response(body=_encoded(document), status=status, content_type=PROBLEM)


def _handler(operation: Operation, services: Services, schemas: Mapping[str, Schema]) -> Handler:
    async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
        path, query, body = dict(request.match_info), _query(request, operation), await _body(request, operation)
        operation.check(path, query, body, schemas)
        call = Call(lambda: services, services.layout, services.running, caller, path, query, body, caller.origin)
        answer = await in_thread(lambda: operation.run(call))
        if isinstance(answer, Download):
            return await _send(request, answer)
        if operation.answer is None:
            return web.Response(status=operation.status)
        if isinstance(answer, bytes):
            return web.Response(body=answer, status=operation.status, content_type=operation.media_type)
        return web.Response(body=_encoded(answer), status=operation.status_of(answer), content_type=JSON)

    return handle


def _query(request: web.Request, operation: Operation) -> dict[str, Any]:
    """The parameters in the query, of the kinds that the operation knows them to be. Raises: BadInput."""
    schemas = {parameter.name: parameter.schema for parameter in operation.query}
    values: dict[str, Any] = {}
    for name, text in request.query.items():
        if name in values:
            raise BadInput(f"the parameter {name[:80]} stands there twice")
        values[name] = _typed(text, schemas.get(name, {}), name)
    return values


def _typed(text: str, schema: Schema, name: str) -> Any:
    kind = schema.get("type")
    if kind == "boolean":
        if text not in {"true", "false"}:
            raise BadInput(f"{name} must be true or false")
        return text == "true"
    if kind == "integer":
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 19):
            raise BadInput(f"{name} must be an integer")
        return int(text)
    return text


async def _body(request: web.Request, operation: Operation) -> Any:
    wanted = (JSON,) if operation.body is not None else operation.upload
    if not wanted:
        return None
    if request.content_type not in wanted:
        raise web.HTTPUnsupportedMediaType(reason=f"send {' or '.join(wanted)}")
    data = await request.read()
    if operation.body is None:
        return data
    return read_json(data)


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


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def routes(services: Services) -> tuple[Route, ...]:
    """The REST API."""
    text = json.dumps(openapi.document(OPERATIONS, SCHEMAS), ensure_ascii=False, indent=1).encode()

    async def describe(_request: web.Request, _caller: Caller) -> web.StreamResponse:
        return web.Response(body=text, content_type=JSON)

    described = Route("GET", DOCUMENT_PATH, Access.IDENTIFIED, describe, show_error=problem)
    return (described, *(route(operation, services, SCHEMAS) for operation in OPERATIONS))
