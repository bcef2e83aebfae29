"""The OpenAPI 3.1 document of the REST API, made from its table of operations and from the models of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from msgspec.json import schema, schema_components

from vouchd import __version__
from vouchd.api.operation import JSON, PATHS, PENDING_STATUS, PREFIX, UNCHANGED_STATUS, Access, Download, Operation
from vouchd.api.shapes import Problem
from vouchd.settings.four_eyes import Guarded

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
_TEMPLATE = "#/components/schemas/{name}"

Schema = dict[str, Any]


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document as a JSON value."""
    models = _Models.of(operations)
    paths: dict[str, dict[str, Any]] = {}
    for row in operations:
        paths.setdefault(PREFIX + row.path, {})[row.method.lower()] = _operation(row, models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "vouchd", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": models.schemas,
            "securitySchemes": {"certificate": {"type": "mutualTLS", "description": "A registered certificate."}},
        },
        "security": [{"certificate": []}],
    }


@dataclass(frozen=True, slots=True)
class _Models:
    """The models of all operations: how each is referred to, and the schemas by name."""

    references: Mapping[Any, Schema]
    schemas: Mapping[str, Schema]

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> _Models:
        """Those that the operations name."""
        named = {model for row in operations for model in (row.answer, row.body)} - {None, Download}
        models = [Problem, *sorted(named, key=str)]
        references, schemas = schema_components(models, ref_template=_TEMPLATE)
        return cls(dict(zip(models, references, strict=True)), schemas)

    def content(self, model: Any) -> Schema:
        """What an answer or a body is, with an example."""
        return {"schema": self.references[model], "example": example(self.references[model], self.schemas)}


def example(schema: Schema, schemas: Mapping[str, Schema]) -> Any:
    """A value that is as the schema says, made of the examples of its properties; `schemas` are those by name."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for key in ("examples", "enum"):
        if key in schema:
            return schema[key][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas)
    if schema["type"] == "object":
        return {name: example(one, schemas) for name, one in schema.get("properties", {}).items()}
    return [example(schema["items"], schemas)] if schema["type"] == "array" else schema.get("default", True)


def _operation(operation: Operation, models: _Models) -> dict[str, Any]:
    needs = "any user" if isinstance(operation.access, Access) else f"the right “{operation.access.value}”"
    shape: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.about,
        "description": f"Needs {needs}.",
        "tags": [operation.tag],
        "parameters": [
            *(_parameter(name, schema(PATHS[name]), "path", required=True) for name in operation.path_names),
            *_query(operation.query),
        ],
        "responses": _responses(operation, models),
    }
    if operation.body is not None:
        shape["requestBody"] = {"required": True, "content": {JSON: models.content(operation.body)}}
    if operation.upload:
        content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in operation.upload}
        shape["requestBody"] = {"required": True, "content": content}
    return shape


def _query(model: type[Struct]) -> list[dict[str, Any]]:
    _, schemas = schema_components([model], ref_template=_TEMPLATE)
    own = schemas[model.__name__]
    return [
        _parameter(name, one, "query", required=name in own.get("required", ()))
        for name, one in own["properties"].items()
    ]


def _parameter(name: str, of: Schema, where: str, *, required: bool) -> dict[str, Any]:
    rest = {key: value for key, value in of.items() if key != "description"}
    return {"name": name, "in": where, "required": required, "description": of["description"], "schema": rest}


def _answer(operation: Operation, models: _Models) -> dict[str, Any]:
    if operation.answer is Download:
        return {operation.media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {JSON: models.content(operation.answer)}


def _responses(operation: Operation, models: _Models) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.about}
    if operation.answer is not None:
        answer["content"] = _answer(operation, models)
    refusals = COMMON | dict(operation.refusals)
    if operation.name in set(Guarded):
        refusals[PENDING_STATUS] = "It is not done: a second agent has to approve it (`vouchd.fourEyes.operations`)."
    if operation.path_names:
        refusals.setdefault(404, "What the path names is not there.")
    if operation.body is not None or operation.upload:
        refusals |= _TOO_LARGE | {415: "The body is of another media type."}
    problem = models.content(Problem)
    responses = {
        str(operation.status): answer,
        **{str(status): {"description": words, "content": {PROBLEM: problem}} for status, words in refusals.items()},
    }
    if operation.may_be_there:
        responses[str(UNCHANGED_STATUS)] = {**answer, "description": "It was there just so already."}
    if operation.pending is not None:
        refusal = responses.get(str(PENDING_STATUS), {"description": "", "content": {}})
        responses[str(PENDING_STATUS)] = {
            "description": f"Done and durable, and not answered from yet. {refusal['description']}".rstrip(),
            "content": {**answer["content"], **refusal.get("content", {})},
        }
    return responses
