"""The page of the REST API's operations that `make docs` makes of the OpenAPI document."""

from __future__ import annotations

import json

import pytest
from scripts.docs_api import page, source
from tests.api.description import DOCUMENT

from vouchd.api.table import OPERATIONS

PAGE = page(DOCUMENT)


def test_page_has_every_operation_with_its_parameters() -> None:
    """Who looks an operation up sees what it does, what it takes, and what it needs."""
    for row in OPERATIONS:
        body = PAGE.split(f"### {row.method} {row.path} {{#{row.name.replace('_', '-')}}}\n", 1)[1].split("\n### ", 1)[
            0
        ]
        assert f"**{row.about}.**" in body
        assert not [name for name in row.path_names if f"| `{name}` (required) | path |" not in body]


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_page_has_every_property_with_its_meaning_and_an_example(name: str) -> None:
    """A model's property says what it is for, and shows a value."""
    body = PAGE.split(f"{{#model-{name.lower()}}}\n", 1)[1].split("\n### ", 1)[0]
    rows = [row.replace("\\|", "¦").split("|")[1:-1] for row in body.splitlines() if row.startswith("| `")]
    assert [row[0].split()[0].strip("`") for row in rows] == [
        *DOCUMENT["components"]["schemas"][name].get("properties", {})
    ]
    assert not [row for row in rows if len(row) != 4 or not all(cell.strip() for cell in row)]


def test_page_links_to_models_that_it_has() -> None:
    """Every model that is named has its place on the page."""
    named = {part.split(")")[0] for part in PAGE.split("](#")[1:]}
    assert not {name for name in named if f"{{#{name}}}" not in PAGE}
    assert json.loads(source(DOCUMENT)) == DOCUMENT
