"""The order of all tests, and what holds for the processes that they start."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Each test of a property is tried a little at every run, and at length by `make fuzz`.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("quick", max_examples=50, **_COMMON)
settings.register_profile("deep", max_examples=2000, **_COMMON)
settings.load_profile("quick")

# Where it is set, each of the many processes that tests start would compile the whole program anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start processes: run side by side, a long one begun last would be waited for alone."""
    first = {item.path for item in items if item.get_closest_marker("process")}
    items.sort(key=lambda item: item.path not in first)
