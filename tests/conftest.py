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


# The dearest of those that start processes, the longest first.
LONGEST = (
    "tests/faults/test_set_",
    "tests/whole/test_clone_",
    "tests/faults/test_clone_",
    "tests/whole",
    "tests/faults",
)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; tests that share a fixture stay together, in one process of those side by side.

    A long test that is begun last would be waited for alone.
    """
    processes = {item.path for item in items if item.get_closest_marker("process")}
    items.sort(key=lambda item: (item.path not in processes, _rank(item)))
    for item in items:
        if place := _shares(item):
            item.add_marker(pytest.mark.xdist_group(place))


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, place in enumerate(LONGEST) if item.nodeid.startswith(place)), len(LONGEST))


def _shares(item: pytest.Item) -> str:
    """The widest place below the session whose tests share a fixture of ours with this one; else nothing."""
    scopes = {
        definition.scope
        for definitions in item._fixtureinfo.name2fixturedefs.values()
        for definition in definitions[-1:]
        if definition.baseid
    }
    if "session" in scopes or "package" in scopes:
        return str(item.path.parent)
    return str(item.path) if scopes & {"module", "class"} else ""
