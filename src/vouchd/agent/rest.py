"""From a row of the table to a route: parameters and body checked, run in a thread, the answer encoded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vouchd.agent.admission import secured
from vouchd.agent.routes import Handler, Route
from vouchd.api.openapi import PATH_SCHEMA, PROBLEM, document
from vouchd.api.operation import JSON, PREFIX, Access, Call, Download, Operation
from vouchd.api.schema import Schema, check, read_json
from vouchd.api.services import AgentServices
from vouchd.api.table import DOCUMENT_PATH, OPERATIONS, SCHEMAS
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, VouchdError
from vouchd.threads import in_thread


def route(operation: Operation, services: AgentServices, schemas: Mapping[str, Schema]) -> Route:
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


def _handler(operation: Operation, services: AgentServices, schemas: Mapping[str, Schema]) -> Handler:
    async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
        call = Call(
            services=services,
            caller=caller,
            path=_path(request, schemas),
            query=_query(request, operation, schemas),
            body=await _body(request, operation, schemas),
            loop=asyncio.get_running_loop(),
        )
        answer = await in_thread(lambda: operation.run(call))
        if isinstance(answer, Download):
            return await _send(request, answer)
        if operation.answer is None:
            return web.Response(status=operation.status)
        if isinstance(answer, bytes):
            return web.Response(body=answer, status=operation.status, content_type=operation.media_type)
        return web.Response(body=_encoded(answer), status=operation.status, content_type=JSON)

    return handle


def _path(request: web.Request, schemas: Mapping[str, Schema]) -> dict[str, str]:
    for name, value in request.match_info.items():
        check(value, PATH_SCHEMA, schemas, name)
    return dict(request.match_info)


def _query(request: web.Request, operation: Operation, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in operation.query}
    values: dict[str, Any] = {}
    for name, text in request.query.items():
        if name not in known:
            raise BadInput(f"no parameter {name[:80]!r}", hint=f"known are: {', '.join(known) or 'none'}")
        if name in values:
            raise BadInput(f"the parameter {name} stands there twice")
        value = _typed(text, known[name].schema, name)
        check(value, known[name].schema, schemas, name)
        values[name] = value
    missing = [name for name, parameter in known.items() if parameter.required and name not in values]
    if missing:
        raise BadInput(f"the parameter {missing[0]} is missing")
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


async def _body(request: web.Request, operation: Operation, schemas: Mapping[str, Schema]) -> Any:
    wanted = (JSON,) if operation.body is not None else operation.upload
    if not wanted:
        return None
    if request.content_type not in wanted:
        raise web.HTTPUnsupportedMediaType(reason=f"send {' or '.join(wanted)}")
    data = await request.read()
    if operation.body is None:
        return data
    value = read_json(data)
    check(value, operation.body, schemas)
    return value


async def _send(request: web.Request, download: Download) -> web.StreamResponse:
    disposition = f'attachment; filename="{download.file_name}"'
    headers = {"Content-Type": download.media_type, "Content-Disposition": disposition}
    response = secured(web.StreamResponse(headers=headers))
    chunks = download.chunks()
    first = await anext(chunks, b"")  # what cannot be had is found out before the answer has begun
    await response.prepare(request)
    await response.write(first)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def routes(services: AgentServices) -> tuple[Route, ...]:
    """The REST API."""
    told_whole = json.dumps(document(OPERATIONS, SCHEMAS), ensure_ascii=False, indent=1).encode()

    async def describe(_request: web.Request, _caller: Caller) -> web.StreamResponse:
        return web.Response(body=told_whole, content_type=JSON)

    described = Route("GET", DOCUMENT_PATH, Access.IDENTIFIED, describe, show_error=problem)
    return (described, *(route(operation, services, SCHEMAS) for operation in OPERATIONS))
