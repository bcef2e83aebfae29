"""JSON Schema as Python values, and the check of what a client sends against the schema that the document shows.

Of JSON Schema 2020-12 this knows the keywords that the API's own schemas use, and no others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vouchd.errors import BadInput

Schema = dict[str, Any]

MAX_DEPTH = 32
REFERENCE = "#/components/schemas/"
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time"}
MAYBE_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}
MAYBE_NUMBER: Schema = {"type": ["integer", "null"]}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
TEXT: Schema = {"type": "string"}


def text(description: str = "", *, low: int = 0, high: int, pattern: str = "") -> Schema:
    """A string of `low` to `high` characters."""
    schema: Schema = {"type": "string", "minLength": low, "maxLength": high}
    if pattern:
        schema["pattern"] = pattern
    return described(schema, description)


def described(schema: Schema, description: str) -> Schema:
    """The schema with a description, if there is one."""
    return {**schema, "description": description} if description else schema


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, **more: Any) -> Schema:
    """An object of exactly these properties."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def array(items: Schema, *, high: int | None = None) -> Schema:
    """An array."""
    return {"type": "array", "items": items} | ({"maxItems": high} if high is not None else {})


def reference(name: str) -> Schema:
    """The schema of that name in the document."""
    return {"$ref": REFERENCE + name}


def read_json(body: bytes) -> Any:
    """The value of a JSON text: no name twice in one object, no number beyond JSON's. Raises: BadInput."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "nested too deeply"
        raise BadInput(f"the body is not JSON: {reason}", hint="see /api/v1/openapi.json") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return members


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def check(value: Any, schema: Schema, schemas: Mapping[str, Schema], where: str = "body") -> None:
    """Return when `value` is as `schema` says; `schemas` are those that it may refer to. Raises: BadInput."""
    _check(value, schema, schemas, where, 0)


def _check(value: Any, schema: Schema, schemas: Mapping[str, Schema], where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadInput(f"{where[:200]} is nested too deeply")
    if "$ref" in schema:
        _check(value, schemas[schema["$ref"].removeprefix(REFERENCE)], schemas, where, depth + 1)
        return
    _check_type(value, schema.get("type"), where)
    if "enum" in schema and value not in schema["enum"]:
        raise BadInput(f"{where} must be one of {', '.join(map(str, schema['enum']))}")
    if isinstance(value, str):
        _check_text(value, schema, where)
    elif isinstance(value, dict):
        _check_properties(value, schema, schemas, where, depth)
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            raise BadInput(f"{where} has more than {schema['maxItems']} items")
        for place, item in enumerate(value):
            _check(item, schema["items"], schemas, f"{where}[{place}]", depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(value, schema, where)


def _check_type(value: Any, wanted: str | list[str] | None, where: str) -> None:
    if wanted is None:
        return
    names = [wanted] if isinstance(wanted, str) else wanted
    for name in names:
        if isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool)):
            return
    raise BadInput(f"{where} must be {' or '.join(names)}")


def _check_text(value: str, schema: Schema, where: str) -> None:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        raise BadInput(f"{where} must have {schema.get('minLength', 0)} to {schema.get('maxLength')} characters")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise BadInput(f"{where} must match {schema['pattern']}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which \\u escapes can spell
        raise BadInput(f"{where} is not Unicode text") from error


def _check_range(value: float, schema: Schema, where: str) -> None:
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        raise BadInput(f"{where} must be from {schema.get('minimum', '-')} to {schema.get('maximum', '-')}")


def _check_properties(
    value: dict[str, Any], schema: Schema, schemas: Mapping[str, Schema], where: str, depth: int
) -> None:
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        raise BadInput(f"{where} lacks {', '.join(missing)}")
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        raise BadInput(f"{where} must have {schema.get('minProperties', 0)} to {schema.get('maxProperties')} members")
    others = schema.get("additionalProperties", True)
    for name, member in value.items():
        below = f"{where}.{name[:80]}"
        if name in properties:
            _check(member, properties[name], schemas, below, depth + 1)
        elif others is False:
            raise BadInput(f"{where} has no member {name[:80]!r}", hint=f"known are {', '.join(properties)}")
        elif isinstance(others, dict):
            _check(name, {"type": "string", "maxLength": 300}, schemas, f"a name in {where}", depth + 1)
            _check(member, others, schemas, below, depth + 1)
