"""THE table of the REST API: all operations, from which the routes and the OpenAPI document are made."""

from __future__ import annotations

import json
from dataclasses import replace

from aiohttp import web

from vouchd.core.facts import Caller
from vouchd.agent.server import AgentServices
from vouchd.api import audit, authorities, certificates, configuration, crls, instance, members, selftests, certificate_status, told, users
from vouchd.agent.rest import problem, route
from vouchd.api.openapi import document
from vouchd.api.operation import JSON, PREFIX, Operation
from vouchd.api.schema import Schema
from vouchd.agent.routes import Access, Route

_PARTS = {
    "Certification authorities": authorities,
    "CRLs": crls,
    "Certificate status": certificate_status,
    "Users and groups": users,
    "System certificates": certificates,
    "Configuration": configuration,
    "Instance": instance,
    "Security domain": members,
    "Self tests": selftests,
    "Audit log": audit,
}
OPERATIONS: tuple[Operation, ...] = tuple(
    replace(operation, tag=tag) for tag, part in _PARTS.items() for operation in part.OPERATIONS
)
SCHEMAS: dict[str, Schema] = dict(told.SCHEMAS)
for _part in _PARTS.values():
    SCHEMAS |= _part.SCHEMAS
DOCUMENT_PATH = f"{PREFIX}/openapi.json"


def routes(services: AgentServices) -> tuple[Route, ...]:
    """The REST API."""
    told_whole = json.dumps(document(OPERATIONS, SCHEMAS), ensure_ascii=False, indent=1).encode()

    async def describe(_request: web.Request, _caller: Caller) -> web.StreamResponse:
        return web.Response(body=told_whole, content_type=JSON)

    described = Route("GET", DOCUMENT_PATH, Access.IDENTIFIED, describe, show_error=problem)
    return (described, *(route(operation, services, SCHEMAS) for operation in OPERATIONS))
