"""The OpenAPI 3.1 document of the REST API, made from its table of operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vouchd import __version__
from vouchd.api.operation import JSON, PATH_SCHEMA, PENDING_STATUS, PREFIX, Access, Operation, Parameter
from vouchd.api.schema import Schema, reference

PROBLEM = "application/problem+json"
# What any operation may answer.
COMMON = {
    400: "The request is not as described here.",
    403: "No certificate of a registered user, or the user's groups do not grant this.",
    408: "The body did not come in time.",
    500: "A fault of this program; its log tells more.",
    503: "The store cannot be reached now; nothing was changed.",
}
_TOO_LARGE = {413: "The body is too large."}
_ABOUT = """Everything that agents, administrators and auditors do with an instance.

A caller is known by its TLS client certificate; what it may do comes from the groups of its user. Times are RFC 3339,
UTC. Serial numbers are hexadecimal with `0x`. An error is a problem document (RFC 9457) whose `error` is a stable name
and whose `hint` tells what to do."""


def document(operations: Sequence[Operation], schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """The document as a JSON value."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "vouchd", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(schemas),
            "securitySchemes": {"certificate": {"type": "mutualTLS", "description": "A registered certificate."}},
        },
        "security": [{"certificate": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    needs = "any user" if isinstance(operation.access, Access) else f"the right “{operation.access.value}”"
    shape: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.about,
        "description": f"Needs {needs}.",
        "tags": [operation.tag],
        "parameters": [
            *(_parameter(Parameter(name, PATH_SCHEMA, PATHS[name]), "path") for name in operation.path_names),
            *(_parameter(parameter, "query") for parameter in operation.query),
        ],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        shape["requestBody"] = {"required": True, "content": {JSON: {"schema": operation.body}}}
    if operation.upload:
        content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in operation.upload}
        shape["requestBody"] = {"required": True, "content": content}
    return shape


PATHS = {
    "authority": "A CA: its id or the first 8 or more digits of it, or its label.",
    "scope": "`complete`, or the id of a partitioned CRL's scope.",
    "serial": "A serial number, hexadecimal, with or without `0x`.",
    "user": "The user's id.",
    "certificate": "The SHA-256 (hex) of a certificate, or its first 8 or more digits.",
    "name": "The name of a system certificate.",
    "seq": "The number of a record.",
    "member": "A member: HOST:PORT of its agent port, or its host where that has one member.",
}


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": where,
        "required": where == "path" or parameter.required,
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _responses(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.about}
    if operation.answer is not None:
        answer["content"] = {operation.media_type: {"schema": operation.answer}}
    refusals = COMMON | dict(operation.refusals)
    if operation.path_names:
        refusals.setdefault(404, "What the path names is not there.")
    if operation.body is not None or operation.upload:
        refusals |= _TOO_LARGE | {415: "The body is of another media type."}
    responses = {
        str(operation.status): answer,
        **{
            str(status): {"description": about, "content": {PROBLEM: {"schema": reference("Problem")}}}
            for status, about in sorted(refusals.items())
        },
    }
    if operation.pending is not None:
        refusal = responses.get(str(PENDING_STATUS), {"description": "", "content": {}})
        responses[str(PENDING_STATUS)] = {
            "description": f"Done and durable, and not answered from yet. {refusal['description']}".rstrip(),
            "content": {**answer["content"], **refusal["content"]},
        }
    return responses
