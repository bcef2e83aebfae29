"""The page of the REST API tells of what there is."""

from __future__ import annotations

import re
from pathlib import Path

from vouchd.api.operation import Access
from vouchd.api.table import OPERATIONS

PAGE = Path(__file__).parents[2] / "docs" / "use" / "rest.md"
ROW = re.compile(r"^\| `(\w+) (\S+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def test_page_lists_every_operation_with_its_right():
    """The table in the documentation is the table in the code."""
    rows = [
        (row.method, row.path, row.about, "any user" if isinstance(row.access, Access) else row.access.value)
        for row in OPERATIONS
    ]
    assert ROW.findall(PAGE.read_text(encoding="utf-8")) == rows
