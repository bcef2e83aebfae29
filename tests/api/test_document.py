"""The OpenAPI document tells of everything that an operation takes and gives, with examples that are as it says."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from tests.api.description import DOCUMENT

from vouchd.api.openapi import PROBLEM
from vouchd.api.operation import JSON, Download
from vouchd.api.shapes import Problem
from vouchd.api.table import OPERATIONS

SCHEMAS = DOCUMENT["components"]["schemas"]
ROWS = pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)


def described(row) -> dict:
    return DOCUMENT["paths"][f"/api/v1{row.path}"][row.method.lower()]


def contents(row) -> Iterator[tuple[object, dict]]:
    """The model and the description of each JSON body that goes with the operation."""
    if row.body is not None:
        yield row.body, described(row)["requestBody"]["content"][JSON]
    for response in described(row)["responses"].values():
        for media_type, content in response.get("content", {}).items():
            if media_type in {JSON, PROBLEM}:
                yield Problem if media_type == PROBLEM else row.answer, content


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_and_each_of_its_properties_is_described(name):
    """Nobody has to guess what a property means."""
    assert SCHEMAS[name]["description"]
    assert [one for one, schema in SCHEMAS[name].get("properties", {}).items() if not schema.get("description")] == []


def test_schemas_have_names_of_their_own():
    """No two models have one name: the document would call them by their modules."""
    assert [name for name in SCHEMAS if not name.isalnum()] == []


@ROWS
def test_operation_has_examples_that_are_as_it_says(row):
    """What is shown as an example is what the operation takes, or gives."""
    for model, content in contents(row):
        msgspec.convert(content["example"], model)


@ROWS
def test_parameters_are_described_with_examples(row):
    """So are the parameters; of a choice or a flag the schema itself tells the values."""
    for parameter in described(row)["parameters"]:
        assert parameter["description"], parameter["name"]
        assert {"examples", "enum"} & set(parameter["schema"]) or parameter["schema"]["type"] == "boolean"


@ROWS
def test_operation_takes_and_gives_frozen_models(row):
    """No operation goes by anything but a typed model: what it takes names all its properties, and nothing changes."""
    models = [getattr(model, "__args__", (model,))[0] for model in (row.query, row.body, row.answer) if model]
    for model in models:
        assert model is Download or model.__struct_config__.frozen
    assert all(model.__struct_config__.forbid_unknown_fields for model in (row.query, row.body) if model)
