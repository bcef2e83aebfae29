"""The page of the security domain tells of the routes that there are."""

from __future__ import annotations

import re
from pathlib import Path

from vouchd.agent.domain import routes as domain
from vouchd.api.operation import Access

PAGE = (Path(__file__).parents[2] / "docs" / "set" / "security-domain.md").read_text(encoding="utf-8")


def test_page_lists_the_operations_with_who_may():
    """Every operation below /domain/v1 stands in the table, in its order, with the right that lets in."""
    shown = re.findall(r"^\| `(\w+) (\S+)` \| ([^|]+?) \|", PAGE, re.MULTILINE)
    routes = [route for route in domain.routes(None, None, None) if route.path.startswith(domain.PREFIX)]
    rows = [
        (
            route.method,
            re.sub(r"\{(\w+):.*\}", r"{\1}", route.path.removeprefix(domain.PREFIX)),
            "a token" if route.access is Access.PUBLIC else route.access.value,
        )
        for route in routes
    ]
    assert shown == rows


def test_page_names_the_paths_of_the_certificate_system():
    """What is open to everybody is told."""
    others = [route.path for route in domain.routes(None, None, None) if route.path.startswith("/ocsp/")]
    assert len(others) == 2
    assert all(f"`{path}`" in PAGE for path in others)
