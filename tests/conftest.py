"""The order of all tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start processes: run side by side, a long one begun last would be waited for alone."""
    first = {item.path for item in items if item.get_closest_marker("process")}
    items.sort(key=lambda item: item.path not in first)
