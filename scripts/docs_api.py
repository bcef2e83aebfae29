"""The operations of the REST API as a page, made from its OpenAPI document: what they take and give, with examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vouchd.api.openapi import example
from vouchd.api.operation import PREFIX

Schema = Mapping[str, Any]


def source(document: Schema) -> str:
    """The document itself, as an instance gives it."""
    return json.dumps(document, indent=1)


def page(document: Schema) -> str:
    """The page, in Markdown."""
    return "\n".join([*_head(document), *_operations(document), "", "## Models", *_models(document), ""])


def _head(document: Schema) -> Iterator[str]:
    yield from ("# Operations of the REST API", "", document["info"]["description"], "")
    yield f"All paths are below `{PREFIX}`. The rules that all operations keep: [rest.md](rest.md)."
    yield "This page is made from the [OpenAPI document](openapi.json)."


def _operations(document: Schema) -> Iterator[str]:
    """All operations, those of one subject together."""
    subjects: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines = _operation(path, method, operation, document["components"]["schemas"])
            subjects.setdefault(operation["tags"][0], []).extend(lines)
    for subject, lines in subjects.items():
        yield from ("", f"## {subject[:1].upper()}{subject[1:]}", *lines)


def _models(document: Schema) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for name, model in sorted(schemas.items()):
        yield from _model(name, model, schemas)


def _operation(path: str, method: str, operation: Schema, schemas: Schema) -> Iterator[str]:
    yield from (
        "",
        f"### {method.upper()} {path.removeprefix(PREFIX)} {{#{operation['operationId'].replace('_', '-')}}}",
        "",
    )
    yield from (f"**{operation['summary']}.** {operation['description']}", "")
    if operation["parameters"]:
        yield from ("| parameter | in | kind | meaning | example |", "|---|---|---|---|---|")
        for one in operation["parameters"]:
            name = f"`{one['name']}`" + (" (required)" if one["required"] else "")
            cells = name, one["in"], _kind(one["schema"]), _cell(one["description"]), _example(one["schema"], schemas)
            yield f"| {' | '.join(cells)} |"
        yield ""
    if "requestBody" in operation:
        yield from _content("Body", operation["requestBody"]["content"])
    refusals = []
    for status, answer in sorted(operation["responses"].items()):
        if int(status) >= 400:
            refusals.append(f"{status} ({answer['description'].rstrip('.')})")
            continue
        yield from _content(f"{status}: {answer['description'].rstrip('.')}", answer.get("content", {}))
    yield f"Refused with {', '.join(refusals)}; each is a [Problem](#model-problem)."


def _content(title: str, content: Schema) -> Iterator[str]:
    kinds = ", ".join(f"`{media}`, {_kind(one['schema'])}" for media, one in content.items())
    yield from (f"{title}" + (f": {kinds}" if kinds else "") + ".", "")
    for media, one in content.items():
        if "example" in one and not media.startswith("application/problem"):
            yield from ("```json", json.dumps(one["example"], indent=2, ensure_ascii=False), "```", "")


def _model(name: str, model: Schema, schemas: Schema) -> Iterator[str]:
    yield from ("", f"### {name} {{#model-{name.lower()}}}", "")
    if "description" in model:
        yield from (_cell(model["description"]), "")
    if "properties" not in model:
        yield f"{_kind(model)}"
        return
    required = set(model.get("required", ()))
    yield from ("| property | kind | meaning | example |", "|---|---|---|---|")
    for key, one in model["properties"].items():
        title = f"`{key}`" + (" (required)" if key in required else "")
        yield f"| {title} | {_kind(one)} | {_cell(one.get('description', ''))} | {_example(one, schemas)} |"


def _kind(schema: Schema) -> str:
    """What a value may be, in a few words; a model is a link."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#model-{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object whose values are {_kind(schema['additionalProperties'])}"
    bounds = [f"{words} {schema[key]}" for key, words in _BOUNDS.items() if key in schema]
    return " ".join([schema.get("format") or schema.get("type", "anything"), *bounds])


_BOUNDS = {"minimum": "from", "maximum": "to", "minLength": "of at least", "maxLength": "of at most"}


def _example(schema: Schema, schemas: Schema) -> str:
    return f"`{_cell(json.dumps(example(schema, schemas), ensure_ascii=False))}`"


def _cell(text: str) -> str:
    """Text on one line that ends no cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
